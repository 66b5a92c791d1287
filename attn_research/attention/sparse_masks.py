"""Sparse masks of positions: dilated and strided keys, windows of blocks, global tokens, prefixes.

As those in `masks` they are structure alone: no arrays, and a layout computed from the rule.
`patterns` joins them to the attention of Sparse Transformers, Longformer, BigBird and StreamingLLM.
"""

import dataclasses
from typing import Any

import numpy as np

from attn_research.attention.layouts import (
    Block,
    band_layout,
    differences,
    kinds_between,
    kinds_of_multiples,
    tile_edges,
    to_kinds,
)
from attn_research.attention.masks import Mask
from attn_research.attention.positions import MOST_POSITION, Pos, signed
from attn_research.trees import pytree
from attn_research.types import ArrayLike, Int


def _static() -> Any:
    return dataclasses.field(metadata={"static": True})


@pytree
@dataclasses.dataclass(frozen=True)
class Dilated(Mask):
    """A window with gaps: `left` keys before the query, `right` after it, `step` positions apart.

    Beltagy et al. 2020, section 3.1, where step - 1 is the dilation. With a step of 1 it is
    `Window(left, right)`.
    """

    left: int = _static()
    right: int = _static()
    step: int = _static()

    def __post_init__(self) -> None:
        if self.left < 0 or self.right < 0 or self.step < 1:
            raise ValueError(f"{self}: left and right count keys from 0 on, a step is 1 or more")

    def __call__(self, q_pos: Pos, k_pos: Pos) -> ArrayLike:
        ahead = signed(k_pos) - signed(q_pos)
        left, right = (min(n * self.step, MOST_POSITION) for n in (self.left, self.right))
        return (ahead >= -left) & (ahead <= right) & (ahead % self.step == 0)

    def layout(self, num_queries: int, num_keys: int, block: Block) -> Int[np.ndarray, "rows cols"]:
        lowest, highest = -self.left * self.step, self.right * self.step
        band = band_layout(lowest, highest, num_queries, num_keys, block)
        return np.minimum(
            band, kinds_of_multiples(self.step, lowest, highest, (num_queries, num_keys, block))
        )

    def span(self, q_pos: Pos) -> tuple[Int[ArrayLike, "..."], int]:
        return q_pos - self.left * self.step, (self.left + self.right) * self.step + 1


@pytree
@dataclasses.dataclass(frozen=True)
class Strided(Mask):
    """Keys whose distance from the query, on either side, is a multiple of `stride`.

    The second head of Child et al. 2019, section 4.3, there with the causal mask.
    """

    stride: int = _static()

    def __post_init__(self) -> None:
        if self.stride < 1:
            raise ValueError(f"{self}: a stride is 1 or more")

    def __call__(self, q_pos: Pos, k_pos: Pos) -> ArrayLike:
        return (signed(k_pos) - signed(q_pos)) % self.stride == 0

    def layout(self, num_queries: int, num_keys: int, block: Block) -> Int[np.ndarray, "rows cols"]:
        return kinds_of_multiples(self.stride, -np.inf, np.inf, (num_queries, num_keys, block))


@pytree
@dataclasses.dataclass(frozen=True)
class BlockWindow(Mask):
    """Keys in the block of the query, in `left` blocks before it and in `right` after it.

    Zaheer et al. 2020, appendix D; a block is `block` consecutive positions.
    """

    block: int = _static()
    left: int = _static()
    right: int = _static()

    def __post_init__(self) -> None:
        if self.block < 1 or self.left < 0 or self.right < 0:
            raise ValueError(f"{self}: a block is 1 or more, left and right count blocks from 0 on")

    def __call__(self, q_pos: Pos, k_pos: Pos) -> ArrayLike:
        ahead = signed(k_pos) // self.block - signed(q_pos) // self.block
        return (ahead >= -self.left) & (ahead <= self.right)

    def layout(self, num_queries: int, num_keys: int, block: Block) -> Int[np.ndarray, "rows cols"]:
        first, last = differences((num_queries, num_keys, block), self.block)
        some = (first <= self.right) & (last >= -self.left)
        every = (first >= -self.left) & (last <= self.right)
        return to_kinds(some, every)

    def span(self, q_pos: Pos) -> tuple[Int[ArrayLike, "..."], int]:
        first = (q_pos // self.block - self.left) * self.block
        return first, (self.left + 1 + self.right) * self.block


@pytree
@dataclasses.dataclass(frozen=True)
class Global(Mask):
    """Global tokens at positions `start`, ..., `stop` - 1: they attend to all, and all to them.

    Beltagy et al. 2020, section 3.1; Zaheer et al. 2020, section 2, in internal construction. For
    tokens that differ between texts see `GlobalTokens`.
    """

    start: int = _static()
    stop: int = _static()

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.stop:
            raise ValueError(f"{self}: give positions 0 <= start <= stop")

    def __call__(self, q_pos: Pos, k_pos: Pos) -> ArrayLike:
        q_pos, k_pos = signed(q_pos), signed(k_pos)
        of_query = (q_pos >= self.start) & (q_pos < self.stop)
        return of_query | ((k_pos >= self.start) & (k_pos < self.stop))

    def layout(self, num_queries: int, num_keys: int, block: Block) -> Int[np.ndarray, "rows cols"]:
        rows, columns = (
            kinds_between(self.start, self.stop, *edges)
            for edges in tile_edges(num_queries, num_keys, block)
        )
        return np.maximum(rows[:, None], columns[None, :])


@pytree
@dataclasses.dataclass(frozen=True)
class Prefix(Mask):
    """Keys at the first `length` positions, for every query.

    Joined by | to the causal mask, attention within a prefix is in both directions (Raffel et al.
    2020, section 3.2.1); joined to a window, these are attention sinks (Xiao et al. 2023).
    """

    length: int = _static()

    def __post_init__(self) -> None:
        if self.length < 0:
            raise ValueError(f"{self}: a length is 0 or more")

    def __call__(self, q_pos: Pos, k_pos: Pos) -> ArrayLike:
        return signed(k_pos) < self.length

    def layout(self, num_queries: int, num_keys: int, block: Block) -> Int[np.ndarray, "rows cols"]:
        (first_q, _), edges = tile_edges(num_queries, num_keys, block)
        return np.tile(kinds_between(0, self.length, *edges), (len(first_q), 1))
