"""The gradient kernels for Hopper: one over tiles of queries, one over tiles of keys.

Both are the same kernel. A block has a tile of queries and of the gradients of their contexts, or
of keys and values: the outer side, of which a warpgroup has 64 rows. It loads tiles of the other
two, the inner side; weights and their gradients are products of both sides, and what is summed are
products of those with the inner side. `hopper_gradients` has what a warpgroup does.
"""

import functools
from typing import Any

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from attn_research.attention.backends.hopper.backward_warpgroup import (
    Call,
    Refs,
    Shared,
    Sides,
    differentiate,
)
from attn_research.attention.backends.hopper.blocks import (
    ROWS,
    Item,
    Items,
    Tuning,
    drain,
    heads_together,
    kernel_of_blocks,
    mask_arrays,
    of_batch,
    order_of,
    tiles_in_smem,
)
from attn_research.attention.backends.pallas_gpu.kernels import means
from attn_research.attention.backends.tiles.passes import Plan, shaped
from attn_research.types import Array


def backward(
    plan: Plan, tunings: tuple[Tuning, Tuning], interpret: Any, residuals: tuple, cotangents: tuple
) -> tuple:
    """Gradients of the operands, from what the forward pass keeps: log-sums are of base 2."""
    query, key, value, given, context, log_sum = residuals
    d_context, d_log_sum = cotangents
    arrays, bools = mask_arrays(plan, given)
    rows = log_sum, means(d_context, context, d_log_sum)
    of_queries = Sides((query, d_context), rows, arrays.queries)
    of_keys = Sides((key, value), (), arrays.keys)
    run = functools.partial(_run, plan, interpret, bools)
    (d_query,) = run(False, tunings[0], of_queries, of_keys, given.of_queries)
    d_key, d_value = run(True, tunings[1], of_keys, of_queries, given.of_keys)
    return d_query, d_key, d_value, None


def _run(
    plan: Plan,
    interpret: Any,
    bools: Any,
    by_key: bool,
    tuning: Tuning,
    outer: Sides,
    inner: Sides,
    visits: Any,
) -> tuple[Array, ...]:
    batch, length, heads, width = outer.tiles[0].shape
    _, inner_length, inner_heads, _ = inner.tiles[0].shape
    group = max(heads, inner_heads) // min(heads, inner_heads)
    lie = plan.of_keys if by_key else plan.of_queries
    dtype = outer.tiles[0].dtype
    # What is loaded again and again should be in the L2 cache: of all queries of a head of keys.
    read = 2 * inner_length * width * dtype.itemsize * (group if by_key else 1)
    together = heads_together(batch * heads, 1 if by_key else group, read)
    tiles = length // lie.tile[by_key]
    items = Items(batch, heads, tiles, together, tuning.programs, last_first=not by_key)
    call = Call(plan, lie, tuning, items, by_key, group, width, dtype, bools, bool(interpret))
    made = outer.tiles if by_key else outer.tiles[:1]
    operands = outer.tiles + inner.tiles

    return kernel_of_blocks(
        "attend_hopper_d_key" if by_key else "attend_hopper_d_query",
        call,
        (Refs, Shared),
        differentiate,
        _load,
        out_type=(tuple(shaped(array.shape, array.dtype, operands) for array in made),),
        scratch=_scratch(call, outer, inner),
        interpret=interpret,
    )(outer, inner, visits, items.schedule(lie.visited, group if by_key else 1))[0]


def _scratch(call: Call, outer: Sides, inner: Sides) -> dict[str, Any]:
    stages, buffers, groups = call.tuning.stages, call.tuning.buffers, call.groups

    def room(side: Sides, *shape: int) -> Sides:
        def of_row(array: Any) -> Any:
            return plgpu.SMEM(shape, array.dtype)

        return Sides(
            tuple(tiles_in_smem((*shape, call.width), call.dtype) for _ in side.tiles),
            *(tuple(map(of_row, arrays)) for arrays in side[1:]),
        )

    of_outer, of_inner = (len(jax.tree.leaves(side)) for side in (outer, inner))
    return {
        "outer": room(outer, buffers, groups, ROWS),
        "inner": room(inner, stages, call.inner_size),
        "outer_there": plgpu.Barrier(num_arrivals=groups * of_outer, num_barriers=buffers),
        "outer_free": plgpu.Barrier(num_arrivals=groups, num_barriers=buffers),
        "inner_there": plgpu.Barrier(num_arrivals=of_inner, num_barriers=stages),
        "inner_free": plgpu.Barrier(num_arrivals=groups, num_barriers=stages),
    }


def _copy(source: Sides, target: Sides, to: tuple, item: Item, head: Array, at: Any, there: Any):
    """Loads the entries `at` of a head of all arrays of a side."""
    sources = (
        *(array.at[item.batch, at, head] for array in source.tiles),
        *(array.at[item.batch, head, at] for array in source.rows),
        *(array.at[of_batch(array, item.batch), at] for array in source.mask),
    )
    targets = (*target.tiles, *target.rows, *target.mask)
    for each, room in zip(sources, targets, strict=True):
        plgpu.copy_gmem_to_smem(each, room.at[to], there)


def _load(call: Call, refs: Refs, shared: Shared) -> None:
    """The outer side of each item, and tiles of the inner one while there is room."""
    stages, buffers = call.tuning.stages, call.tuning.buffers

    def of_item(item: Item, done: Array) -> Array:
        order = order_of(call.lie, refs.visits, item)
        buffer = lax.rem(item.turn, buffers)

        @pl.when(item.turn >= buffers)
        def _() -> None:
            plgpu.barrier_wait(shared.outer_free.at[buffer])

        for group in range(call.groups):
            rows = pl.ds(item.tile * call.outer_size + group * ROWS, ROWS)
            there = shared.outer_there.at[buffer]
            _copy(refs.outer, shared.outer, (buffer, group), item, item.head, rows, there)

        def of_tile(head: Array, masked: bool, number: Array, step: Array) -> Array:
            slot = lax.rem(step, stages)
            at = pl.ds(order.which(masked, number) * call.inner_size, call.inner_size)

            @pl.when(step >= stages)
            def _() -> None:
                plgpu.barrier_wait(shared.inner_free.at[slot])

            there = shared.inner_there.at[slot]
            _copy(refs.inner, shared.inner, (slot,), item, head, at, there)
            return step + 1

        def of_head(head: Array, step: Array) -> Array:
            full, partial = (functools.partial(of_tile, head, masked) for masked in (False, True))
            step = lax.fori_loop(0, order.full, full, step)
            return lax.fori_loop(order.full, order.every, partial, step)

        return call.for_heads(item, of_head, done)

    done = call.items.fold(of_item, refs.schedule)
    drain(done - stages, done, stages, shared.inner_free)
    turns = call.items.turns(refs.schedule)
    drain(turns - buffers, turns - 1, buffers, shared.outer_free)
