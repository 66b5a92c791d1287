"""What a warpgroup does in the forward kernel for Hopper: products, softmax, and sums of values.

Shah et al. 2024. A warpgroup has 64 queries: it multiplies them with a tile of keys while it weighs
the values of the tile before it, and takes the softmax of the former while the latter are summed.
Full tiles are visited first, without a mask.

As in `pallas_kernels`, exponentials are of base 2, and so are log-sums and maxima.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from attn_research.attention.backends.hopper.blocks import (
    ROWS,
    Item,
    Items,
    MaskArrays,
    Order,
    Schedule,
    Side,
    Tuning,
    along,
    filled,
    order_of,
    who_may_look,
)
from attn_research.attention.backends.pallas_gpu.kernels import LOG2_E, NOWHERE
from attn_research.attention.backends.tiles.passes import Plan, Visits
from attn_research.types import Array, ArrayLike, Float


class Refs(NamedTuple):
    """Arrays in global memory."""

    query: Any
    key: Any
    value: Any
    visits: Visits
    mask: MaskArrays
    schedule: Schedule
    context: Any
    log_sum: Any


class Shared(NamedTuple):
    """What the warpgroups of a block share."""

    query: Any
    key: Any
    value: Any
    log_sum: Any
    mask: MaskArrays
    query_there: Any
    query_free: Any
    key_there: Any
    key_free: Any
    value_there: Any
    value_free: Any


@dataclasses.dataclass(frozen=True)
class Call:
    """All that is static."""

    plan: Plan
    tuning: Tuning
    items: Items
    group: int
    width: int
    dtype: Any
    bools: MaskArrays
    interpret: bool

    @property
    def tile(self) -> tuple[int, int]:
        return self.plan.forward.tile

    @property
    def groups(self) -> int:
        return self.tile[0] // ROWS


class Carry(NamedTuple):
    """What a warpgroup holds of its queries: the shares are of the tile not weighed in yet."""

    seen: Float[Array, "rows Hv"]
    highest: Float[Array, "rows"]
    total: Float[Array, "rows"]
    shares: Float[Array, "rows tile_k"]


def weigh(call: Call, refs: Refs, shared: Shared, me: Array) -> None:
    """The context of the queries of a warpgroup, of each item."""
    call.items.fold(functools.partial(_of_item, call, refs, shared, me), refs.schedule)
    plgpu.wait_smem_to_gmem(0)


def _of_item(call: Call, refs: Refs, shared: Shared, me: Array, item: Item, done: Array) -> Array:
    order = order_of(call.plan.forward, refs.visits, item)
    buffer = lax.rem(item.turn, call.tuning.buffers)
    plgpu.barrier_wait(shared.query_there.at[buffer])
    worker = _Worker(call, shared, me, item, buffer, order, done)
    carry = worker.empty()

    def visit(step: Callable, masked: bool, start: ArrayLike, stop: Array, carry: Carry) -> Carry:
        if (call.plan.forward.partial if masked else call.plan.forward.full) is None:
            return carry
        return lax.fori_loop(start, stop, functools.partial(step, masked), carry)

    first_full = jnp.minimum(order.full, 1)
    carry = visit(worker.begin, False, 0, first_full, carry)
    carry = visit(worker.begin, True, first_full, jnp.minimum(order.every, 1), carry)

    # The context of the item before has had time to leave: its room is for queries again.
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
class _Worker:
    """A warpgroup at an item, of which `order` says what to visit; `done` tiles came before."""

    call: Call
    shared: Shared
    me: Array
    item: Item
    buffer: Array
    order: Order
    done: Array

    def empty(self) -> Carry:
        shares = filled(0.0, ROWS, self.call.tile[1], dtype=self.call.dtype)
        highest = filled(float(jnp.finfo(jnp.float32).min), ROWS)
        return Carry(filled(0.0, ROWS, self.call.width), highest, filled(0.0, ROWS), shares)

    def begin(self, masked: bool, number: Array, carry: Carry) -> Carry:
        """The shares of the first tile."""
        slot = self._slot(number)
        plgpu.barrier_wait(self.shared.key_there.at[slot])

        def products(scores: Any) -> Array:
            self._score(scores, slot)
            return self._scored(masked, number, scores, wait=0)

        scores = pl.run_scoped(products, self._accumulator(self.call.tile[1]))
        highest, total, shares, _ = self._share(scores, carry)
        return Carry(carry.seen, highest, total, shares.astype(self.call.dtype))

    def step(self, masked: bool, number: Array, carry: Carry) -> Carry:
        """The shares of a tile, while those of the one before are weighed in."""
        slot, before = self._slot(number), self._slot(number - 1)
        plgpu.barrier_wait(self.shared.key_there.at[slot])

        def products(scores: Any, seen: Any) -> Carry:
            self._begin_sum(seen, carry)
            self._score(scores, slot)
            plgpu.barrier_wait(self.shared.value_there.at[before])
            self._add(seen, carry, before)
            scored = self._scored(masked, number, scores, wait=1)
            of_tile = lax.optimization_barrier(self._share(scored, carry))
            # Rounded before the sum is there, the shares would overwrite those it is still made of,
            # and ptxas would let one product wait for the other.
            summed, of_tile = lax.optimization_barrier((self._sum(seen, carry, before), of_tile))
            highest, total, shares, shrink = of_tile
            seen = summed * along(shrink, summed.shape)
            return Carry(seen, highest, total, shares.astype(self.call.dtype))

        return self._with_sum(products, self._accumulator(self.call.tile[1]))

    def finish(self, carry: Carry) -> Carry:
        """The last tile weighed in."""
        slot = self._slot(self.order.every - 1)
        plgpu.barrier_wait(self.shared.value_there.at[slot])

        def products(seen: Any) -> Array:
            self._begin_sum(seen, carry)
            self._add(seen, carry, slot)
            return self._sum(seen, carry, slot)

        return carry._replace(seen=self._with_sum(products))

    def write(self, refs: Refs, carry: Carry) -> None:
        """The context, from where the queries were, and the log-sum-exp."""
        sees = carry.total > 0
        total = jnp.where(sees, carry.total, 1.0)
        context = carry.seen * along(1 / total, carry.seen.shape)
        target = self.shared.query.at[self.buffer, self.me]
        target[...] = context.astype(self.call.dtype)
        log_sum = self.shared.log_sum.at[self.me]
        log_sum[...] = jnp.where(sees, carry.highest + jnp.log2(total), NOWHERE)
        plgpu.commit_smem()
        batch, head, tile, _ = self.item
        rows = pl.ds(tile * self.call.tile[0] + self.me * ROWS, ROWS)
        plgpu.copy_smem_to_gmem(target, refs.context.at[batch, rows, head])
        plgpu.copy_smem_to_gmem(log_sum, refs.log_sum.at[batch, head, rows])

    def _slot(self, number: Array) -> Array:
        return lax.rem(self.done + number, self.call.tuning.stages)

    def _accumulator(self, columns: int) -> Any:
        return plgpu.ACC((ROWS, columns), jnp.float32)

    def _score(self, scores: Any, slot: Array) -> None:
        keys = self.shared.key.at[slot].transpose((1, 0))
        plgpu.wgmma(scores, self.shared.query.at[self.buffer, self.me], keys)

    def _scored(self, masked: bool, number: Array, scores: Any, wait: int) -> Array:
        # Nothing is to read them before they were waited for.
        scored = lax.optimization_barrier(plgpu.wgmma_accumulator_load(scores, wait_n=wait))
        slot = self._slot(number)
        if masked:
            scored = jnp.where(self._allowed(number, slot), scored, -jnp.inf)
            if self.shared.mask.keys:
                # What the mask reads of keys is replaced with them: it was to be read before.
                plgpu.commit_smem()
        plgpu.barrier_arrive(self.shared.key_free.at[slot])
        return scored

    # Interpreted, a product of what is in registers is not known, nor a sum that begins at one.
    def _with_sum(self, products: Callable, *more: Any) -> Any:
        if self.call.interpret:
            products = functools.partial(_last_none, products)
            return pl.run_scoped(products, *more) if more else products()
        return pl.run_scoped(products, *more, self._accumulator(self.call.width))

    def _begin_sum(self, seen: Any, carry: Carry) -> None:
        if not self.call.interpret:
            seen[...] = carry.seen

    def _add(self, seen: Any, carry: Carry, slot: Array) -> None:
        if not self.call.interpret:
            plgpu.wgmma(seen, carry.shares, self.shared.value.at[slot])

    def _sum(self, seen: Any, carry: Carry, slot: Array) -> Array:
        if self.call.interpret:
            values = self.shared.value.at[slot][...]
            summed = carry.seen + jnp.dot(carry.shares, values, preferred_element_type=jnp.float32)
            plgpu.commit_smem()
        else:
            summed = lax.optimization_barrier(plgpu.wgmma_accumulator_load(seen, wait_n=0))
        plgpu.barrier_arrive(self.shared.value_free.at[slot])
        return summed

    def _share(self, scores: Array, carry: Carry) -> tuple[Array, Array, Array, Array]:
        """The highest score, the total, the shares of the tile, and what those before shrink by."""
        factor = self.call.plan.scale * LOG2_E
        # The highest is finite, so that nothing here is NaN, whatever is masked.
        highest = jnp.maximum(carry.highest, scores.max(axis=1) * factor)
        shares = jnp.exp2(scores * factor - along(highest, scores.shape))
        shrink = jnp.exp2(carry.highest - highest)
        return highest, carry.total * shrink + shares.sum(axis=1), shares, shrink

    def _allowed(self, number: Array, slot: Array) -> Array:
        (tile_q, tile_k), mask = self.call.tile, self.shared.mask
        queries = Side(
            [ref.at[self.buffer, self.me] for ref in mask.queries],
            self.call.bools.queries,
            self.item.tile * tile_q + self.me * ROWS,
        )
        keys = Side(
            [ref.at[slot] for ref in mask.keys],
            self.call.bools.keys,
            self.order.which(True, number) * tile_k,
        )
        return who_may_look(self.call.plan, queries, keys, (ROWS, tile_k), of_queries=0)


def _last_none(products: Callable, *refs: Any) -> Any:
    return products(*refs, None)
