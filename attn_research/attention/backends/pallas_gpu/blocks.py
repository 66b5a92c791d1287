"""Blocks of arrays for Pallas kernels on GPUs: their specs, and reads and products of them.

A program is a tile of queries or of keys, a head and a batch element, (t, n, b) in the specs here.
Arrays that all batch elements share have a batch axis of one.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

from attn_research.attention.backends.tiles.passes import Constants, Plan, Visits
from attn_research.types import Array, Float, Int, PyTree, Shaped


class MaskInputs(NamedTuple):
    """The positions and arrays that a mask reads for queries, or for keys."""

    positions: Any
    arrays: tuple


class SideInputs(NamedTuple):
    """All that a pass reads besides its operands."""

    queries: MaskInputs
    keys: MaskInputs
    words: tuple
    visits: Visits


def side_inputs(constants: Constants, visits: Visits) -> SideInputs:
    """The inputs of a pass besides its operands; `Specs` have their blocks."""
    return SideInputs(
        MaskInputs(constants.q_pos, constants.queries),
        MaskInputs(constants.k_pos, constants.keys),
        constants.words,
        visits,
    )


@dataclasses.dataclass(frozen=True)
class Specs:
    """Block specs of a program, for tiles of that size and groups of query heads."""

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

    def of_queries(self, constants: Constants, visits: Visits) -> SideInputs:
        """For `side_inputs`, where a program is a tile of queries."""
        inputs = side_inputs(constants, visits)
        return SideInputs(
            jax.tree.map(self._tile, inputs.queries),
            jax.tree.map(self._all, inputs.keys),
            jax.tree.map(lambda array: self.tile_of_row, inputs.words),
            jax.tree.map(self._visits, inputs.visits),
        )

    def of_keys(self, constants: Constants, visits: Visits) -> SideInputs:
        """For `side_inputs`, where a program is a tile of keys."""
        inputs = side_inputs(constants, visits)
        return SideInputs(
            jax.tree.map(self._all, inputs.queries),
            jax.tree.map(self._tile, inputs.keys),
            jax.tree.map(self.rows_of_group, inputs.words),
            jax.tree.map(self._visits, inputs.visits),
        )

    def _tile(self, array: Shaped[Array, "#B T"]) -> pl.BlockSpec:
        return pl.BlockSpec((None, self.tile), lambda t, n, b: (_batch_index(array, b), t))

    def _all(self, array: Shaped[Array, "#B T"]) -> pl.BlockSpec:
        return pl.BlockSpec((None, array.shape[1]), lambda t, n, b: (_batch_index(array, b), 0))

    def _visits(self, array: Int[Array, "#B outer _"]) -> pl.BlockSpec:
        block = None, None, array.shape[2]
        return pl.BlockSpec(block, lambda t, n, b: (_batch_index(array, b), t, 0))


def _batch_index(array: Array, index: Any) -> Any:
    return index if array.shape[0] > 1 else 0


def read(refs: PyTree, at: Any) -> PyTree:
    """The values of all refs at an index."""
    return jax.tree.map(lambda ref: ref[at], refs)


def dot(a: Array, b: Array, axis_a: int, axis_b: int) -> Float[Array, "rows cols"]:
    """The product over those axes, in float32."""
    axes = ((axis_a,), (axis_b,)), ((), ())
    return lax.dot_general(a, b, axes, preferred_element_type=jnp.float32)


def tile_indices(number: Array, size: int) -> Int[Array, "size"]:
    """The indices of the entries of a tile."""
    return number * size + lax.iota(jnp.int32, size)


def allowed_in_tile(
    plan: Plan, queries: MaskInputs, keys: MaskInputs, index: Array, *, queries_first: bool
) -> Array:
    """The mask of a tile, whose rows are its queries or its keys; no key may be padding."""

    def spread(side: PyTree, *, down: bool) -> PyTree:
        return jax.tree.map(lambda each: each[:, None] if down else each[None, :], side)

    q_pos, q_arrays = spread(queries, down=queries_first)
    k_pos, k_arrays = spread(keys, down=not queries_first)
    allowed = plan.allowed(q_pos, k_pos, q_arrays, k_arrays)
    return allowed & spread(index < plan.num_keys, down=not queries_first)
