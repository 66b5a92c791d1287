"""What kernels for GPUs are told and load: passes over tiles, arrays by tile, and where they lie.

A program is a tile of queries or of keys, a head and a batch element, (t, n, b) in the specs here.
Arrays that all batch elements share have a batch axis of one.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

from attn_research.attention.normalizers import Dropout
from attn_research.types import Array, Float, Int, PyTree, Shaped, UInt


class Visits(NamedTuple):
    """Inner tiles of each outer one, the full ones first, then the partial ones.

    `spans` counts the full ones, counts both, and tells the first full and the first partial one,
    the latter two for runs alone.
    """

    tiles: Int[Array, "#B outer most"]
    spans: Int[Array, "#B outer 4"]


class Given(NamedTuple):
    """Arrays that no gradient reaches: positions, what the mask reads, and words of dropout."""

    q_pos: Int[Array, "#B T"]
    k_pos: Int[Array, "#B S"]
    queries: tuple[Shaped[Array, "#B T"], ...]
    keys: tuple[Shaped[Array, "#B S"], ...]
    words: tuple[UInt[Array, "B N T"], ...]  # none, or the two of each row
    forward: Visits
    of_queries: Visits
    of_keys: Visits


@dataclasses.dataclass(frozen=True)
class Pass:
    """A pass over tiles of queries and keys.

    `full` and `partial` say how such tiles lie within an outer one: "run" for one after another,
    which loads ahead of their use can rely on, "list" for anyhow; None where there are none.
    `visited` says how many inner tiles each outer one has to visit, where no array decides.
    """

    tile: tuple[int, int]
    full: Literal["run", "list"] | None
    partial: Literal["run", "list"] | None
    visited: tuple[int, ...] | None

    def visit(
        self,
        visits: Visits,
        look: Callable[[bool, Array, PyTree], PyTree],
        carry: PyTree,
    ) -> PyTree:
        """Folds `look(masked, inner, carry)` over the tiles that an outer one leaves to visit."""
        full, every = visits.spans[0], visits.spans[1]
        for masked, order, start, stop in (
            (False, self.full, 0, full),
            (True, self.partial, full, every),
        ):
            if order == "run":
                ahead = visits.spans[2 + masked] - start

                def step(number: Array, carry: PyTree, masked=masked, ahead=ahead) -> PyTree:
                    return look(masked, ahead + number, carry)
            elif order == "list":

                def step(number: Array, carry: PyTree, masked=masked) -> PyTree:
                    return look(masked, visits.tiles[number], carry)
            else:
                continue
            carry = lax.fori_loop(start, stop, step, carry)
        return carry


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """All that is static."""

    scale: float
    num_keys: int  # from here on keys are padding
    counted: bool  # whether positions count from 0
    allowed: Callable[..., Array]  # of a `TileRule`
    dropped: Dropout | None
    forward: Pass
    of_queries: Pass
    of_keys: Pass
    call: Callable[..., Any] | None  # `pl.pallas_call` with its compiler, where kernels ask for it


class Side(NamedTuple):
    """What a mask reads of queries, or of keys."""

    positions: Any
    arrays: tuple


def sides(given: Given, visits: Visits) -> tuple[Side, Side, tuple, Visits]:
    """What a pass reads besides its operands; `Specs` say where."""
    return Side(given.q_pos, given.queries), Side(given.k_pos, given.keys), given.words, visits


@dataclasses.dataclass(frozen=True)
class Specs:
    """Where the blocks of a program lie, for tiles of that size and groups of query heads."""

    tile: int
    group: int

    def tile_of_head(self, array: Any) -> pl.BlockSpec:
        """[tile, H] of an array [B, T, N, H]."""
        block = None, self.tile, None, array.shape[3]
        return pl.BlockSpec(block, lambda t, n, b: (b, t, n, 0))

    def all_of_kv_head(self, array: Any) -> pl.BlockSpec:
        """[S, H] of the key head of a query head."""
        block = None, array.shape[1], None, array.shape[3]
        return pl.BlockSpec(block, lambda t, n, b: (b, 0, lax.div(n, self.group), 0))

    def all_of_group(self, array: Any) -> pl.BlockSpec:
        """[T, G, H] of the query heads of a key head."""
        block = None, array.shape[1], self.group, array.shape[3]
        return pl.BlockSpec(block, lambda t, n, b: (b, 0, n, 0))

    @property
    def tile_of_row(self) -> pl.BlockSpec:
        """[tile] of an array [B, N, T]."""
        return pl.BlockSpec((None, None, self.tile), lambda t, n, b: (b, n, t))

    def rows_of_group(self, array: Any) -> pl.BlockSpec:
        """[G, T] of an array [B, N, T]."""
        return pl.BlockSpec((None, self.group, array.shape[2]), lambda t, n, b: (b, n, 0))

    def of_queries(self, given: Given, visits: Visits) -> tuple[Side, Side, tuple, Visits]:
        """For `sides`, where a program is a tile of queries."""
        q_side, k_side, words, visits = sides(given, visits)
        return (
            jax.tree.map(self._tile, q_side),
            jax.tree.map(self._all, k_side),
            jax.tree.map(lambda array: self.tile_of_row, words),
            jax.tree.map(self._visits, visits),
        )

    def of_keys(self, given: Given, visits: Visits) -> tuple[Side, Side, tuple, Visits]:
        """For `sides`, where a program is a tile of keys."""
        q_side, k_side, words, visits = sides(given, visits)
        return (
            jax.tree.map(self._all, q_side),
            jax.tree.map(self._tile, k_side),
            jax.tree.map(self.rows_of_group, words),
            jax.tree.map(self._visits, visits),
        )

    def _tile(self, array: Shaped[Array, "#B T"]) -> pl.BlockSpec:
        return pl.BlockSpec((None, self.tile), lambda t, n, b: (_shared(array, b), t))

    def _all(self, array: Shaped[Array, "#B T"]) -> pl.BlockSpec:
        return pl.BlockSpec((None, array.shape[1]), lambda t, n, b: (_shared(array, b), 0))

    def _visits(self, array: Int[Array, "#B outer _"]) -> pl.BlockSpec:
        block = None, None, array.shape[2]
        return pl.BlockSpec(block, lambda t, n, b: (_shared(array, b), t, 0))


def _shared(array: Array, number: Any) -> Any:
    return number if array.shape[0] > 1 else 0


def shaped(shape: tuple[int, ...], dtype: Any, arrays: tuple[Array, ...]) -> Any:
    """An array that varies over the devices of a `shard_map` as some of the others do."""

    def one(*arrays: Array) -> Array:
        return jnp.broadcast_to(sum(array.ravel()[0].astype(dtype) for array in arrays), shape)

    return jax.eval_shape(one, *arrays)


def read(refs: PyTree, at: Any) -> PyTree:
    """What stands there in all of them."""
    return jax.tree.map(lambda ref: ref[at], refs)


def dot(a: Array, b: Array, of_a: int, of_b: int) -> Float[Array, "rows cols"]:
    """The product over those axes, in float32."""
    axes = ((of_a,), (of_b,)), ((), ())
    return lax.dot_general(a, b, axes, preferred_element_type=jnp.float32)


def indices(number: Array, size: int) -> Int[Array, "size"]:
    """Of the entries of a tile."""
    return number * size + lax.iota(jnp.int32, size)


def who_may_look(plan: Plan, q_side: Side, k_side: Side, index: Array, rows: bool) -> Array:
    """Who may look in a tile, where queries are its rows or its columns; no key is padding."""

    def spread(side: PyTree, down: bool) -> PyTree:
        return jax.tree.map(lambda each: each[:, None] if down else each[None, :], side)

    (q_pos, queries), (k_pos, keys) = spread(q_side, rows), spread(k_side, not rows)
    return plan.allowed(q_pos, k_pos, queries, keys) & spread(index < plan.num_keys, not rows)
