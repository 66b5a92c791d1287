"""Masks of tiles in the Hopper kernels: the arrays that they read, and their evaluation."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.pallas import mosaic_gpu as plgpu

from attn_research.attention.backends.tiles.passes import Constants, Plan
from attn_research.types import Array, Bool, Int


class MaskArrays(NamedTuple):
    """The arrays that a mask reads: positions first, unless they count from 0."""

    queries: tuple[Array, ...]
    keys: tuple[Array, ...]


def mask_arrays(plan: Plan, constants: Constants) -> tuple[MaskArrays, MaskArrays]:
    """The arrays, with booleans as integers that can be copied; and which of them are booleans."""
    first = ((), ()) if plan.counted else ((constants.q_pos,), (constants.k_pos,))
    arrays = MaskArrays(first[0] + constants.queries, first[1] + constants.keys)
    bools = jax.tree.map(lambda array: array.dtype == bool, arrays)
    words = jax.tree.map(lambda a: a.astype(jnp.int32) if a.dtype == bool else a, arrays)
    return words, bools


class MaskInputs(NamedTuple):
    """The arrays that a mask reads for the queries or keys of a tile; the index of the first."""

    arrays: list
    bools: tuple[bool, ...]
    first: Array


def allowed_in_tile(
    plan: Plan, queries: MaskInputs, keys: MaskInputs, shape: tuple[int, int], query_axis: int
) -> Bool[Array, "rows cols"]:
    """The mask of a tile whose queries lie along `query_axis`."""

    def indices(side: MaskInputs, axis: int) -> Int[Array, "rows cols"]:
        iota = plgpu.broadcasted_iota(jnp.int32, shape, axis, layout=plgpu.Layout.WGMMA)
        return side.first + iota

    def read(side: MaskInputs, axis: int) -> list:
        layout = plgpu.Layout.WGMMA.reduce(1 - axis)
        loaded = (
            plgpu.load(ref, layout=layout, optimized=False)  # ty: ignore[missing-argument]
            for ref in side.arrays
        )
        wide = (lax.broadcast_in_dim(array, shape, [axis]) for array in loaded)
        arrays = [a != 0 if b else a for a, b in zip(wide, side.bools, strict=True)]
        return [indices(side, axis), *arrays] if plan.counted else arrays

    key_axis = 1 - query_axis
    (q_pos, *q_arrays), (k_pos, *k_arrays) = read(queries, query_axis), read(keys, key_axis)
    allowed = plan.allowed(q_pos, k_pos, tuple(q_arrays), tuple(k_arrays))
    if plan.num_keys % shape[key_axis]:
        allowed &= indices(keys, key_axis) < plan.num_keys
    return allowed
