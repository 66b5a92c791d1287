"""Attention masks: predicates over positions, closed under `& | ~`.

A mask is called as `mask(q_pos, k_pos)` with integer positions that broadcast together, and returns
booleans: true where that query may attend to that key. `attend` calls it with q_pos [*B, 1, T, 1]
and k_pos [*B, 1, 1, S], or [*B, 1, T, S] where each query has keys of its own, axes of one where
all agree, so every result broadcasts to the scores [*B, N, T, S] without a change of rank.
Positions count from 0: nothing is at a negative one, and `attend` lets nothing attend to it.
Structure is static and hashable; arrays that differ by batch are leaves. Structure is written with
the operators that NumPy and JAX share: NumPy positions give NumPy booleans, traced positions traced
ones, and a cached decode step is the same mask at later positions.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.attention.layouts import Block, Tile, band_layout, tile_edges
from attn_research.attention.positions import MOST_POSITION, Pos, grid, signed
from attn_research.trees import pytree
from attn_research.types import Array, ArrayLike, Bool, Int

# JAX rebuilds pytrees around placeholders of any type, so `| Any` leaves the annotation of an array
# field to the reader; `Mask.check` verifies the array itself.


class Mask:
    """A predicate over positions.

    A new one is a frozen dataclass registered with JAX that defines `__call__`, `layout` and `span`
    where these are known, and `check` where it has arrays; a mask with arrays that kernels should
    support registers a `tile_rule`.
    """

    def __call__(self, q_pos: Pos, k_pos: Pos) -> ArrayLike:
        """Booleans that broadcast against both: true where the query may attend to the key."""
        raise NotImplementedError

    def __and__(self, other: "Mask") -> "Mask":
        return And(self, _mask(other, "&"))

    def __or__(self, other: "Mask") -> "Mask":
        return Or(self, _mask(other, "|"))

    def __rand__(self, other: Any) -> "Mask":
        return And(_mask(other, "&"), self)

    def __ror__(self, other: Any) -> "Mask":
        return Or(_mask(other, "|"), self)

    def __invert__(self) -> "Mask":
        return Not(self)

    def __bool__(self) -> bool:
        # Python's `a and b` is b: the mask a would be dropped without a word.
        raise TypeError(
            f"the mask {type(self).__name__} is neither true nor false: join masks by & | ~, "
            "not by `and`, `or`, `not`, and compare with None by `is`"
        )

    def check(self, batch: tuple[int, ...], num_queries: int | None, num_keys: int | None) -> None:
        """Raises ValueError unless the arrays fit `batch` and those lengths; None is any length."""
        for part in self.parts:
            part.check(batch, num_queries, num_keys)

    @property
    def parts(self) -> tuple["Mask", ...]:
        """The masks that it is composed of."""
        fields = (getattr(self, field.name) for field in dataclasses.fields(self))
        return tuple(each for each in fields if isinstance(each, Mask))

    def map_parts(self, function: Callable[["Mask"], "Mask"]) -> "Mask":
        """The same composition of `function` of each of its parts."""
        return type(self)(*map(function, self.parts)) if self.parts else self

    def of_queries(self, index: Int[ArrayLike, "T"]) -> "Mask":
        """The mask of some queries of the call, which matters where arrays belong to those."""
        return self.map_parts(lambda part: part.of_queries(index))

    def of_layer(self, index: Int[ArrayLike, ""] | int) -> "Mask":
        """The mask of a layer, counted from 0; the index may be traced."""
        return self.map_parts(lambda part: part.of_layer(index))

    def of_length(self, length: int) -> "Mask":
        """The mask of rows of `length` positions, for patterns that depend on it."""
        return self.map_parts(lambda part: part.of_length(length))

    def typical(self) -> "Mask":
        """The mask, or where heads and layers draw keys of their own, that of one of them."""
        return self.map_parts(lambda part: part.typical())

    def of_head(self, index: int) -> "Mask":
        """The mask of a head, counted from 0."""
        return self.map_parts(lambda part: part.of_head(index))

    def of_heads(self, batch: tuple[int, ...], num_heads: int) -> "Mask":
        """The mask of a call whose heads are its last batch axis; see `by_head`."""
        if self.parts:
            return self.map_parts(lambda part: part.of_heads(batch, num_heads))

        def add_axis(leaf: Any) -> Array:
            """[*B, ...] as [*B, N, ...]."""
            shape = *leaf.shape[: len(batch)], num_heads, *leaf.shape[len(batch) :]
            return jnp.broadcast_to(jnp.expand_dims(jnp.asarray(leaf), len(batch)), shape)

        return jax.tree.map(add_axis, self)

    @property
    def num_heads(self) -> int | None:
        """The number of heads that it differs by, None where all share it.

        ValueError where two of its parts disagree.
        """
        return self._of_parts("heads")

    @property
    def num_layers(self) -> int | None:
        """The number of layers that it has a mask for, None where it is for any number.

        ValueError where two of its parts disagree.
        """
        return self._of_parts("layers")

    @property
    def varies(self) -> bool:
        """Whether it is a mask of each head or layer; what `of_heads` returns is not."""
        return any(part.varies for part in self.parts)

    @property
    def per_query(self) -> bool:
        """Whether it has arrays of the queries of a call, in their order, as `Around` has."""
        return any(part.per_query for part in self.parts)

    def dense(self, num_queries: int, num_keys: int) -> Bool[Array | np.ndarray, "*leading T S"]:
        """The mask written out: [T, S], or [*B, 1, T, S] where it carries per-batch arrays."""
        allowed = self(*grid(np.arange(num_queries), np.arange(num_keys), self._rank()))
        xp = np if isinstance(allowed, np.ndarray) else jnp
        return xp.broadcast_to(allowed, (*allowed.shape[:-2], num_queries, num_keys))

    def layout(self, num_queries: int, num_keys: int, block: Block) -> Int[np.ndarray, "rows cols"]:
        """A `Tile` per tile of `block` queries and keys, [ceil(T / block), ceil(S / block)], int8.

        Computed from the rule, in time and memory of the number of tiles. The last tiles may reach
        past the end. EMPTY and FULL are certain; PARTIAL also stands for tiles not known.
        """
        (first_q, _), (first_k, _) = tile_edges(num_queries, num_keys, block)
        return np.full((len(first_q), len(first_k)), Tile.PARTIAL, np.int8)

    def span(self, q_pos: Pos) -> tuple[Int[ArrayLike, "..."], int] | None:
        """(start, width): a query attends only to keys start, ..., start + width - 1, from 0.

        `start` broadcasts against `q_pos`, width is static; None where no bound is known.
        """
        return None

    def _of_parts(self, kind: Literal["heads", "layers"]) -> int | None:
        counts = {getattr(part, f"num_{kind}") for part in self.parts} - {None}
        if len(counts) > 1:
            raise ValueError(f"masks of {' and '.join(map(str, sorted(counts)))} {kind} are joined")
        return next(iter(counts), None)

    def _rank(self) -> int:
        """The rank of the positions that it takes: of arrays [*B, S] two more, of structure two."""
        parts = [getattr(self, field.name) for field in dataclasses.fields(self)]
        ranks = (part._rank() if isinstance(part, Mask) else np.ndim(part) + 2 for part in parts)
        return max(ranks, default=2)


@pytree
@dataclasses.dataclass(frozen=True)
class Full(Mask):
    """Every query may attend to every key."""

    def __call__(self, q_pos: Pos, k_pos: Pos) -> ArrayLike:
        return np.ones((1,) * max(np.ndim(q_pos), np.ndim(k_pos)), bool)

    def layout(self, num_queries: int, num_keys: int, block: Block) -> Int[np.ndarray, "rows cols"]:
        return band_layout(-np.inf, np.inf, num_queries, num_keys, block)


@pytree
@dataclasses.dataclass(frozen=True)
class Causal(Mask):
    """A query may attend to its own position and before."""

    def __call__(self, q_pos: Pos, k_pos: Pos) -> ArrayLike:
        return signed(k_pos) <= signed(q_pos)

    def layout(self, num_queries: int, num_keys: int, block: Block) -> Int[np.ndarray, "rows cols"]:
        return band_layout(-np.inf, 0, num_queries, num_keys, block)


@pytree
@dataclasses.dataclass(frozen=True)
class Window(Mask):
    """A query may attend to its own position, `left` before it and `right` after it."""

    left: int = dataclasses.field(metadata={"static": True})
    right: int = dataclasses.field(metadata={"static": True})

    def __post_init__(self) -> None:
        if self.left < 0 or self.right < 0:
            raise ValueError(f"{self}: left and right count positions, so neither is negative")

    def __call__(self, q_pos: Pos, k_pos: Pos) -> ArrayLike:
        # Of positions from 0 on, this difference is never too large for their dtype.
        ahead = signed(k_pos) - signed(q_pos)
        left, right = (min(side, MOST_POSITION) for side in (self.left, self.right))
        return (ahead >= -left) & (ahead <= right)

    def layout(self, num_queries: int, num_keys: int, block: Block) -> Int[np.ndarray, "rows cols"]:
        return band_layout(-self.left, self.right, num_queries, num_keys, block)

    def span(self, q_pos: Pos) -> tuple[Int[ArrayLike, "..."], int]:
        return q_pos - self.left, self.left + 1 + self.right


@pytree
@dataclasses.dataclass(frozen=True)
class Real(Mask):
    """Queries and keys at positions from 0 on, where something can be."""

    def __call__(self, q_pos: Pos, k_pos: Pos) -> ArrayLike:
        return (signed(q_pos) >= 0) & (signed(k_pos) >= 0)

    def layout(self, num_queries: int, num_keys: int, block: Block) -> Int[np.ndarray, "rows cols"]:
        return band_layout(-np.inf, np.inf, num_queries, num_keys, block)


@dataclasses.dataclass(frozen=True)
class Pair(Mask):
    """A composition of two masks."""

    a: Mask
    b: Mask


@pytree
@dataclasses.dataclass(frozen=True)
class And(Pair):
    """The intersection of two masks, written `a & b`."""

    def __call__(self, q_pos: Pos, k_pos: Pos) -> ArrayLike:
        return self.a(q_pos, k_pos) & self.b(q_pos, k_pos)

    def layout(self, num_queries: int, num_keys: int, block: Block) -> Int[np.ndarray, "rows cols"]:
        size = num_queries, num_keys, block
        return np.minimum(self.a.layout(*size), self.b.layout(*size))

    def span(self, q_pos: Pos) -> tuple[Int[ArrayLike, "..."], int] | None:
        known = [span for span in (self.a.span(q_pos), self.b.span(q_pos)) if span]
        return min(known, key=lambda span: span[1], default=None)


@pytree
@dataclasses.dataclass(frozen=True)
class Or(Pair):
    """The union of two masks, written `a | b`."""

    def __call__(self, q_pos: Pos, k_pos: Pos) -> ArrayLike:
        return self.a(q_pos, k_pos) | self.b(q_pos, k_pos)

    def layout(self, num_queries: int, num_keys: int, block: Block) -> Int[np.ndarray, "rows cols"]:
        size = num_queries, num_keys, block
        return np.maximum(self.a.layout(*size), self.b.layout(*size))


@pytree
@dataclasses.dataclass(frozen=True)
class Not(Mask):
    """The complement of a mask, written `~a`."""

    a: Mask

    def __call__(self, q_pos: Pos, k_pos: Pos) -> ArrayLike:
        return ~self.a(q_pos, k_pos)

    def layout(self, num_queries: int, num_keys: int, block: Block) -> Int[np.ndarray, "rows cols"]:
        return Tile.FULL.value - self.a.layout(num_queries, num_keys, block)


def _mask(other: Any, operator: str) -> Mask:
    if isinstance(other, type) and issubclass(other, Mask):
        raise TypeError(f"{other.__name__} is a class: write {other.__name__}() {operator} ...")
    if not isinstance(other, Mask):
        raise TypeError(f"{operator} joins masks, and {type(other).__name__} is none: see Padding")
    return other
