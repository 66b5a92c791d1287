"""The forward kernel for Hopper: launch, shared memory and loads; see `forward_warpgroup`.

Queries are loaded while those before them are computed with, and their context is stored from the
shared memory that they were in.
"""

import functools
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from attn_research.attention.backends.hopper import blocks, masks
from attn_research.attention.backends.hopper.forward_warpgroup import (
    Call,
    Refs,
    Shared,
    compute_context,
)
from attn_research.attention.backends.tiles.passes import Constants, Plan, output_like
from attn_research.types import Array, Float


def attend_forward(
    plan: Plan,
    query: Array,
    key: Array,
    value: Array,
    constants: Constants,
    *,
    tuning: blocks.Tuning,
    interpret: Any,
) -> tuple[Float[Array, "B T N H"], Float[Array, "B N T"]]:
    """The context, and the log-sum-exp of each query in base 2, as in `numerics`."""
    batch, num_queries, num_heads, width = query.shape
    group = num_heads // key.shape[2]
    bytes_of_head = 2 * key.shape[1] * width * key.dtype.itemsize
    together = blocks.heads_together(batch * num_heads, group, bytes_of_head)
    tiles = num_queries // plan.forward.tile[0]
    items = blocks.Items(batch, num_heads, tiles, together, tuning.programs, last_first=True)
    arrays, bools = masks.mask_arrays(plan, constants)
    call = Call(plan, tuning, items, group, width, query.dtype, bools, bool(interpret))

    operands = query, key, value
    return blocks.make_kernel(
        "attend_hopper",
        call,
        (Refs, Shared),
        compute_context,
        _load,
        out_type=(
            output_like(query.shape, value.dtype, operands),
            output_like((batch, num_heads, num_queries), jnp.float32, operands),
        ),
        scratch=_scratch(call, arrays),
        interpret=interpret,
    )(*operands, constants.forward, arrays, items.schedule(plan.forward.visited))


def _scratch(call: Call, arrays: masks.MaskArrays) -> dict[str, Any]:
    tile_k, groups = call.tile[1], call.groups
    stages, buffers = call.tuning.stages, call.tuning.buffers
    from_queries, from_keys = (1 + len(side) for side in arrays)
    return {
        "query": blocks.tiles_in_smem((buffers, groups, blocks.ROWS, call.width), call.dtype),
        "key": blocks.tiles_in_smem((stages, tile_k, call.width), call.dtype),
        "value": blocks.tiles_in_smem((stages, tile_k, call.width), call.dtype),
        "log_sum": plgpu.SMEM((groups, blocks.ROWS), jnp.float32),
        "mask": masks.MaskArrays(
            tuple(plgpu.SMEM((buffers, groups, blocks.ROWS), a.dtype) for a in arrays.queries),
            tuple(plgpu.SMEM((stages, tile_k), a.dtype) for a in arrays.keys),
        ),
        "query_ready": plgpu.Barrier(num_arrivals=groups * from_queries, num_barriers=buffers),
        "query_free": plgpu.Barrier(num_arrivals=groups, num_barriers=buffers),
        "key_ready": plgpu.Barrier(num_arrivals=from_keys, num_barriers=stages),
        "key_free": plgpu.Barrier(num_arrivals=groups, num_barriers=stages),
        "value_ready": plgpu.Barrier(num_barriers=stages),
        "value_free": plgpu.Barrier(num_arrivals=groups, num_barriers=stages),
    }


def _load(call: Call, refs: Refs, shared: Shared) -> None:
    """The queries of each item, and the keys and values of its tiles, while there is room."""
    tile_k, stages, buffers = call.tile[1], call.tuning.stages, call.tuning.buffers

    def step_item(item: blocks.Item, done: Array) -> Array:
        order = blocks.order_of(call.plan.forward, refs.visits, item)
        kv_head = lax.div(item.head, call.group)
        buffer = lax.rem(item.turn, buffers)

        @pl.when(item.turn >= buffers)
        def _() -> None:
            plgpu.barrier_wait(shared.query_free.at[buffer])

        for group in range(call.groups):
            rows = pl.ds(item.tile * call.tile[0] + group * blocks.ROWS, blocks.ROWS)
            ready = shared.query_ready.at[buffer]
            source = refs.query.at[item.batch, rows, item.head]
            plgpu.copy_gmem_to_smem(source, shared.query.at[buffer, group], ready)
            for array, target in zip(refs.mask.queries, shared.mask.queries, strict=True):
                source = array.at[blocks.batch_index(array, item.batch), rows]
                plgpu.copy_gmem_to_smem(source, target.at[buffer, group], ready)

        def of_tile(masked: bool, number: Array, carry: None) -> None:
            step = done + number
            slot = lax.rem(step, stages)
            at = pl.ds(order.which(masked, number) * tile_k, tile_k)

            @pl.when(step >= stages)
            def _() -> None:
                plgpu.barrier_wait(shared.key_free.at[slot])

            ready = shared.key_ready.at[slot]
            source = refs.key.at[item.batch, at, kv_head]
            plgpu.copy_gmem_to_smem(source, shared.key.at[slot], ready)
            for array, target in zip(refs.mask.keys, shared.mask.keys, strict=True):
                source = array.at[blocks.batch_index(array, item.batch), at]
                plgpu.copy_gmem_to_smem(source, target.at[slot], ready)

            @pl.when(step >= stages)
            def _() -> None:
                plgpu.barrier_wait(shared.value_free.at[slot])

            source = refs.value.at[item.batch, at, kv_head]
            plgpu.copy_gmem_to_smem(source, shared.value.at[slot], shared.value_ready.at[slot])

        lax.fori_loop(0, order.full, functools.partial(of_tile, False), None)
        lax.fori_loop(order.full, order.every, functools.partial(of_tile, True), None)
        return done + order.every

    done = call.items.fold(step_item, refs.schedule)
    blocks.drain(done - stages, done, stages, shared.key_free, shared.value_free)
    turns = call.items.turns(refs.schedule)
    blocks.drain(turns - buffers, turns - 1, buffers, shared.query_free)
