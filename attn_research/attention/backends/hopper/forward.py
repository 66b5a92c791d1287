"""The forward kernel for Hopper: what is loaded when; `hopper_weighing` has what is done with it.

Queries come while those before them are at work, and their context leaves from where they were.
"""

import functools
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from attn_research.attention.backends.hopper.blocks import (
    ROWS,
    Item,
    Items,
    MaskArrays,
    Tuning,
    drain,
    heads_together,
    kernel_of_blocks,
    mask_arrays,
    of_batch,
    order_of,
    tiles_in_smem,
)
from attn_research.attention.backends.hopper.forward_warpgroup import Call, Refs, Shared, weigh
from attn_research.attention.backends.tiles.passes import Given, Plan, shaped
from attn_research.types import Array, Float


def attend_forward(
    plan: Plan, tuning: Tuning, interpret: Any, query: Array, key: Array, value: Array, given: Given
) -> tuple[Float[Array, "B T N H"], Float[Array, "B N T"]]:
    """The context, and the log-sum-exp of each query in base 2, as `pallas_kernels` has them."""
    batch, num_queries, num_heads, width = query.shape
    group = num_heads // key.shape[2]
    bytes_of_head = 2 * key.shape[1] * width * key.dtype.itemsize
    together = heads_together(batch * num_heads, group, bytes_of_head)
    tiles = num_queries // plan.forward.tile[0]
    items = Items(batch, num_heads, tiles, together, tuning.programs, last_first=True)
    arrays, bools = mask_arrays(plan, given)
    call = Call(plan, tuning, items, group, width, query.dtype, bools, bool(interpret))

    operands = query, key, value
    return kernel_of_blocks(
        "attend_hopper",
        call,
        (Refs, Shared),
        weigh,
        _load,
        out_type=(
            shaped(query.shape, value.dtype, operands),
            shaped((batch, num_heads, num_queries), jnp.float32, operands),
        ),
        scratch=_scratch(call, arrays),
        interpret=interpret,
    )(*operands, given.forward, arrays, items.schedule(plan.forward.visited))


def _scratch(call: Call, arrays: MaskArrays) -> dict[str, Any]:
    tile_k, groups = call.tile[1], call.groups
    stages, buffers = call.tuning.stages, call.tuning.buffers
    from_queries, from_keys = (1 + len(side) for side in arrays)
    return {
        "query": tiles_in_smem((buffers, groups, ROWS, call.width), call.dtype),
        "key": tiles_in_smem((stages, tile_k, call.width), call.dtype),
        "value": tiles_in_smem((stages, tile_k, call.width), call.dtype),
        "log_sum": plgpu.SMEM((groups, ROWS), jnp.float32),
        "mask": MaskArrays(
            tuple(plgpu.SMEM((buffers, groups, ROWS), a.dtype) for a in arrays.queries),
            tuple(plgpu.SMEM((stages, tile_k), a.dtype) for a in arrays.keys),
        ),
        "query_there": plgpu.Barrier(num_arrivals=groups * from_queries, num_barriers=buffers),
        "query_free": plgpu.Barrier(num_arrivals=groups, num_barriers=buffers),
        "key_there": plgpu.Barrier(num_arrivals=from_keys, num_barriers=stages),
        "key_free": plgpu.Barrier(num_arrivals=groups, num_barriers=stages),
        "value_there": plgpu.Barrier(num_barriers=stages),
        "value_free": plgpu.Barrier(num_arrivals=groups, num_barriers=stages),
    }


def _load(call: Call, refs: Refs, shared: Shared) -> None:
    """The queries of each item, and the keys and values of its tiles, while there is room."""
    tile_k, stages, buffers = call.tile[1], call.tuning.stages, call.tuning.buffers

    def of_item(item: Item, done: Array) -> Array:
        order = order_of(call.plan.forward, refs.visits, item)
        kv_head = lax.div(item.head, call.group)
        buffer = lax.rem(item.turn, buffers)

        @pl.when(item.turn >= buffers)
        def _() -> None:
            plgpu.barrier_wait(shared.query_free.at[buffer])

        for group in range(call.groups):
            rows = pl.ds(item.tile * call.tile[0] + group * ROWS, ROWS)
            there = shared.query_there.at[buffer]
            source = refs.query.at[item.batch, rows, item.head]
            plgpu.copy_gmem_to_smem(source, shared.query.at[buffer, group], there)
            for array, target in zip(refs.mask.queries, shared.mask.queries, strict=True):
                source = array.at[of_batch(array, item.batch), rows]
                plgpu.copy_gmem_to_smem(source, target.at[buffer, group], there)

        def of_tile(masked: bool, number: Array, carry: None) -> None:
            step = done + number
            slot = lax.rem(step, stages)
            at = pl.ds(order.which(masked, number) * tile_k, tile_k)

            @pl.when(step >= stages)
            def _() -> None:
                plgpu.barrier_wait(shared.key_free.at[slot])

            there = shared.key_there.at[slot]
            source = refs.key.at[item.batch, at, kv_head]
            plgpu.copy_gmem_to_smem(source, shared.key.at[slot], there)
            for array, target in zip(refs.mask.keys, shared.mask.keys, strict=True):
                source = array.at[of_batch(array, item.batch), at]
                plgpu.copy_gmem_to_smem(source, target.at[slot], there)

            @pl.when(step >= stages)
            def _() -> None:
                plgpu.barrier_wait(shared.value_free.at[slot])

            source = refs.value.at[item.batch, at, kv_head]
            plgpu.copy_gmem_to_smem(source, shared.value.at[slot], shared.value_there.at[slot])

        lax.fori_loop(0, order.full, functools.partial(of_tile, False), None)
        lax.fori_loop(order.full, order.every, functools.partial(of_tile, True), None)
        return done + order.every

    done = call.items.fold(of_item, refs.schedule)
    drain(done - stages, done, stages, shared.key_free, shared.value_free)
    turns = call.items.turns(refs.schedule)
    drain(turns - buffers, turns - 1, buffers, shared.query_free)
