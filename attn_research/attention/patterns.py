"""Sparse attention of the papers, as masks joined of their parts.

Each is what its paper calls the attention pattern; causality and padding are joined by &.
"""

import dataclasses
from collections.abc import Sequence

from attn_research.attention.masks import Causal, Full, Mask, Window
from attn_research.attention.positions import Pos
from attn_research.attention.random_blocks import RandomBlocks
from attn_research.attention.sparse_masks import BlockWindow, Dilated, Global, Prefix, Strided
from attn_research.attention.varied_masks import ByHead
from attn_research.trees import pytree
from attn_research.types import ArrayLike

FIRST_TOKEN = Global(0, 1)


def longformer(
    one_side: int,
    global_tokens: Mask = FIRST_TOKEN,
    *,
    dilations: Sequence[int] | None = None,
) -> Mask:
    """Longformer: `one_side` keys on either side of a query, and global tokens.

    Beltagy et al. 2020, section 3.1; global tokens are `Global` or `GlobalTokens`. The window w of
    the paper is 2 x `one_side`. `dilations` has a number for each head: gaps of that many positions
    between keys.
    """
    if dilations is None:
        return Window(one_side, one_side) | global_tokens
    of_heads = (Dilated(one_side, one_side, dilation + 1) for dilation in dilations)
    return ByHead(tuple(of_heads)) | global_tokens


def big_bird(
    length: int,
    num_heads: int | None,
    *,
    block: int = 64,
    window_blocks: int = 3,
    global_blocks: int = 2,
    random_blocks: int = 3,
    seed: int = 0,
) -> Mask:
    """BigBird in internal construction (ITC): a window of blocks, global and random blocks.

    Zaheer et al. 2020, section 2 and table 8, for texts of `length` positions. Half of the global
    blocks are the first ones, the other half the last. Heads share random blocks where `num_heads`
    is None.
    """
    if window_blocks % 2 == 0 or global_blocks % 2:
        raise ValueError(
            f"window_blocks={window_blocks}, global_blocks={global_blocks}: a window has as many "
            "blocks on both sides of the query's, so an odd number, and half of the global blocks "
            "are the first, so their number is even"
        )
    near, ends = window_blocks // 2, global_blocks // 2
    last = max(0, -(-length // block) - ends) * block
    random = RandomBlocks(
        random_blocks, block, length, ends=ends, near=near, seed=seed, num_heads=num_heads
    )
    window = BlockWindow(block, near, near)
    return window | Global(0, ends * block) | Global(last, max(last, length)) | random


@pytree
@dataclasses.dataclass(frozen=True)
class BigBird(Mask):
    """`big_bird` for rows of any length, with a window of 3 blocks and the ends global.

    Rows of at most 5 + 2 x `random_blocks` blocks have full attention, as in published models; the
    last block may be a part of one. It is no predicate before `of_length` says how long rows are.
    """

    block: int = dataclasses.field(default=64, metadata={"static": True})
    random_blocks: int = dataclasses.field(default=3, metadata={"static": True})
    num_heads: int | None = dataclasses.field(default=None, metadata={"static": True})
    seed: int = dataclasses.field(default=0, metadata={"static": True})

    def of_length(self, length: int) -> Mask:
        blocks = -(-length // self.block)
        if blocks <= 5 + 2 * self.random_blocks:
            return Full()
        options = dict(block=self.block, random_blocks=self.random_blocks, seed=self.seed)
        return big_bird(blocks * self.block, self.num_heads, **options)

    def __call__(self, q_pos: Pos, k_pos: Pos) -> ArrayLike:
        raise ValueError(
            "BigBird is a mask for each length of rows: attend with that of one, "
            "mask.of_length(length)"
        )

    def check(self, batch: tuple[int, ...], num_queries: int | None, num_keys: int | None) -> None:
        self(0, 0)


def sparse_transformer(stride: int) -> Mask:
    """Strided attention of the Sparse Transformer, the two heads merged.

    Child et al. 2019, sections 4.2 and 4.3: the last `stride` keys, and those whose distance is a
    multiple of it.
    """
    return Causal() & (Window(stride - 1, 0) | Strided(stride))


def prefix_lm(length: int) -> Mask:
    """Causal attention after a prefix of `length` positions, which all may attend to.

    Raffel et al. 2020, section 3.2.1.
    """
    return Causal() | Prefix(length)


def streaming(window: int, sinks: int = 4) -> Mask:
    """The last `window` keys, the query's own among them, and the first `sinks`.

    StreamingLLM, Xiao et al. 2023, section 3.2.
    """
    if window < 1:
        raise ValueError(f"window={window}: a query attends to its own key at least, so give 1")
    return Causal() & (Window(window - 1, 0) | Prefix(sinks))
