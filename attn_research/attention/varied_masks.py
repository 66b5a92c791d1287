"""Masks that differ by head and by layer.

Where all heads of a call are written out, such a mask gives [*B, N, T, S]. Implementations other
than the reference take heads as a batch axis (see `by_head`), so that each array of a mask has that
axis too; `of_heads` makes such masks.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.attention.layouts import Block, Tile
from attn_research.attention.masks import Mask
from attn_research.attention.positions import Pos
from attn_research.trees import pytree
from attn_research.types import ArrayLike, Int


@dataclasses.dataclass(frozen=True)
class Choice(Mask):
    """One of several masks, by an index: an array of each batch element, or of all."""

    masks: tuple[Mask, ...] | Any
    index: Int[ArrayLike, "*B"] | Any = None

    def __call__(self, q_pos: Pos, k_pos: Pos) -> ArrayLike:
        index = self._spread_index(max(np.ndim(q_pos), np.ndim(k_pos)))
        allowed = False
        for number, mask in enumerate(self.masks):
            allowed = allowed | ((index == number) & mask(q_pos, k_pos))
        return allowed

    @property
    def parts(self) -> tuple[Mask, ...]:
        return self.masks

    def map_parts(self, function: Callable[[Mask], Mask]) -> Mask:
        return dataclasses.replace(self, masks=tuple(map(function, self.masks)))

    def layout(self, num_queries: int, num_keys: int, block: Block) -> Int[np.ndarray, "rows cols"]:
        return common_layout([mask.layout(num_queries, num_keys, block) for mask in self.masks])

    def span(self, q_pos: Pos) -> tuple[Int[ArrayLike, "..."], int] | None:
        spans = [mask.span(q_pos) for mask in self.masks]
        if None in spans:
            return None
        index, chosen = self._spread_index(np.ndim(q_pos)), 0
        for number, (start, _) in enumerate(spans):
            chosen = chosen + (index == number) * start
        return chosen, max(width for _, width in spans)

    def _spread_index(self, rank: int) -> ArrayLike:
        """The index, with so many axes, as scores have."""
        return spread(self.index, rank)


@pytree
@dataclasses.dataclass(frozen=True)
class ByHead(Choice):
    """A mask for each head, in order."""

    def __post_init__(self) -> None:
        if isinstance(self.masks, tuple) and not self.masks:
            raise ValueError("ByHead(masks=()): give a mask for each head")

    @property
    def num_heads(self) -> int | None:
        return len(self.masks) if self.index is None else None

    @property
    def varies(self) -> bool:
        return self.index is None

    def of_heads(self, batch: tuple[int, ...], num_heads: int) -> Mask:
        masks = self.map_parts(lambda part: part.of_heads(batch, num_heads)).parts
        return ByHead(masks, head_index(batch, num_heads))

    def of_head(self, index: int) -> Mask:
        return self.masks[index].of_head(index)

    def _spread_index(self, rank: int) -> ArrayLike:
        return (
            spread_heads(len(self.masks), rank)
            if self.index is None
            else super()._spread_index(rank)
        )

    def _rank(self) -> int:
        return max(3, *(mask._rank() for mask in self.masks))


@pytree
@dataclasses.dataclass(frozen=True)
class ByLayer(Choice):
    """A mask for each layer of a stack, in order, of which `of_layer` chooses one."""

    @property
    def num_layers(self) -> int | None:
        return len(self.masks) if self.index is None else None

    @property
    def varies(self) -> bool:
        return np.ndim(self._chosen()) == 0

    def of_heads(self, batch: tuple[int, ...], num_heads: int) -> Mask:
        masks = self.map_parts(lambda part: part.of_heads(batch, num_heads)).parts
        return ByLayer(masks, jnp.reshape(self._chosen(), (1,) * (len(batch) + 1)))

    def of_layer(self, index: Int[ArrayLike, ""] | int) -> Mask:
        if isinstance(index, int):
            return self.masks[index]
        if jax.tree.leaves(self.masks):  # arrays are not compared
            return dataclasses.replace(self, index=index)
        distinct = tuple(dict.fromkeys(self.masks))
        numbers = np.array([distinct.index(mask) for mask in self.masks], np.int32)
        return distinct[0] if len(distinct) == 1 else ByLayer(distinct, jnp.asarray(numbers)[index])

    def check(self, batch: tuple[int, ...], num_queries: int | None, num_keys: int | None) -> None:
        self._chosen()
        super().check(batch, num_queries, num_keys)

    def _chosen(self) -> ArrayLike:
        if self.index is None:
            raise ValueError(
                "ByLayer is a mask for each layer: attend with that of one, mask.of_layer(index)"
            )
        return self.index

    def _spread_index(self, rank: int) -> ArrayLike:
        return spread(self._chosen(), rank)


def spread(index: Int[ArrayLike, "*B"], rank: int) -> ArrayLike:
    """An index of batch elements with axes of one after its own, `rank` in all."""
    return (
        index if np.ndim(index) == 0 else index.reshape(*index.shape, *(1,) * (rank - index.ndim))
    )


def spread_heads(num_heads: int, rank: int) -> Int[np.ndarray, "*ones N 1 1"]:
    """The heads in order, on the axis that scores have for them."""
    if rank < 3:
        raise ValueError(f"a mask by head takes positions of rank 3 or more, and not {rank}")
    return np.arange(num_heads, dtype=np.int32).reshape((1,) * (rank - 3) + (num_heads, 1, 1))


def common_layout(layouts: list[Int[np.ndarray, "rows cols"]]) -> Int[np.ndarray, "rows cols"]:
    """The kinds that all layouts have in common, PARTIAL where they differ."""
    least, most = np.min(layouts, axis=0), np.max(layouts, axis=0)
    return np.where(least == most, least, np.int8(Tile.PARTIAL))


def head_index(batch: tuple[int, ...], num_heads: int) -> Int[np.ndarray, "*ones N"]:
    """The heads in order, as the last batch axis."""
    return np.arange(num_heads, dtype=np.int32).reshape((1,) * len(batch) + (num_heads,))
