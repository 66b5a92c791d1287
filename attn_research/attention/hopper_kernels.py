"""The forward kernel for Hopper: warpgroups that take turns at products and at softmax.

Shah et al. 2024, over the tiles that a mask leaves. One warpgroup of a block loads; each of the
others has 64 queries, multiplies them with a tile of keys while it weighs those of the tile before
it, and lets the next one at the tensor cores. Full tiles are visited first, without a mask.

As in `pallas_kernels`, exponentials are of base 2, and so are log-sums and maxima.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from attn_research.attention.pallas_kernels import LOG2_E, NOWHERE
from attn_research.attention.pallas_tiles import Given, Pass, Plan, shaped
from attn_research.types import Array, Bool, Float, Int

ROWS = 64  # queries of a warpgroup, as many as a product of its has rows
L2_BYTES = 32 << 20  # of keys and values that blocks at work share


@dataclasses.dataclass(frozen=True)
class Tuning:
    """How a kernel is laid out on a device."""

    stages: int  # tiles of keys and values in shared memory at a time
    programs: int  # blocks, each of which takes items until none is left; one for each SM
    in_turn: bool = True  # whether warpgroups wait for each other before their products
    by_lane: bool = False  # the older way that Mosaic lowers


class Refs(NamedTuple):
    """Arrays in global memory."""

    query: Any
    key: Any
    value: Any
    tiles: Any
    spans: Any
    queries: tuple  # what a mask reads of queries, positions first unless they count from 0
    keys: tuple
    context: Any
    log_sum: Any


class Item(NamedTuple):
    """A tile of queries of a head."""

    batch: Array
    head: Array
    tile: Array


@dataclasses.dataclass(frozen=True)
class Layout:
    """The sizes of a call, and where its items are."""

    plan: Plan
    tuning: Tuning
    batch: int
    num_queries: int
    num_keys: int
    num_heads: int
    group: int
    width: int
    dtype: Any
    bools: tuple[tuple[bool, ...], tuple[bool, ...]]  # which arrays of queries, and of keys
    interpret: bool

    @property
    def tile(self) -> tuple[int, int]:
        return self.plan.forward.tile

    @property
    def groups(self) -> int:
        return self.tile[0] // ROWS

    @property
    def rows(self) -> int:
        return self.num_queries // self.tile[0]

    @property
    def items(self) -> int:
        return self.batch * self.num_heads * self.rows

    @property
    def programs(self) -> int:
        return min(self.tuning.programs, self.items)

    def item(self, number: Array) -> Item:
        """Last tiles first, for they have most to visit; of heads whose keys the L2 cache holds."""
        bytes_of_head = 2 * self.num_keys * self.width * self.dtype.itemsize
        pairs = self.batch * self.num_heads
        together = min(pairs, max(1, L2_BYTES // bytes_of_head) * self.group)
        section = lax.div(number, together * self.rows)
        within = lax.rem(number, together * self.rows)
        here = jnp.minimum(together, pairs - section * together)
        pair = section * together + lax.rem(within, here)
        batch, head = lax.div(pair, self.num_heads), lax.rem(pair, self.num_heads)
        return Item(batch, head, self.rows - 1 - lax.div(within, here))


class Carry(NamedTuple):
    """What a warpgroup holds of its queries: the shares are of the tile not weighed in yet."""

    seen: Float[Array, "rows Hv"]
    highest: Float[Array, "rows"]
    total: Float[Array, "rows"]
    shares: Float[Array, "rows tile_k"]


def attend_forward(
    plan: Plan, tuning: Tuning, interpret: Any, query: Array, key: Array, value: Array, given: Given
) -> tuple[Float[Array, "B T N H"], Float[Array, "B N T"]]:
    """The context, and the log-sum-exp of each query in base 2, as `pallas_kernels` has them."""
    batch, num_queries, num_heads, width = query.shape
    positions = ((), ()) if plan.counted else ((given.q_pos,), (given.k_pos,))
    sides = positions[0] + given.queries, positions[1] + given.keys
    bools = tuple(tuple(array.dtype == bool for array in side) for side in sides)
    sides = jax.tree.map(_in_words, sides)
    operands = query, key, value, *given.forward, *sides[0], *sides[1]
    layout = Layout(
        plan,
        tuning,
        batch,
        num_queries,
        key.shape[1],
        num_heads,
        num_heads // key.shape[2],
        width,
        query.dtype,
        bools,
        bool(interpret),
    )
    split = 5 + len(sides[0]), 5 + len(sides[0]) + len(sides[1])

    def body(*refs: Any, **scratch: Any) -> None:
        arrays = refs[5 : split[0]], refs[split[0] : split[1]]
        _kernel(layout, Refs(*refs[:5], *arrays, *refs[split[1] :]), **scratch)

    semantics = plgpu.LoweringSemantics.Lane if tuning.by_lane else None
    return plgpu.kernel(
        body,
        out_type=(
            shaped(query.shape, value.dtype, (query, key, value)),
            shaped((batch, num_heads, num_queries), jnp.float32, (query, key, value)),
        ),
        scratch_types=_scratch(layout, sides),
        compiler_params=plgpu.CompilerParams(
            approx_math=True, **({"lowering_semantics": semantics} if semantics else {})
        ),
        grid=(layout.programs,),
        grid_names=("program",),
        num_threads=layout.groups + 1,
        thread_name="warpgroup",
        kernel_name="attend_hopper",
        interpret=interpret,
    )(*operands)


def _in_words(array: Array) -> Array:
    """Booleans as numbers, for those are what copies are made of."""
    return array.astype(jnp.int32) if array.dtype == bool else array


def _scratch(layout: Layout, sides: tuple) -> dict[str, Any]:
    tile_k, stages = layout.tile[1], layout.tuning.stages
    swizzled = plgpu.TilingTransform((8, 64)), plgpu.SwizzleTransform(128)

    def tiles(*shape: int) -> Any:
        return plgpu.SMEM((*shape, layout.width), layout.dtype, transforms=swizzled)

    return {
        "query": tiles(layout.groups, ROWS),
        "key": tiles(stages, tile_k),
        "value": tiles(stages, tile_k),
        "context": tiles(layout.groups, ROWS),
        "log_sum": plgpu.SMEM((layout.groups, ROWS), jnp.float32),
        "of_queries": [plgpu.SMEM((layout.groups, ROWS), a.dtype) for a in sides[0]],
        "of_keys": [plgpu.SMEM((stages, tile_k), a.dtype) for a in sides[1]],
        "query_there": plgpu.Barrier(num_arrivals=layout.groups * (1 + len(sides[0]))),
        "query_free": plgpu.Barrier(num_arrivals=layout.groups),
        "key_there": plgpu.Barrier(num_arrivals=1 + len(sides[1]), num_barriers=stages),
        "key_free": plgpu.Barrier(num_arrivals=layout.groups, num_barriers=stages),
        "value_there": plgpu.Barrier(num_barriers=stages),
        "value_free": plgpu.Barrier(num_arrivals=layout.groups, num_barriers=stages),
        "turn": plgpu.Barrier(num_barriers=layout.groups),
    }


class Shared(NamedTuple):
    """What the warpgroups of a block share."""

    query: Any
    key: Any
    value: Any
    context: Any
    log_sum: Any
    of_queries: list
    of_keys: list
    query_there: Any
    query_free: Any
    key_there: Any
    key_free: Any
    value_there: Any
    value_free: Any
    turn: Any


def _kernel(layout: Layout, refs: Refs, **scratch: Any) -> None:
    shared = Shared(**scratch)
    warpgroup = lax.axis_index("warpgroup")

    @pl.when(warpgroup < layout.groups)
    def _() -> None:
        more = {2: 240, 3: 160}.get(layout.groups)
        if more:
            plgpu.set_max_registers(more, action="increase")
        _weigh(layout, refs, shared, warpgroup)

    @pl.when(warpgroup == layout.groups)
    def _() -> None:
        fewer = {2: 24, 3: 32}.get(layout.groups)
        if fewer:
            plgpu.set_max_registers(fewer, action="decrease")
        _load(layout, refs, shared)


def _for_items(layout: Layout, step: Callable[[Array, Item, Array], Array]) -> Array:
    """Folds `step(turn, item, tiles so far)` over the items of this program."""
    program = lax.axis_index("program")
    programs = layout.programs

    def of_item(turn: Array, done: Array) -> Array:
        return step(turn, layout.item(program + turn * programs), done)

    turns = lax.div(layout.items - program + programs - 1, programs)
    return lax.fori_loop(0, turns, of_item, jnp.int32(0))


def _shared_by_batch(ref: Any, batch: Array) -> Any:
    return batch if ref.shape[0] > 1 else 0


def _visits(layout: Layout, refs: Refs, item: Item) -> tuple[Array, Array, Callable]:
    """How many tiles are full, how many are visited, and which one comes when."""
    order: Pass = layout.plan.forward
    of_batch = _shared_by_batch(refs.spans, item.batch)
    full, every, first_full, first_partial = (
        refs.spans[of_batch, item.tile, which] for which in range(4)
    )

    def which(masked: bool, turn: Array) -> Array:
        if (order.partial if masked else order.full) == "run":
            return first_partial + turn - full if masked else first_full + turn
        return refs.tiles[_shared_by_batch(refs.tiles, item.batch), item.tile, turn]

    return full, every, which


def _load(layout: Layout, refs: Refs, shared: Shared) -> None:
    """The queries of each item, and the keys and values of its tiles while there is room."""
    tile_k, stages = layout.tile[1], layout.tuning.stages

    def of_item(turn: Array, item: Item, done: Array) -> Array:
        full, every, which = _visits(layout, refs, item)
        kv_head = lax.div(item.head, layout.group)

        @pl.when(turn > 0)
        def _() -> None:
            plgpu.barrier_wait(shared.query_free)

        for group in range(layout.groups):
            rows = pl.ds(item.tile * layout.tile[0] + group * ROWS, ROWS)
            plgpu.copy_gmem_to_smem(
                refs.query.at[item.batch, rows, item.head],
                shared.query.at[group],
                shared.query_there,
            )
            for source, target in zip(refs.queries, shared.of_queries, strict=True):
                plgpu.copy_gmem_to_smem(
                    source.at[_shared_by_batch(source, item.batch), rows],
                    target.at[group],
                    shared.query_there,
                )

        def of_tile(masked: bool, number: Array, carry: None) -> None:
            step = done + number
            slot = lax.rem(step, stages)
            at = pl.ds(which(masked, number) * tile_k, tile_k)

            @pl.when(step >= stages)
            def _() -> None:
                plgpu.barrier_wait(shared.key_free.at[slot])

            there = shared.key_there.at[slot]
            plgpu.copy_gmem_to_smem(
                refs.key.at[item.batch, at, kv_head], shared.key.at[slot], there
            )
            for source, target in zip(refs.keys, shared.of_keys, strict=True):
                plgpu.copy_gmem_to_smem(
                    source.at[_shared_by_batch(source, item.batch), at], target.at[slot], there
                )

            @pl.when(step >= stages)
            def _() -> None:
                plgpu.barrier_wait(shared.value_free.at[slot])

            plgpu.copy_gmem_to_smem(
                refs.value.at[item.batch, at, kv_head],
                shared.value.at[slot],
                shared.value_there.at[slot],
            )

        lax.fori_loop(0, full, functools.partial(of_tile, False), None)
        lax.fori_loop(full, every, functools.partial(of_tile, True), None)
        return done + every

    done = _for_items(layout, of_item)

    # Every arrival is waited for, so that none is left when the block ends.
    def drain(step: Array, carry: None) -> None:
        plgpu.barrier_wait(shared.key_free.at[lax.rem(step, stages)])
        plgpu.barrier_wait(shared.value_free.at[lax.rem(step, stages)])

    lax.fori_loop(jnp.maximum(done - stages, 0), done, drain, None)
    plgpu.barrier_wait(shared.query_free)


def _weigh(layout: Layout, refs: Refs, shared: Shared, me: Array) -> None:
    """The context of the queries of a warpgroup, of each item."""
    if layout.tuning.in_turn:

        @pl.when(me == layout.groups - 1)
        def _() -> None:
            plgpu.barrier_arrive(shared.turn.at[0])

    def of_item(turn: Array, item: Item, done: Array) -> Array:
        full, every, which = _visits(layout, refs, item)
        plgpu.barrier_wait(shared.query_there)
        worker = _Worker(layout, shared, me, item, which, done)
        carry = worker.empty()
        first_full = jnp.minimum(full, 1)
        for start, stop, step, masked in (
            (0, first_full, worker.begin, False),
            (first_full, jnp.minimum(every, 1), worker.begin, True),
            (1, full, worker.step, False),
            (jnp.maximum(full, 1), every, worker.step, True),
        ):
            if (layout.plan.forward.partial if masked else layout.plan.forward.full) is not None:
                carry = lax.fori_loop(start, stop, functools.partial(step, masked), carry)
        plgpu.barrier_arrive(shared.query_free)
        last = jnp.minimum(every, 1)
        carry = lax.fori_loop(0, last, lambda _, carry: worker.finish(every, carry), carry)
        _write(refs, shared, me, item, layout.tile[0], carry)
        return done + every

    _for_items(layout, of_item)
    plgpu.wait_smem_to_gmem(0)
    if layout.tuning.in_turn:

        @pl.when(me == 0)
        def _() -> None:
            plgpu.barrier_wait(shared.turn.at[0])


def _write(refs: Refs, shared: Shared, me: Array, item: Item, tile_q: int, carry: Carry) -> None:
    sees = carry.total > 0
    total = jnp.where(sees, carry.total, 1.0)
    context = carry.seen * _down(1 / total, carry.seen.shape)
    log_sum = jnp.where(sees, carry.highest + jnp.log2(total), NOWHERE)
    plgpu.wait_smem_to_gmem(0, wait_read_only=True)
    shared.context.at[me][...] = context.astype(shared.context.dtype)
    shared.log_sum.at[me][...] = log_sum
    plgpu.commit_smem()
    rows = pl.ds(item.tile * tile_q + me * ROWS, ROWS)
    plgpu.copy_smem_to_gmem(shared.context.at[me], refs.context.at[item.batch, rows, item.head])
    plgpu.copy_smem_to_gmem(shared.log_sum.at[me], refs.log_sum.at[item.batch, item.head, rows])


def _down(rows: Array, shape: tuple[int, int]) -> Array:
    """A number for each row, along it."""
    return lax.broadcast_in_dim(rows, shape, [0])


@dataclasses.dataclass(frozen=True, eq=False)
class _Worker:
    """A warpgroup at an item; `done` tiles came before it."""

    layout: Layout
    shared: Shared
    me: Array
    item: Item
    which: Callable[..., Array]
    done: Array

    def empty(self) -> Carry:
        def full(value: float, *shape: int, dtype: Any = jnp.float32) -> Array:
            of = plgpu.Layout.WGMMA if len(shape) > 1 else plgpu.Layout.WGMMA.reduce(1)
            return plgpu.layout_cast(jnp.full(shape, value, dtype), of)

        return Carry(
            full(0, ROWS, self.layout.width),
            full(jnp.finfo(jnp.float32).min, ROWS),
            full(0, ROWS),
            full(0, ROWS, self.layout.tile[1], dtype=self.layout.dtype),
        )

    def begin(self, masked: bool, number: Array, carry: Carry) -> Carry:
        """The shares of the first tile."""
        slot = self._slot(number)
        plgpu.barrier_wait(self.shared.key_there.at[slot])

        def products(scores: Any) -> Array:
            self._wait_turn()
            self._score(scores, slot)
            self._end_turn()
            return self._scored(scores, slot, wait=0)

        scores = pl.run_scoped(products, self._accumulator(self.layout.tile[1]))
        highest, total, shares, _ = self._share(masked, number, scores, carry)
        return Carry(carry.seen, highest, total, shares)

    def step(self, masked: bool, number: Array, carry: Carry) -> Carry:
        """The shares of a tile, while those of the one before are weighed in."""
        slot, before = self._slot(number), self._slot(number - 1)
        plgpu.barrier_wait(self.shared.key_there.at[slot])

        def products(scores: Any, seen: Any) -> Carry:
            self._begin_sum(seen, carry)
            self._wait_turn()
            self._score(scores, slot)
            plgpu.barrier_wait(self.shared.value_there.at[before])
            self._add(seen, carry, before)
            self._end_turn()
            scored = self._scored(scores, slot, wait=1)
            of_tile = self._share(masked, number, scored, carry)
            highest, total, shares, shrink = lax.optimization_barrier(of_tile)
            summed = self._sum(seen, carry, before)
            return Carry(summed * _down(shrink, summed.shape), highest, total, shares)

        return self._with_sum(products, self._accumulator(self.layout.tile[1]))

    def finish(self, every: Array, carry: Carry) -> Carry:
        """The last tile weighed in."""
        slot = self._slot(every - 1)
        plgpu.barrier_wait(self.shared.value_there.at[slot])

        def products(seen: Any) -> Array:
            self._begin_sum(seen, carry)
            self._add(seen, carry, slot)
            return self._sum(seen, carry, slot)

        return carry._replace(seen=self._with_sum(products))

    def _slot(self, number: Array) -> Array:
        return lax.rem(self.done + number, self.layout.tuning.stages)

    def _accumulator(self, columns: int) -> Any:
        return plgpu.ACC((ROWS, columns), jnp.float32)

    def _wait_turn(self) -> None:
        if self.layout.tuning.in_turn:
            plgpu.barrier_wait(self.shared.turn.at[self.me])

    def _end_turn(self) -> None:
        if self.layout.tuning.in_turn:
            after = lax.rem(self.me + 1, self.layout.groups)
            plgpu.barrier_arrive(self.shared.turn.at[after])

    def _score(self, scores: Any, slot: Array) -> None:
        keys = self.shared.key.at[slot].transpose((1, 0))
        plgpu.wgmma(scores, self.shared.query.at[self.me], keys)

    def _scored(self, scores: Any, slot: Array, wait: int) -> Array:
        scored = plgpu.wgmma_accumulator_load(scores, wait_n=wait)
        plgpu.barrier_arrive(self.shared.key_free.at[slot])
        # Nothing is to read them before they were waited for.
        return lax.optimization_barrier(scored)

    # Interpreted, a product of what is in registers is not known, nor a sum that begins at one.
    def _with_sum(self, products: Callable, *more: Any) -> Any:
        if self.layout.interpret:
            products = functools.partial(_last_none, products)
            return pl.run_scoped(products, *more) if more else products()
        return pl.run_scoped(products, *more, self._accumulator(self.layout.width))

    def _begin_sum(self, seen: Any, carry: Carry) -> None:
        if not self.layout.interpret:
            seen[...] = carry.seen

    def _add(self, seen: Any, carry: Carry, slot: Array) -> None:
        if not self.layout.interpret:
            plgpu.wgmma(seen, carry.shares, self.shared.value.at[slot])

    def _sum(self, seen: Any, carry: Carry, slot: Array) -> Array:
        if self.layout.interpret:
            values = self.shared.value.at[slot][...]
            summed = carry.seen + jnp.dot(carry.shares, values, preferred_element_type=jnp.float32)
        else:
            summed = lax.optimization_barrier(plgpu.wgmma_accumulator_load(seen, wait_n=0))
        plgpu.barrier_arrive(self.shared.value_free.at[slot])
        return summed

    def _share(
        self, masked: bool, number: Array, scores: Array, carry: Carry
    ) -> tuple[Array, Array, Array, Array]:
        """The highest score, the total, the shares of the tile, and what those before shrink by."""
        if masked:
            scores = jnp.where(self._allowed(number), scores, -jnp.inf)
        factor = self.layout.plan.scale * LOG2_E
        # The highest is finite, so that nothing here is NaN, whatever is masked.
        highest = jnp.maximum(carry.highest, scores.max(axis=1) * factor)
        shares = jnp.exp2(scores * factor - _down(highest, scores.shape))
        shrink = jnp.exp2(carry.highest - highest)
        total = carry.total * shrink + shares.sum(axis=1)
        return highest, total, shares.astype(self.layout.dtype), shrink

    def _allowed(self, number: Array) -> Bool[Array, "rows tile_k"]:
        """Who may look in a tile."""
        plan, (tile_q, tile_k) = self.layout.plan, self.layout.tile
        shape = ROWS, tile_k
        slot = self._slot(number)

        def iota(axis: int) -> Int[Array, "rows tile_k"]:
            return plgpu.broadcasted_iota(jnp.int32, shape, axis, layout=plgpu.Layout.WGMMA)

        def spread(refs: list, at: Array, axis: int, bools: tuple[bool, ...]) -> list:
            along = plgpu.Layout.WGMMA.reduce(1 - axis)
            arrays = (plgpu.load(ref.at[at], layout=along, optimized=False) for ref in refs)
            wide = [lax.broadcast_in_dim(array, shape, [axis]) for array in arrays]
            return [a != 0 if b else a for a, b in zip(wide, bools, strict=True)]

        index = self.which(True, number) * tile_k + iota(1)
        of_queries = spread(self.shared.of_queries, self.me, 0, self.layout.bools[0])
        of_keys = spread(self.shared.of_keys, slot, 1, self.layout.bools[1])
        if plan.counted:
            row = self.item.tile * tile_q + self.me * ROWS
            of_queries, of_keys = [row + iota(0), *of_queries], [index, *of_keys]
        (q_pos, *queries), (k_pos, *keys) = of_queries, of_keys
        allowed = plan.allowed(q_pos, k_pos, tuple(queries), tuple(keys))
        if plan.num_keys % tile_k:
            allowed &= index < plan.num_keys
        return allowed


def _last_none(products: Callable, *refs: Any) -> Any:
    return products(*refs, None)
