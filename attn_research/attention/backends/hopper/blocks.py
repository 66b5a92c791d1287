"""Persistent, warp-specialized blocks of the Hopper kernels: work items, tiles, masks, launch.

A block has warpgroups of 64 rows each that compute, and one more that loads their operands into
shared memory. It takes items, a tile of a head each, until none is left.
"""

import dataclasses
import functools
import heapq
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from attn_research.attention.backends.tiles.passes import Pass, Visits
from attn_research.types import Array

ROWS = 64  # of a warpgroup, as many as one of its products has
L2_BYTES = 32 << 20  # of the arrays that running blocks share
# Registers of a thread that computes, where two warpgroups do, and of a thread that loads.
REGISTERS = 240, 24
# Guesses: the fixed time of an item, in visits of a tile; and the number of items from which on
# blocks have so many that they end at about the same time without a schedule.
ITEM_OVERHEAD = 1
MOST_SCHEDULED = 1 << 17


@dataclasses.dataclass(frozen=True)
class Tuning:
    """The tuning of a kernel for a device."""

    stages: int  # tiles in shared memory at a time, of the inner side
    buffers: int  # tiles there of the outer side: the current one, and at least one to come
    programs: int  # blocks, one for each multiprocessor


class Item(NamedTuple):
    """A unit of work: a tile of a head, and the number of items of its block before it."""

    batch: Array
    head: Array
    tile: Array
    turn: Array


# Empty, or a table [programs, 1 + most]: the number of items of a block, then the items.
Schedule = tuple[()] | tuple[Any]


@dataclasses.dataclass(frozen=True)
class Items:
    """The items of a call in order: the longest first, among heads whose arrays the L2 cache holds.

    Blocks take them in turn, or by a schedule.
    """

    batch: int
    heads: int
    tiles: int
    together: int  # heads whose items come before those of the next heads
    most_programs: int
    last_first: bool

    @property
    def programs(self) -> int:
        return min(self.most_programs, self.batch * self.heads * self.tiles)

    def schedule(self, visited: tuple[int, ...] | None, heads: int = 1) -> Schedule:
        """The longest-first schedule of items that visit known numbers of tiles, of so many heads.

        An item goes to the block that is the first to finish its earlier ones. Taken in turn, some
        blocks would get the longer item in every round. Items of equal cost need no schedule.
        """
        count = self.batch * self.heads * self.tiles
        if visited is None or len(set(visited)) == 1 or count > MOST_SCHEDULED:
            return ()
        _, tile = self._place(np.arange(count), np.divmod, np.minimum)
        costs = heads * np.array(visited)[tile] + ITEM_OVERHEAD
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
        """The number of items of this program."""
        program = lax.axis_index("program")
        if schedule:
            return schedule[0][program, 0]
        last = self.batch * self.heads * self.tiles - 1
        return lax.div(last - program, self.programs) + 1

    def fold(self, step: Callable[[Item, Array], Array], schedule: Schedule) -> Array:
        """Folds `step(item, carry)` over the items of this program, from 0."""
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
        """The pair of batch element and head that an item belongs to, and the tile of it."""
        section, within = divide(number, self.together * self.tiles)
        here = minimum(self.together, self.batch * self.heads - section * self.together)
        tile, pair = divide(within, here)
        tile = self.tiles - 1 - tile if self.last_first else tile
        return section * self.together + pair, tile


def heads_together(pairs: int, group: int, bytes_of_head: int) -> int:
    """The number of query heads whose keys and values fit into the L2 cache together."""
    return min(pairs, max(1, L2_BYTES // bytes_of_head) * group)


def make_kernel(
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
    """The warp-specialized kernel that `call` describes, as a function of arrays.

    `kinds` are two NamedTuples: the first takes the arrays, in their order, the second `scratch`,
    by name. The computing warpgroups run `compute(call, arrays, scratch, number)`, the last one
    `load(call, arrays, scratch)`, each with its share of the registers.
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


def fold_items(
    call: Any, refs: Any, shared: Any, warpgroup: Array, step: Callable[..., Array]
) -> None:
    """Folds `step(block, warpgroup, item, carry)` over the items of a block, and waits for stores.

    The block is (call, refs, shared), as a computing warpgroup of `make_kernel` gets them.
    """
    call.items.fold(functools.partial(step, (call, refs, shared), warpgroup), refs.schedule)
    plgpu.wait_smem_to_gmem(0)


def drain(first: Array, stop: Array, rooms: int, *free: Any) -> None:
    """Waits for arrivals `first` to `stop` - 1, so that none is pending when the block ends."""

    def wait(number: Array, carry: None) -> None:
        for barrier in free:
            plgpu.barrier_wait(barrier.at[lax.rem(number, rooms)])

    lax.fori_loop(jnp.maximum(first, 0), stop, wait, None)


def batch_index(ref: Any, batch: Array) -> Any:
    """The index of a batch element in an array that all of them may share."""
    return batch if ref.shape[0] > 1 else 0


class Order(NamedTuple):
    """The numbers of full and of all inner tiles of an item, and the tile at each step."""

    full: Array
    every: Array
    which: Callable[[bool, Array], Array]


def order_of(tile_pass: Pass, visits: Visits, item: Item) -> Order:
    """The order of the inner tiles of an item, full ones first."""
    batch = batch_index(visits.spans, item.batch)
    full, every, first_full, first_partial = (
        visits.spans[batch, item.tile, which] for which in range(4)
    )

    def which(masked: bool, number: Array) -> Array:
        if (tile_pass.partial if masked else tile_pass.full) == "run":
            return first_partial + number - full if masked else first_full + number
        return visits.tiles[batch_index(visits.tiles, item.batch), item.tile, number]

    return Order(full, every, which)


@dataclasses.dataclass(frozen=True, eq=False)
class Worker:
    """A computing warpgroup at an item, whose tiles `order` lists."""

    call: Any
    shared: Any
    warpgroup: Array
    item: Item
    buffer: Array
    order: Order


def broadcast_rows(rows: Array, shape: tuple[int, int], axis: int = 0) -> Array:
    """A number for each row, or for each column, broadcast along it."""
    return lax.broadcast_in_dim(rows, shape, [axis])


def filled(value: float, *shape: int, dtype: Any = jnp.float32) -> Array:
    """A constant array in the layout of products, or of one number for each of their rows."""
    layout = plgpu.Layout.WGMMA if len(shape) > 1 else plgpu.Layout.WGMMA.reduce(1)
    return plgpu.layout_cast(jnp.full(shape, value, dtype), layout)


def tiles_in_smem(shape: tuple[int, ...], dtype: Any) -> Any:
    """Shared memory for the operands of products."""
    transforms = plgpu.TilingTransform((8, 64)), plgpu.SwizzleTransform(128)
    return plgpu.SMEM(shape, dtype, transforms=transforms)
