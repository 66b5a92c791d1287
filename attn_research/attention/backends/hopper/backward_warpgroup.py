"""What a warpgroup does in the gradient kernels for Hopper; see `hopper_backward`."""

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
from attn_research.attention.backends.pallas_gpu.kernels import LOG2_E
from attn_research.attention.backends.tiles.passes import Pass, Plan, Visits
from attn_research.types import Array, Float


class Sides(NamedTuple):
    """All that is read of queries, or of keys: operands, numbers of a row, what a mask reads."""

    tiles: tuple  # queries and gradients of contexts, or keys and values
    rows: tuple  # log-sums and means of queries
    mask: tuple


class Refs(NamedTuple):
    """Arrays in global memory."""

    outer: Sides
    inner: Sides
    visits: Visits
    schedule: Schedule
    gradients: tuple


class Shared(NamedTuple):
    """What the warpgroups of a block share."""

    outer: Sides
    inner: Sides
    outer_there: Any
    outer_free: Any
    inner_there: Any
    inner_free: Any


@dataclasses.dataclass(frozen=True)
class Call:
    """All that is static."""

    plan: Plan
    lie: Pass
    tuning: Tuning
    items: Items
    by_key: bool  # whether keys are the outer side
    group: int
    width: int
    dtype: Any
    bools: MaskArrays
    interpret: bool

    @property
    def outer_size(self) -> int:
        return self.lie.tile[self.by_key]

    @property
    def inner_size(self) -> int:
        return self.lie.tile[not self.by_key]

    @property
    def groups(self) -> int:
        return self.outer_size // ROWS

    def for_heads(self, item: Item, step: Callable[[Array, Any], Any], carry: Any) -> Any:
        """Folds `step(head, carry)` over the heads of the inner side of an item."""
        if not self.by_key:
            return step(lax.div(item.head, self.group), carry)
        first = item.head * self.group
        if self.group == 1:
            return step(first, carry)
        return lax.fori_loop(first, first + self.group, step, carry)


def differentiate(call: Call, refs: Refs, shared: Shared, me: Array) -> None:
    """The gradients of the outer rows of a warpgroup, of each item."""
    call.items.fold(functools.partial(_of_item, call, refs, shared, me), refs.schedule)
    plgpu.wait_smem_to_gmem(0)


def _of_item(call: Call, refs: Refs, shared: Shared, me: Array, item: Item, done: Array) -> Array:
    order = order_of(call.lie, refs.visits, item)
    buffer = lax.rem(item.turn, call.tuning.buffers)
    plgpu.barrier_wait(shared.outer_there.at[buffer])
    worker = _Worker(call, shared, me, item, buffer, order)

    # The gradients of the item before have left by now, or soon: its room is for others again.
    @pl.when(item.turn > 0)
    def _() -> None:
        worker.free(lax.rem(item.turn - 1, call.tuning.buffers))

    def of_head(head: Array, carry: tuple) -> tuple:
        for masked, lie, start, stop in (
            (False, call.lie.full, 0, order.full),
            (True, call.lie.partial, order.full, order.every),
        ):
            if lie is not None:
                carry = lax.fori_loop(start, stop, functools.partial(worker.step, masked), carry)
        return carry

    empty = tuple(filled(0.0, ROWS, call.width) for _ in refs.gradients)
    done, *sums = call.for_heads(item, of_head, (done, *empty))
    worker.write(refs, sums)
    return done


@dataclasses.dataclass(frozen=True, eq=False)
class _Worker:
    """A warpgroup at an item, of which `order` says what to visit."""

    call: Call
    shared: Shared
    me: Array
    item: Item
    buffer: Array
    order: Order

    def step(self, masked: bool, number: Array, carry: tuple) -> tuple:
        """The sums with a tile of the inner side, before which came `done`."""
        done, *sums = carry
        slot = lax.rem(done, self.call.tuning.stages)
        plgpu.barrier_wait(self.shared.inner_there.at[slot])
        size = self.call.inner_size
        accumulators = (plgpu.ACC((ROWS, size), jnp.float32) for _ in range(2))
        weigh = functools.partial(self._weigh, masked, number, slot)
        factors = pl.run_scoped(weigh, *accumulators)
        sums = self._add(slot, sums, factors[: len(sums)])
        if masked or self.call.by_key or self.call.interpret:
            # Numbers of the inner side are replaced with it: they were to be read before.
            plgpu.commit_smem()
        plgpu.barrier_arrive(self.shared.inner_free.at[slot])
        return done + 1, *sums

    def write(self, refs: Refs, sums: list) -> None:
        """The gradients, from where the outer side was."""
        item, call = self.item, self.call
        rows = pl.ds(item.tile * call.outer_size + self.me * ROWS, ROWS)
        for number, total in enumerate(sums):
            total = total * call.plan.scale if number == 0 else total
            room = self.shared.outer.tiles[number].at[self.buffer, self.me]
            room[...] = total.astype(call.dtype)
        plgpu.commit_smem()
        for number, gradient in enumerate(refs.gradients):
            room = self.shared.outer.tiles[number].at[self.buffer, self.me]
            plgpu.copy_smem_to_gmem(room, gradient.at[item.batch, rows, item.head])

    def free(self, buffer: Array) -> None:
        """Lets the outer side of another item come, once gradients have left from there."""
        plgpu.wait_smem_to_gmem(0, wait_read_only=True)
        plgpu.barrier_arrive(self.shared.outer_free.at[buffer])

    def _weigh(
        self, masked: bool, number: Array, slot: Array, scores: Any, d_shares: Any
    ) -> tuple[Float[Array, "rows inner"], Float[Array, "rows inner"]]:
        """The gradients of scores, and the weights, both rounded."""
        inner, outer = self.shared.inner.tiles, self.shared.outer.tiles
        for product, mine, other in zip((scores, d_shares), outer, inner, strict=True):
            other = other.at[slot].transpose((1, 0))
            plgpu.wgmma(product, mine.at[self.buffer, self.me], other)
        # Nothing is to read a product before it was waited for.
        scored = lax.optimization_barrier(plgpu.wgmma_accumulator_load(scores, wait_n=1))
        if masked:
            scored = jnp.where(self._allowed(number, slot), scored, -jnp.inf)
        factor = self.call.plan.scale * LOG2_E
        shares = jnp.exp2(scored * factor - self._row(0, slot))
        shares = lax.optimization_barrier(shares)
        summed = plgpu.wgmma_accumulator_load(d_shares, wait_n=0)
        summed, shares = lax.optimization_barrier((summed, shares))
        d_scores = shares * (summed - self._row(1, slot))
        if masked:
            # Masked values may be so large that the gradients of their weights overflow.
            d_scores = jnp.where(shares > 0, d_scores, 0.0)
        return d_scores.astype(self.call.dtype), shares.astype(self.call.dtype)

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

        room = (plgpu.ACC((ROWS, self.call.width), jnp.float32) for _ in sums)
        return pl.run_scoped(products, *room)

    def _row(self, number: int, slot: Array) -> Float[Array, "rows inner"]:
        """Log-sums or means, along the tile."""
        by_key, shared = self.call.by_key, self.shared
        ref = shared.inner.rows[number] if by_key else shared.outer.rows[number]
        at = (slot,) if by_key else (self.buffer, self.me)
        layout = plgpu.Layout.WGMMA.reduce(1 - by_key)
        loaded = plgpu.load(ref.at[at], layout=layout, optimized=False)
        return along(loaded, (ROWS, self.call.inner_size), int(by_key))

    def _allowed(self, number: Array, slot: Array) -> Array:
        call, shared = self.call, self.shared
        outer = [ref.at[self.buffer, self.me] for ref in shared.outer.mask]
        inner = [ref.at[slot] for ref in shared.inner.mask]
        firsts = (
            self.item.tile * call.outer_size + self.me * ROWS,
            self.order.which(True, number) * call.inner_size,
        )
        arrays = outer, inner
        queries, keys = call.by_key, not call.by_key
        return who_may_look(
            call.plan,
            Side(arrays[queries], call.bools.queries, firsts[queries]),
            Side(arrays[keys], call.bools.keys, firsts[keys]),
            (ROWS, call.inner_size),
            of_queries=int(call.by_key),
        )
