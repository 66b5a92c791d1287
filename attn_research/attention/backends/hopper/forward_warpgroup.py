"""The computation of a warpgroup in the forward kernel for Hopper: products and online softmax.

Shah et al. 2024. A warpgroup has 64 queries: it multiplies them with a tile of keys while it
multiplies the weights and values of the tile before, and takes the softmax of the former while the
latter products run. Full tiles are visited first, without a mask.

Exponentials, log-sums and maxima are of base 2; see `numerics`.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from attn_research.attention.backends.hopper import blocks, masks
from attn_research.attention.backends.tiles.numerics import EMPTY_LOG_SUM, LOG2_E
from attn_research.attention.backends.tiles.passes import Plan, Visits
from attn_research.types import Array, ArrayLike, Float


class Refs(NamedTuple):
    """Arrays in global memory."""

    query: Any
    key: Any
    value: Any
    visits: Visits
    mask: masks.MaskArrays
    schedule: blocks.Schedule
    context: Any
    log_sum: Any


class Shared(NamedTuple):
    """Arrays in shared memory, and the barriers of a block."""

    query: Any
    key: Any
    value: Any
    log_sum: Any
    mask: masks.MaskArrays
    query_ready: Any
    query_free: Any
    key_ready: Any
    key_free: Any
    value_ready: Any
    value_free: Any


@dataclasses.dataclass(frozen=True)
class Call:
    """All that is static."""

    plan: Plan
    tuning: blocks.Tuning
    items: blocks.Items
    group: int
    width: int
    dtype: Any
    bools: masks.MaskArrays
    interpret: bool

    @property
    def tile(self) -> tuple[int, int]:
        return self.plan.forward.tile

    @property
    def groups(self) -> int:
        return self.tile[0] // blocks.ROWS


class Carry(NamedTuple):
    """The registers of a warpgroup; the probabilities are of the tile not summed up yet."""

    summed: Float[Array, "rows Hv"]
    row_max: Float[Array, "rows"]
    row_sum: Float[Array, "rows"]
    probs: Float[Array, "rows tile_k"]


def compute_context(call: Call, refs: Refs, shared: Shared, warpgroup: Array) -> None:
    """Computes the context of the queries of a warpgroup, for each item."""
    blocks.fold_items(call, refs, shared, warpgroup, _compute_item)


def _compute_item(
    block: tuple[Call, Refs, Shared], warpgroup: Array, item: blocks.Item, done: Array
) -> Array:
    call, refs, shared = block
    order = blocks.order_of(call.plan.forward, refs.visits, item)
    buffer = lax.rem(item.turn, call.tuning.buffers)
    plgpu.barrier_wait(shared.query_ready.at[buffer])
    worker = _Worker(call, shared, warpgroup, item, buffer, order, done)
    carry = worker.empty()

    def visit(step: Callable, masked: bool, start: ArrayLike, stop: Array, carry: Carry) -> Carry:
        if (call.plan.forward.partial if masked else call.plan.forward.full) is None:
            return carry
        return lax.fori_loop(start, stop, functools.partial(step, masked), carry)

    first_full = jnp.minimum(order.full, 1)
    carry = visit(worker.begin, False, 0, first_full, carry)
    carry = visit(worker.begin, True, first_full, jnp.minimum(order.every, 1), carry)

    # The context of the item before has been stored by now: its memory is for queries again.
    @pl.when(item.turn > 0)
    def _() -> None:
        plgpu.wait_smem_to_gmem(0, wait_read_only=True)
        plgpu.barrier_arrive(shared.query_free.at[lax.rem(item.turn - 1, call.tuning.buffers)])

    carry = visit(worker.step, False, 1, order.full, carry)
    carry = visit(worker.step, True, jnp.maximum(order.full, 1), order.every, carry)
    last = jnp.minimum(order.every, 1)
    carry = lax.fori_loop(0, last, lambda _, carry: worker.finish(carry), carry)
    worker.write(refs, carry)
    return done + order.every


@dataclasses.dataclass(frozen=True, eq=False)
class _Worker(blocks.Worker):
    """A warpgroup and its item, whose tiles `order` lists; `done` tiles came before."""

    done: Array

    def empty(self) -> Carry:
        probs = blocks.filled(0.0, blocks.ROWS, self.call.tile[1], dtype=self.call.dtype)
        row_max = blocks.filled(float(jnp.finfo(jnp.float32).min), blocks.ROWS)
        return Carry(
            blocks.filled(0.0, blocks.ROWS, self.call.width),
            row_max,
            blocks.filled(0.0, blocks.ROWS),
            probs,
        )

    def begin(self, masked: bool, number: Array, carry: Carry) -> Carry:
        """The carry with the probabilities of the first tile."""
        slot = self._slot(number)
        plgpu.barrier_wait(self.shared.key_ready.at[slot])

        def products(scores: Any) -> Array:
            self._score(scores, slot)
            return self._load_scores(masked, number, scores, wait=0)

        scores = pl.run_scoped(products, self._accumulator(self.call.tile[1]))
        row_max, row_sum, probs, _ = self._softmax(scores, carry)
        return Carry(carry.summed, row_max, row_sum, probs.astype(self.call.dtype))

    def step(self, masked: bool, number: Array, carry: Carry) -> Carry:
        """The carry with those of a tile, while those of the tile before are summed up."""
        slot, before = self._slot(number), self._slot(number - 1)
        plgpu.barrier_wait(self.shared.key_ready.at[slot])

        def products(scores: Any, summed: Any) -> Carry:
            self._begin_sum(summed, carry)
            self._score(scores, slot)
            plgpu.barrier_wait(self.shared.value_ready.at[before])
            self._add(summed, carry, before)
            loaded = self._load_scores(masked, number, scores, wait=1)
            of_tile = lax.optimization_barrier(self._softmax(loaded, carry))
            # Rounded before the sum is ready, these probabilities would overwrite those that it is
            # still made of, and ptxas would let one product wait for the other.
            summed, of_tile = lax.optimization_barrier((self._sum(summed, carry, before), of_tile))
            row_max, row_sum, probs, rescale = of_tile
            summed = summed * blocks.broadcast_rows(rescale, summed.shape)
            return Carry(summed, row_max, row_sum, probs.astype(self.call.dtype))

        return self._with_sum(products, self._accumulator(self.call.tile[1]))

    def finish(self, carry: Carry) -> Carry:
        """The carry with the last tile summed up."""
        slot = self._slot(self.order.every - 1)
        plgpu.barrier_wait(self.shared.value_ready.at[slot])

        def products(summed: Any) -> Array:
            self._begin_sum(summed, carry)
            self._add(summed, carry, slot)
            return self._sum(summed, carry, slot)

        return carry._replace(summed=self._with_sum(products))

    def write(self, refs: Refs, carry: Carry) -> None:
        """Stores the context, from the shared memory of the queries, and the log-sum-exp."""
        attends = carry.row_sum > 0
        row_sum = jnp.where(attends, carry.row_sum, 1.0)
        context = carry.summed * blocks.broadcast_rows(1 / row_sum, carry.summed.shape)
        target = self.shared.query.at[self.buffer, self.warpgroup]
        target[...] = context.astype(self.call.dtype)
        log_sum = self.shared.log_sum.at[self.warpgroup]
        log_sum[...] = jnp.where(attends, carry.row_max + jnp.log2(row_sum), EMPTY_LOG_SUM)
        plgpu.commit_smem()
        batch, head, tile, _ = self.item
        rows = pl.ds(tile * self.call.tile[0] + self.warpgroup * blocks.ROWS, blocks.ROWS)
        plgpu.copy_smem_to_gmem(target, refs.context.at[batch, rows, head])
        plgpu.copy_smem_to_gmem(log_sum, refs.log_sum.at[batch, head, rows])

    def _slot(self, number: Array) -> Array:
        return lax.rem(self.done + number, self.call.tuning.stages)

    def _accumulator(self, columns: int) -> Any:
        return plgpu.ACC((blocks.ROWS, columns), jnp.float32)

    def _score(self, scores: Any, slot: Array) -> None:
        keys = self.shared.key.at[slot].transpose((1, 0))
        plgpu.wgmma(scores, self.shared.query.at[self.buffer, self.warpgroup], keys)

    def _load_scores(self, masked: bool, number: Array, scores: Any, wait: int) -> Array:
        # The barrier keeps every read after the wait.
        loaded = lax.optimization_barrier(plgpu.wgmma_accumulator_load(scores, wait_n=wait))
        slot = self._slot(number)
        if masked:
            loaded = jnp.where(self._allowed(number, slot), loaded, -jnp.inf)
            if self.shared.mask.keys:
                # The arrays of the mask are replaced with the keys: they must be read by then.
                plgpu.commit_smem()
        plgpu.barrier_arrive(self.shared.key_free.at[slot])
        return loaded

    # The interpreter knows no product of registers, nor an accumulator that begins at a value.
    def _with_sum(self, products: Callable, *more: Any) -> Any:
        if self.call.interpret:
            products = functools.partial(_last_none, products)
            return pl.run_scoped(products, *more) if more else products()
        return pl.run_scoped(products, *more, self._accumulator(self.call.width))

    def _begin_sum(self, summed: Any, carry: Carry) -> None:
        if not self.call.interpret:
            summed[...] = carry.summed

    def _add(self, summed: Any, carry: Carry, slot: Array) -> None:
        if not self.call.interpret:
            plgpu.wgmma(summed, carry.probs, self.shared.value.at[slot])

    def _sum(self, summed: Any, carry: Carry, slot: Array) -> Array:
        if self.call.interpret:
            values = self.shared.value.at[slot][...]
            summed = carry.summed + jnp.dot(carry.probs, values, preferred_element_type=jnp.float32)
            plgpu.commit_smem()
        else:
            summed = lax.optimization_barrier(plgpu.wgmma_accumulator_load(summed, wait_n=0))
        plgpu.barrier_arrive(self.shared.value_free.at[slot])
        return summed

    def _softmax(self, scores: Array, carry: Carry) -> tuple[Array, Array, Array, Array]:
        """The row maximum and sum, the probabilities of the tile, the factor of those before."""
        factor = self.call.plan.scale * LOG2_E
        # The maximum is finite, so that nothing here is NaN, whatever is masked.
        row_max = jnp.maximum(carry.row_max, scores.max(axis=1) * factor)
        probs = jnp.exp2(scores * factor - blocks.broadcast_rows(row_max, scores.shape))
        rescale = jnp.exp2(carry.row_max - row_max)
        return row_max, carry.row_sum * rescale + probs.sum(axis=1), probs, rescale

    def _allowed(self, number: Array, slot: Array) -> Array:
        (tile_q, tile_k), mask = self.call.tile, self.shared.mask
        queries = masks.MaskInputs(
            [ref.at[self.buffer, self.warpgroup] for ref in mask.queries],
            self.call.bools.queries,
            self.item.tile * tile_q + self.warpgroup * blocks.ROWS,
        )
        keys = masks.MaskInputs(
            [ref.at[slot] for ref in mask.keys],
            self.call.bools.keys,
            self.order.which(True, number) * tile_k,
        )
        return masks.allowed_in_tile(
            self.call.plan, queries, keys, (blocks.ROWS, tile_k), query_axis=0
        )


def _last_none(products: Callable, *refs: Any) -> Any:
    return products(*refs, None)
