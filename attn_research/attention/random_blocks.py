"""Random blocks of keys, the part of BigBird's attention that no rule of distances gives."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from attn_research.attention.layouts import Block
from attn_research.attention.masks import Mask
from attn_research.attention.positions import Pos, signed
from attn_research.attention.varied_masks import (
    common_layout,
    head_index,
    spread,
    spread_heads,
)
from attn_research.rng import hash_words
from attn_research.trees import pytree
from attn_research.types import Array, ArrayLike, Int


@pytree
@dataclasses.dataclass(frozen=True)
class RandomBlocks(Mask):
    """Keys in `count` random blocks for each block of queries, for each of `num_heads` and layer.

    Zaheer et al. 2020, section 2 and appendix D: blocks of `block` positions, of `length` in all,
    one drawn from each of `count` equal parts of those that may be. Among these are neither the
    first and last `ends` blocks nor those at most `near` from the block of the query, which other
    masks allow anyway. What is drawn is a hash of the seed, layer, head, block and part: there is
    no table, and a query has the same keys in every call. Heads share blocks where `num_heads` is
    None.
    """

    count: int = dataclasses.field(metadata={"static": True})
    block: int = dataclasses.field(metadata={"static": True})
    length: int = dataclasses.field(metadata={"static": True})
    _: dataclasses.KW_ONLY
    ends: int = dataclasses.field(default=0, metadata={"static": True})
    near: int = dataclasses.field(default=-1, metadata={"static": True})
    seed: int = dataclasses.field(default=0, metadata={"static": True})
    num_heads: int | None = dataclasses.field(default=None, metadata={"static": True})
    layer: Int[ArrayLike, "*B"] | Any = None
    head: Int[ArrayLike, "*B"] | Any = None

    def __post_init__(self) -> None:
        if self.count < 0 or self.block < 1 or self.length < 1 or self.ends < 0:
            raise ValueError(
                f"RandomBlocks(count={self.count}, block={self.block}, length={self.length}, "
                f"ends={self.ends}): count and ends are 0 or more, block and length 1 or more"
            )

    def __call__(self, q_pos: Pos, k_pos: Pos) -> ArrayLike:
        k_block = signed(k_pos) // self.block
        allowed = k_block < 0
        for chosen in self.chosen(signed(q_pos) // self.block):
            allowed = allowed | (k_block == chosen)
        return allowed & (k_block >= 0)

    def of_heads(self, batch: tuple[int, ...], num_heads: int) -> Mask:
        # Also where heads agree, so that the index of a layer has the axes of the batch.
        head = head_index(batch, num_heads)
        head = np.zeros_like(head[..., :1]) if self.num_heads is None else head
        layer = None if self.layer is None else jnp.reshape(self.layer, (1,) * (len(batch) + 1))
        return dataclasses.replace(self, num_heads=None, head=head, layer=layer)

    def of_layer(self, index: Int[ArrayLike, ""] | int) -> Mask:
        index = np.asarray(index, np.int32) if _is_known(index) else index
        return dataclasses.replace(self, layer=index)

    def of_head(self, index: int) -> Mask:
        head = None if self.num_heads is None else np.asarray(index, np.int32)
        return dataclasses.replace(self, num_heads=None, head=head)

    def typical(self) -> Mask:
        return dataclasses.replace(self, num_heads=None, layer=None, head=None)

    @property
    def varies(self) -> bool:
        return self.head is None and (self.num_heads is not None or self.layer is not None)

    def layout(self, num_queries: int, num_keys: int, block: Block) -> Int[np.ndarray, "rows cols"]:
        tile = (block, block) if isinstance(block, int) else block
        if not (_is_known(self.layer) and _is_known(self.head)):
            return super().layout(num_queries, num_keys, tile)
        kinds = self.kinds((num_queries, num_keys), tile)
        return common_layout(list(kinds.reshape(-1, *kinds.shape[-2:])))

    def kinds(
        self, lengths: tuple[int, int], tile: tuple[int, int]
    ) -> Int[ArrayLike, "*heads rows cols"]:
        """A `Tile` for each tile, of each head; NumPy's unless an array is traced."""
        (num_queries, num_keys), block = lengths, self.block
        rows, columns = (-(-length // size) for length, size in zip(lengths, tile, strict=True))
        q_blocks, k_blocks = -(-num_queries // block), -(-num_keys // block)
        batch = max(np.ndim(self.layer), np.ndim(self.head), self.num_heads is not None)
        in_order = np.arange(q_blocks, dtype=np.int32).reshape((1,) * batch + (q_blocks, 1))
        drawn = self.chosen(in_order)
        if not drawn:
            return np.zeros((rows, columns), np.int8)
        xp = np if isinstance(drawn[0], np.ndarray) else jnp
        drawn = xp.concatenate(drawn, axis=-1)  # [*heads, q_blocks, count]
        *lead, _, count = drawn.shape
        heads = int(np.prod(lead))
        drawn = drawn.reshape(heads, q_blocks, count)
        visits = xp.zeros((heads, rows, columns), np.int32)
        first_q = np.arange(q_blocks) * block
        last_q = np.minimum(first_q + block, num_queries) - 1
        first_k = drawn * block
        last_k = xp.minimum(first_k + block, num_keys) - 1
        # A block may lie across several tiles: the first of them, and so many after it.
        for down in range((block - 1) // tile[0] + 2):
            row = first_q // tile[0] + down
            row_fits = row <= last_q // tile[0]
            for right in range((block - 1) // tile[1] + 2):
                column = first_k // tile[1] + right
                fits = (drawn >= 0) & (drawn < k_blocks) & (column <= last_k // tile[1])
                fits = fits & row_fits[None, :, None]
                place = (
                    np.arange(heads).reshape(-1, 1, 1),
                    np.minimum(row, rows - 1)[None, :, None],
                    xp.clip(column, 0, columns - 1),
                )
                visits = _add_at(visits, place, fits.astype(np.int32))
        full = np.multiply.outer(
            *(_blocks_of(n, t, block) for n, t in zip(lengths, tile, strict=True))
        )
        kinds = (visits > 0).astype(np.int8) + (visits == full[None]).astype(np.int8)
        return kinds.reshape(*lead, rows, columns)

    def chosen(self, q_block: Int[ArrayLike, "..."]) -> list[Array | np.ndarray]:
        """The blocks of keys of a block of queries, `count` arrays with the axes of scores.

        -1 where fewer blocks may be chosen than that.
        """
        known = all(map(_is_known, (q_block, self.layer, self.head)))
        xp = np if known else jnp
        layer, head = self._index(np.ndim(q_block))
        count, ends, near = self.count, self.ends, self.near
        num_blocks = -(-self.length // self.block)
        first_near = xp.maximum(q_block - near, ends)
        removed = xp.maximum(xp.minimum(q_block + near, num_blocks - 1 - ends) - first_near + 1, 0)
        candidates = xp.maximum(num_blocks - 2 * ends - removed, 0)
        stream = hash_words(_word(xp, self.seed), _word(xp, layer), _word(xp, head))
        blocks = []
        for part in range(count):
            first, stop = (n * candidates // count for n in (part, part + 1))
            drawn = hash_words(stream, _word(xp, part), _word(xp, q_block))
            size = _word(xp, xp.maximum(stop - first, 1))
            place = ends + first + (drawn % size).astype(np.int32)
            place = xp.where(place >= first_near, place + removed, place)
            blocks.append(xp.where(stop > first, place, -1))
        return blocks

    def _index(self, rank: int) -> tuple[ArrayLike, ArrayLike]:
        """Layer and head, with so many axes."""
        none = np.zeros((), np.int32)
        head = none if self.num_heads is None else spread_heads(self.num_heads, rank)
        head = head if self.head is None else spread(self.head, rank)
        return none if self.layer is None else spread(self.layer, rank), head

    def _rank(self) -> int:
        return 2 if self.num_heads is None else 3


def _is_known(index: Any) -> bool:
    return index is None or isinstance(index, int | np.ndarray | np.integer)


def _word(xp: Any, number: ArrayLike) -> ArrayLike:
    """A number as 32 bits. NumPy warns where products of scalars wrap around, not of arrays."""
    words = xp.asarray(number).astype(np.uint32)
    return np.atleast_1d(words) if xp is np else words


def _add_at(array: ArrayLike, place: tuple, amount: ArrayLike) -> ArrayLike:
    if isinstance(array, np.ndarray):
        np.add.at(array, place, amount)
        return array
    return array.at[place].add(amount)


def _blocks_of(length: int, size: int, block: int) -> Int[np.ndarray, "tiles"]:
    """The number of blocks that each tile has positions of."""
    first = np.arange(0, length, size)
    return (np.minimum(first + size, length) - 1) // block - first // block + 1
