"""What kernels for Hopper share: how blocks take items, which tiles they visit, who may look there.

A block has warpgroups of 64 rows each that compute, and one more that loads what they need into
shared memory. It takes items, a tile of a head each, until none is left.
"""

import dataclasses
import heapq
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from attn_research.attention.backends.tiles.passes import Given, Pass, Plan, Visits
from attn_research.types import Array, Bool, Int

ROWS = 64  # of a warpgroup, as many as a product of its has
L2_BYTES = 32 << 20  # of arrays that blocks at work share
# Of a thread of a warpgroup that computes, where there are two of those, and of one that loads.
REGISTERS = 240, 24
# Guesses: how many tiles could be visited in the time an item takes beside its visits, and from
# how many items on blocks have so many that they end at about one time anyway.
AROUND = 1
MOST_SCHEDULED = 1 << 17


@dataclasses.dataclass(frozen=True)
class Tuning:
    """How a kernel is laid out on a device."""

    stages: int  # tiles in shared memory at a time, of the side that is loaded again and again
    buffers: int  # tiles there of the other side: one that is at work, and at least one to come
    programs: int  # blocks, one for each multiprocessor


class Item(NamedTuple):
    """A tile of a head, and how many of its block came before it."""

    batch: Array
    head: Array
    tile: Array
    turn: Array


# Empty, or a table [programs, 1 + most]: how many items a block takes, then which.
Schedule = tuple[()] | tuple[Any]


@dataclasses.dataclass(frozen=True)
class Items:
    """All items of a call, those with most to visit first, of heads whose arrays the L2 holds.

    Blocks take them in turn, or by a schedule.
    """

    batch: int
    heads: int
    tiles: int
    together: int  # heads that are taken before the next ones
    most_programs: int
    last_first: bool

    @property
    def programs(self) -> int:
        return min(self.most_programs, self.batch * self.heads * self.tiles)

    def schedule(self, visited: tuple[int, ...] | None, heads: int = 1) -> Schedule:
        """Who takes what where it is known how many inner tiles, of so many heads, each visits.

        An item goes to the block that is the first to have done what it has. In turn, some blocks
        would get the longer item in every round. Items that cost alike need no schedule.
        """
        count = self.batch * self.heads * self.tiles
        if visited is None or len(set(visited)) == 1 or count > MOST_SCHEDULED:
            return ()
        _, tile = self._place(np.arange(count), np.divmod, np.minimum)
        costs = heads * np.array(visited)[tile] + AROUND
        ends = [(0, program) for program in range(self.programs)]
        taken: list[list[int]] = [[] for _ in ends]
        for number, cost in enumerate(costs.tolist()):
            end, program = ends[0]
            taken[program].append(number)
            heapq.heapreplace(ends, (end + cost, program))
        table = np.zeros((self.programs, 1 + max(map(len, taken))), np.int32)
        for row, numbers in zip(table, taken, strict=True):
            row[: 1 + len(numbers)] = len(numbers), *numbers
        return (table,)

    def turns(self, schedule: Schedule) -> Array:
        """How many this program takes."""
        program = lax.axis_index("program")
        if schedule:
            return schedule[0][program, 0]
        last = self.batch * self.heads * self.tiles - 1
        return lax.div(last - program, self.programs) + 1

    def fold(self, step: Callable[[Item, Array], Array], schedule: Schedule) -> Array:
        """`step(item, so far)` over the items of this program, from 0."""
        program = lax.axis_index("program")

        def of_turn(turn: Array, done: Array) -> Array:
            number = schedule[0][program, 1 + turn] if schedule else program + turn * self.programs
            return step(self._item(number, turn), done)

        return lax.fori_loop(0, self.turns(schedule), of_turn, jnp.int32(0))

    def _item(self, number: Array, turn: Array) -> Item:
        def divide(a: Any, b: Any) -> tuple[Array, Array]:
            return lax.div(a, b), lax.rem(a, b)

        pair, tile = self._place(number, divide, jnp.minimum)
        return Item(*divide(pair, self.heads), tile, turn)

    def _place(
        self, number: Any, divide: Callable[..., tuple], minimum: Callable[..., Any]
    ) -> tuple[Any, Any]:
        """Which pair of batch element and head an item is of, and which tile of it."""
        section, within = divide(number, self.together * self.tiles)
        here = minimum(self.together, self.batch * self.heads - section * self.together)
        tile, pair = divide(within, here)
        tile = self.tiles - 1 - tile if self.last_first else tile
        return section * self.together + pair, tile


def heads_together(pairs: int, group: int, bytes_of_head: int) -> int:
    """How many of so many query heads have keys and values that the L2 cache holds."""
    return min(pairs, max(1, L2_BYTES // bytes_of_head) * group)


def kernel_of_blocks(
    name: str,
    call: Any,
    kinds: tuple[Callable[..., Any], Callable[..., Any]],
    compute: Callable[..., None],
    load: Callable[..., None],
    *,
    out_type: tuple,
    scratch: dict[str, Any],
    interpret: Any,
) -> Callable[..., Any]:
    """What `call` describes, as a function of arrays: for each block, of its warpgroups.

    Of `kinds` the first holds arrays, in their order, and the second holds `scratch`, by name. The
    warpgroups do `compute(call, arrays, scratch, number)`, and the last does `load` of the same but
    the number, with registers to match.
    """

    def kernel(*refs: Any, **shared: Any) -> None:
        warpgroup, (more, fewer) = lax.axis_index("warpgroup"), REGISTERS
        arguments = call, kinds[0](*refs), kinds[1](**shared)

        @pl.when(warpgroup < call.groups)
        def _() -> None:
            if call.groups == 2:
                plgpu.set_max_registers(more, action="increase")
            compute(*arguments, warpgroup)

        @pl.when(warpgroup == call.groups)
        def _() -> None:
            if call.groups == 2:
                plgpu.set_max_registers(fewer, action="decrease")
            load(*arguments)

    return plgpu.kernel(
        kernel,
        out_type=out_type,
        scratch_types=scratch,
        compiler_params=plgpu.CompilerParams(approx_math=True),
        grid=(call.items.programs,),
        grid_names=("program",),
        num_threads=call.groups + 1,
        thread_name="warpgroup",
        kernel_name=name,
        interpret=interpret,
    )


def drain(first: Array, stop: Array, rooms: int, *free: Any) -> None:
    """Waits for arrivals number `first` to `stop`, so that none is left when the block ends."""

    def wait(number: Array, carry: None) -> None:
        for barrier in free:
            plgpu.barrier_wait(barrier.at[lax.rem(number, rooms)])

    lax.fori_loop(jnp.maximum(first, 0), stop, wait, None)


def of_batch(ref: Any, batch: Array) -> Any:
    """Where in an array, which all elements of a batch may share."""
    return batch if ref.shape[0] > 1 else 0


class Order(NamedTuple):
    """How many inner tiles of an item are full and how many are visited, and which comes when."""

    full: Array
    every: Array
    which: Callable[[bool, Array], Array]


def order_of(lie: Pass, visits: Visits, item: Item) -> Order:
    """Of the inner tiles of an item, full ones first."""
    batch = of_batch(visits.spans, item.batch)
    full, every, first_full, first_partial = (
        visits.spans[batch, item.tile, which] for which in range(4)
    )

    def which(masked: bool, number: Array) -> Array:
        if (lie.partial if masked else lie.full) == "run":
            return first_partial + number - full if masked else first_full + number
        return visits.tiles[of_batch(visits.tiles, item.batch), item.tile, number]

    return Order(full, every, which)


class MaskArrays(NamedTuple):
    """What a mask reads of queries and of keys: positions first, unless they count from 0."""

    queries: tuple[Array, ...]
    keys: tuple[Array, ...]


def mask_arrays(plan: Plan, given: Given) -> tuple[MaskArrays, MaskArrays]:
    """The arrays, with booleans as numbers, of which copies are made; and which are booleans."""
    first = ((), ()) if plan.counted else ((given.q_pos,), (given.k_pos,))
    arrays = MaskArrays(first[0] + given.queries, first[1] + given.keys)
    bools = jax.tree.map(lambda array: array.dtype == bool, arrays)
    words = jax.tree.map(lambda a: a.astype(jnp.int32) if a.dtype == bool else a, arrays)
    return words, bools


class Side(NamedTuple):
    """The queries or keys of a tile: what a mask reads of them, in shared memory, and the first."""

    arrays: list
    bools: tuple[bool, ...]
    first: Array


def who_may_look(
    plan: Plan, queries: Side, keys: Side, shape: tuple[int, int], of_queries: int
) -> Bool[Array, "rows cols"]:
    """Who may look in a tile, which has its queries along the axis `of_queries`."""

    def indices(side: Side, axis: int) -> Int[Array, "rows cols"]:
        iota = plgpu.broadcasted_iota(jnp.int32, shape, axis, layout=plgpu.Layout.WGMMA)
        return side.first + iota

    def read(side: Side, axis: int) -> list:
        along = plgpu.Layout.WGMMA.reduce(1 - axis)
        loaded = (plgpu.load(ref, layout=along, optimized=False) for ref in side.arrays)
        wide = (lax.broadcast_in_dim(array, shape, [axis]) for array in loaded)
        arrays = [a != 0 if b else a for a, b in zip(wide, side.bools, strict=True)]
        return [indices(side, axis), *arrays] if plan.counted else arrays

    of_keys = 1 - of_queries
    (q_pos, *q_arrays), (k_pos, *k_arrays) = read(queries, of_queries), read(keys, of_keys)
    allowed = plan.allowed(q_pos, k_pos, tuple(q_arrays), tuple(k_arrays))
    if plan.num_keys % shape[of_keys]:
        allowed &= indices(keys, of_keys) < plan.num_keys
    return allowed


def along(rows: Array, shape: tuple[int, int], axis: int = 0) -> Array:
    """A number for each row, or for each column, along it."""
    return lax.broadcast_in_dim(rows, shape, [axis])


def filled(value: float, *shape: int, dtype: Any = jnp.float32) -> Array:
    """An array of one value where products put theirs, or of one for each row of those."""
    layout = plgpu.Layout.WGMMA if len(shape) > 1 else plgpu.Layout.WGMMA.reduce(1)
    return plgpu.layout_cast(jnp.full(shape, value, dtype), layout)


def tiles_in_smem(shape: tuple[int, ...], dtype: Any) -> Any:
    """Shared memory for operands of products."""
    transforms = plgpu.TilingTransform((8, 64)), plgpu.SwizzleTransform(128)
    return plgpu.SMEM(shape, dtype, transforms=transforms)
