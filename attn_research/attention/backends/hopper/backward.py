"""The gradient kernels for Hopper: one over tiles of queries, one over tiles of keys.

Both are the same kernel. A block has a tile of queries and of the gradients of their contexts, or
of keys and values: the outer side, of which a warpgroup has 64 rows. It loads tiles of the other
two, the inner side. Weights and their gradients are products of both sides; the sums are products
of those with the inner side. `backward_warpgroup` has the computation of a warpgroup.
"""

import functools
from typing import Any

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from attn_research.attention.backends.hopper import blocks, masks
from attn_research.attention.backends.hopper.backward_warpgroup import (
    Call,
    Refs,
    Shared,
    Sides,
    compute_gradients,
)
from attn_research.attention.backends.tiles.numerics import softmax_delta
from attn_research.attention.backends.tiles.passes import Plan, output_like
from attn_research.types import Array


def gradients(
    plan: Plan,
    residuals: tuple,
    cotangents: tuple,
    *,
    tunings: tuple[blocks.Tuning, blocks.Tuning],
    interpret: Any,
) -> tuple:
    """Gradients of the operands, from the residuals of the forward pass; log-sums are of base 2."""
    query, key, value, constants, context, log_sum = residuals
    d_context, d_log_sum = cotangents
    arrays, bools = masks.mask_arrays(plan, constants)
    rows = log_sum, softmax_delta(d_context, context, d_log_sum)
    of_queries = Sides((query, d_context), rows, arrays.queries)
    of_keys = Sides((key, value), (), arrays.keys)
    run = functools.partial(_run, plan, interpret=interpret, bools=bools)
    (d_query,) = run(of_queries, of_keys, constants.of_queries, by_key=False, tuning=tunings[0])
    d_key, d_value = run(of_keys, of_queries, constants.of_keys, by_key=True, tuning=tunings[1])
    return d_query, d_key, d_value, None


def _run(
    plan: Plan,
    outer: Sides,
    inner: Sides,
    visits: Any,
    *,
    by_key: bool,
    tuning: blocks.Tuning,
    interpret: Any,
    bools: Any,
) -> tuple[Array, ...]:
    batch, length, heads, width = outer.tiles[0].shape
    _, inner_length, inner_heads, _ = inner.tiles[0].shape
    group = max(heads, inner_heads) // min(heads, inner_heads)
    tile_pass = plan.of_keys if by_key else plan.of_queries
    dtype = outer.tiles[0].dtype
    # The inner side is loaded again for every tile, and should stay in the L2 cache.
    read = 2 * inner_length * width * dtype.itemsize * (group if by_key else 1)
    together = blocks.heads_together(batch * heads, 1 if by_key else group, read)
    tiles = length // tile_pass.tile[by_key]
    items = blocks.Items(batch, heads, tiles, together, tuning.programs, last_first=not by_key)
    call = Call(plan, tile_pass, tuning, items, by_key, group, width, dtype, bools, bool(interpret))
    made = outer.tiles if by_key else outer.tiles[:1]
    operands = outer.tiles + inner.tiles

    return blocks.make_kernel(
        "attend_hopper_d_key" if by_key else "attend_hopper_d_query",
        call,
        (Refs, Shared),
        compute_gradients,
        _load,
        out_type=(tuple(output_like(array.shape, array.dtype, operands) for array in made),),
        scratch=_scratch(call, outer, inner),
        interpret=interpret,
    )(outer, inner, visits, items.schedule(tile_pass.visited, group if by_key else 1))[0]


def _scratch(call: Call, outer: Sides, inner: Sides) -> dict[str, Any]:
    stages, buffers, groups = call.tuning.stages, call.tuning.buffers, call.groups

    def room(side: Sides, *shape: int) -> Sides:
        def of_row(array: Any) -> Any:
            return plgpu.SMEM(shape, array.dtype)

        return Sides(
            tuple(blocks.tiles_in_smem((*shape, call.width), call.dtype) for _ in side.tiles),
            *(tuple(map(of_row, arrays)) for arrays in side[1:]),
        )

    of_outer, of_inner = (len(jax.tree.leaves(side)) for side in (outer, inner))
    return {
        "outer": room(outer, buffers, groups, blocks.ROWS),
        "inner": room(inner, stages, call.inner_size),
        "outer_ready": plgpu.Barrier(num_arrivals=groups * of_outer, num_barriers=buffers),
        "outer_free": plgpu.Barrier(num_arrivals=groups, num_barriers=buffers),
        "inner_ready": plgpu.Barrier(num_arrivals=of_inner, num_barriers=stages),
        "inner_free": plgpu.Barrier(num_arrivals=groups, num_barriers=stages),
    }


def _copy(
    source: Sides,
    target: Sides,
    item: blocks.Item,
    *,
    head: Array,
    at: Any,
    to: tuple,
    ready: Any,
) -> None:
    """Loads the entries `at` of a head, from all arrays of a side."""
    sources = (
        *(array.at[item.batch, at, head] for array in source.tiles),
        *(array.at[item.batch, head, at] for array in source.rows),
        *(array.at[blocks.batch_index(array, item.batch), at] for array in source.mask),
    )
    targets = (*target.tiles, *target.rows, *target.mask)
    for each, room in zip(sources, targets, strict=True):
        plgpu.copy_gmem_to_smem(each, room.at[to], ready)


def _load(call: Call, refs: Refs, shared: Shared) -> None:
    """The outer side of each item, and tiles of the inner one while there is room."""
    stages, buffers = call.tuning.stages, call.tuning.buffers

    def step_item(item: blocks.Item, done: Array) -> Array:
        order = blocks.order_of(call.tile_pass, refs.visits, item)
        buffer = lax.rem(item.turn, buffers)

        @pl.when(item.turn >= buffers)
        def _() -> None:
            plgpu.barrier_wait(shared.outer_free.at[buffer])

        for group in range(call.groups):
            rows = pl.ds(item.tile * call.outer_size + group * blocks.ROWS, blocks.ROWS)
            ready = shared.outer_ready.at[buffer]
            to = buffer, group
            _copy(refs.outer, shared.outer, item, head=item.head, at=rows, to=to, ready=ready)

        def of_tile(head: Array, masked: bool, number: Array, step: Array) -> Array:
            slot = lax.rem(step, stages)
            at = pl.ds(order.which(masked, number) * call.inner_size, call.inner_size)

            @pl.when(step >= stages)
            def _() -> None:
                plgpu.barrier_wait(shared.inner_free.at[slot])

            ready = shared.inner_ready.at[slot]
            _copy(refs.inner, shared.inner, item, head=head, at=at, to=(slot,), ready=ready)
            return step + 1

        def of_head(head: Array, step: Array) -> Array:
            full, partial = (functools.partial(of_tile, head, masked) for masked in (False, True))
            step = lax.fori_loop(0, order.full, full, step)
            return lax.fori_loop(order.full, order.every, partial, step)

        return call.for_heads(item, of_head, done)

    done = call.items.fold(step_item, refs.schedule)
    blocks.drain(done - stages, done, stages, shared.inner_free)
    turns = call.items.turns(refs.schedule)
    blocks.drain(turns - buffers, turns - 1, buffers, shared.outer_free)
