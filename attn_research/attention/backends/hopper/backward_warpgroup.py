"""The computation of a warpgroup in the gradient kernels for Hopper; see `backward`."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from attn_research.attention.backends.hopper import blocks, masks
from attn_research.attention.backends.tiles.numerics import LOG2_E
from attn_research.attention.backends.tiles.passes import Pass, Plan, Visits
from attn_research.types import Array, Float


class Sides(NamedTuple):
    """The inputs of queries, or of keys: operands, a number for each row, arrays of the mask."""

    tiles: tuple  # queries and gradients of contexts, or keys and values
    rows: tuple  # log-sums and deltas of queries
    mask: tuple


class Refs(NamedTuple):
    """Arrays in global memory."""

    outer: Sides
    inner: Sides
    visits: Visits
    schedule: blocks.Schedule
    gradients: tuple


class Shared(NamedTuple):
    """Arrays in shared memory, and the barriers of a block."""

    outer: Sides
    inner: Sides
    outer_ready: Any
    outer_free: Any
    inner_ready: Any
    inner_free: Any


@dataclasses.dataclass(frozen=True)
class Call:
    """All that is static."""

    plan: Plan
    tile_pass: Pass
    tuning: blocks.Tuning
    items: blocks.Items
    by_key: bool  # whether keys are the outer side
    group: int
    width: int
    dtype: Any
    bools: masks.MaskArrays
    interpret: bool

    @property
    def outer_size(self) -> int:
        return self.tile_pass.tile[self.by_key]

    @property
    def inner_size(self) -> int:
        return self.tile_pass.tile[not self.by_key]

    @property
    def groups(self) -> int:
        return self.outer_size // blocks.ROWS

    def for_heads(self, item: blocks.Item, step: Callable[[Array, Any], Any], carry: Any) -> Any:
        """Folds `step(head, carry)` over the heads of the inner side of an item."""
        if not self.by_key:
            return step(lax.div(item.head, self.group), carry)
        first = item.head * self.group
        if self.group == 1:
            return step(first, carry)
        return lax.fori_loop(first, first + self.group, step, carry)


def compute_gradients(call: Call, refs: Refs, shared: Shared, warpgroup: Array) -> None:
    """Computes the gradients of the outer rows of a warpgroup, for each item."""
    blocks.fold_items(call, refs, shared, warpgroup, _compute_item)


def _compute_item(
    block: tuple[Call, Refs, Shared], warpgroup: Array, item: blocks.Item, done: Array
) -> Array:
    call, refs, shared = block
    order = blocks.order_of(call.tile_pass, refs.visits, item)
    buffer = lax.rem(item.turn, call.tuning.buffers)
    plgpu.barrier_wait(shared.outer_ready.at[buffer])
    worker = _Worker(call, shared, warpgroup, item, buffer, order)

    # The gradients of the item before are stored by now, or soon: its memory is free again.
    @pl.when(item.turn > 0)
    def _() -> None:
        worker.free(lax.rem(item.turn - 1, call.tuning.buffers))

    def of_head(head: Array, carry: tuple) -> tuple:
        for masked, order_of_kind, start, stop in (
            (False, call.tile_pass.full, 0, order.full),
            (True, call.tile_pass.partial, order.full, order.every),
        ):
            if order_of_kind is not None:
                carry = lax.fori_loop(start, stop, functools.partial(worker.step, masked), carry)
        return carry

    empty = tuple(blocks.filled(0.0, blocks.ROWS, call.width) for _ in refs.gradients)
    done, *sums = call.for_heads(item, of_head, (done, *empty))
    worker.write(refs, sums)
    return done


@dataclasses.dataclass(frozen=True, eq=False)
class _Worker(blocks.Worker):
    """A warpgroup and its item, whose tiles `order` lists."""

    def step(self, masked: bool, number: Array, carry: tuple) -> tuple:
        """The sums with a tile of the inner side added; `done` tiles came before."""
        done, *sums = carry
        slot = lax.rem(done, self.call.tuning.stages)
        plgpu.barrier_wait(self.shared.inner_ready.at[slot])
        size = self.call.inner_size
        accumulators = (plgpu.ACC((blocks.ROWS, size), jnp.float32) for _ in range(2))
        products = functools.partial(self._tile_gradients, masked, number, slot)
        factors = pl.run_scoped(products, *accumulators)
        sums = self._add(slot, sums, factors[: len(sums)])
        if masked or self.call.by_key or self.call.interpret:
            # Rows of the inner side are replaced with its tile, and must have been read by then.
            plgpu.commit_smem()
        plgpu.barrier_arrive(self.shared.inner_free.at[slot])
        return done + 1, *sums

    def write(self, refs: Refs, sums: list) -> None:
        """Stores the gradients, from the shared memory of the outer side."""
        item, call = self.item, self.call
        rows = pl.ds(item.tile * call.outer_size + self.warpgroup * blocks.ROWS, blocks.ROWS)
        for number, total in enumerate(sums):
            total = total * call.plan.scale if number == 0 else total
            room = self.shared.outer.tiles[number].at[self.buffer, self.warpgroup]
            room[...] = total.astype(call.dtype)
        plgpu.commit_smem()
        for number, gradient in enumerate(refs.gradients):
            room = self.shared.outer.tiles[number].at[self.buffer, self.warpgroup]
            plgpu.copy_smem_to_gmem(room, gradient.at[item.batch, rows, item.head])

    def free(self, buffer: Array) -> None:
        """Frees the memory of an outer side, once the gradients in it are stored."""
        plgpu.wait_smem_to_gmem(0, wait_read_only=True)
        plgpu.barrier_arrive(self.shared.outer_free.at[buffer])

    def _tile_gradients(
        self, masked: bool, number: Array, slot: Array, scores: Any, d_probs: Any
    ) -> tuple[Float[Array, "rows inner"], Float[Array, "rows inner"]]:
        """The gradients of scores, and the weights, both rounded."""
        inner, outer = self.shared.inner.tiles, self.shared.outer.tiles
        for product, mine, other in zip((scores, d_probs), outer, inner, strict=True):
            other = other.at[slot].transpose((1, 0))
            plgpu.wgmma(product, mine.at[self.buffer, self.warpgroup], other)
        # The barrier keeps every read of a product after the wait for it.
        loaded = lax.optimization_barrier(plgpu.wgmma_accumulator_load(scores, wait_n=1))
        if masked:
            loaded = jnp.where(self._allowed(number, slot), loaded, -jnp.inf)
        factor = self.call.plan.scale * LOG2_E
        probs = jnp.exp2(loaded * factor - self._row(0, slot))
        probs = lax.optimization_barrier(probs)
        summed = plgpu.wgmma_accumulator_load(d_probs, wait_n=0)
        summed, probs = lax.optimization_barrier((summed, probs))
        d_scores = probs * (summed - self._row(1, slot))
        if masked:
            # Masked values may be so large that the gradients of their weights overflow.
            d_scores = jnp.where(probs > 0, d_scores, 0.0)
        return d_scores.astype(self.call.dtype), probs.astype(self.call.dtype)

    def _add(self, slot: Array, sums: list, factors: tuple) -> list:
        """The sums and the products of the factors with the inner side."""
        others = self.shared.inner.tiles[: len(sums)]
        if self.call.interpret:
            return [
                total + jnp.dot(factor, ref.at[slot][...], preferred_element_type=jnp.float32)
                for total, factor, ref in zip(sums, factors, others, strict=True)
            ]

        def products(*totals: Any) -> list:
            for total, before in zip(totals, sums, strict=True):
                total[...] = before
            for total, factor, ref in zip(totals, factors, others, strict=True):
                plgpu.wgmma(total, factor, ref.at[slot])
            loaded = [plgpu.wgmma_accumulator_load(total, wait_n=0) for total in totals]
            return lax.optimization_barrier(loaded)

        room = (plgpu.ACC((blocks.ROWS, self.call.width), jnp.float32) for _ in sums)
        return pl.run_scoped(products, *room)

    def _row(self, number: int, slot: Array) -> Float[Array, "rows inner"]:
        """Log-sums or deltas, broadcast along the tile."""
        by_key, shared = self.call.by_key, self.shared
        ref = shared.inner.rows[number] if by_key else shared.outer.rows[number]
        at = (slot,) if by_key else (self.buffer, self.warpgroup)
        layout = plgpu.Layout.WGMMA.reduce(1 - by_key)
        loaded = plgpu.load(  # ty: ignore[missing-argument]
            ref.at[at], layout=layout, optimized=False
        )
        return blocks.broadcast_rows(loaded, (blocks.ROWS, self.call.inner_size), int(by_key))

    def _allowed(self, number: Array, slot: Array) -> Array:
        call, shared = self.call, self.shared
        outer = [ref.at[self.buffer, self.warpgroup] for ref in shared.outer.mask]
        inner = [ref.at[slot] for ref in shared.inner.mask]
        firsts = (
            self.item.tile * call.outer_size + self.warpgroup * blocks.ROWS,
            self.order.which(True, number) * call.inner_size,
        )
        arrays = outer, inner
        queries, keys = call.by_key, not call.by_key
        return masks.allowed_in_tile(
            call.plan,
            masks.MaskInputs(arrays[queries], call.bools.queries, firsts[queries]),
            masks.MaskInputs(arrays[keys], call.bools.keys, firsts[keys]),
            (blocks.ROWS, call.inner_size),
            query_axis=int(call.by_key),
        )
