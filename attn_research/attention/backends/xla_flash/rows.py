"""Blocks of rows: as many batch elements and key heads at a time as fit into a cache.

A block is cut out of every row axis for itself, so that an axis sharded over devices stays so.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from attn_research.loops import vary_as
from attn_research.types import Array, PyTree


class Rows(NamedTuple):
    """Arrays by the row axes (*B, K) that they begin with; an axis that rows share is one."""

    by_head: PyTree  # [*#B, #K, ...]
    by_batch: PyTree  # [*#B, ...]
    shared: PyTree  # without row axes

    def num_axes(self, rank: int) -> "Rows":
        """The number of row axes of each array, of `rank` in all."""
        counts = rank, rank - 1, 0
        return Rows(*(jax.tree.map(lambda _, n=n: n, x) for x, n in zip(self, counts, strict=True)))


class Blocks(NamedTuple):
    """The number of rows, and of rows in a block, of each row axis; those in `whole` are not cut.

    Where XLA may shard an axis over `devices`, a block has rows of all: those at equal distances.
    """

    sizes: tuple[int, ...]
    of_block: tuple[int, ...]
    devices: int = 1
    whole: frozenset[int] = frozenset()


def make_blocks(
    sizes: tuple[int, ...],
    most: int,
    devices: int,
    whole: frozenset[int] = frozenset(),
    apart: frozenset[int] = frozenset(),
) -> Blocks:
    """Blocks of about `most` rows on each device.

    Axes in `whole` are not cut, and those in `apart` as finely as they can be.
    """
    most = max(most, 1) * devices
    of_block = list(sizes)
    for axis, size in sorted(enumerate(sizes), key=lambda pair: pair[0] not in apart):
        if axis not in whole:
            others = math.prod(of_block) // max(size, 1)
            counts = [n for n in range(1, size + 1) if size % n == 0]
            counts = [n for n in counts if n == size or n % devices == 0]
            fits = [n for n in counts if n * others <= most and axis not in apart]
            of_block[axis] = max(fits, default=counts[0])
    return Blocks(sizes, tuple(of_block), devices, whole)


def partitioning_devices() -> int:
    """The number of devices over which XLA may partition the program being traced."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return jax.device_count()
    return mesh.size // math.prod(mesh.shape[axis] for axis in mesh.manual_axes)


def map_blocks(
    function: Callable[[Rows], Rows], rows: Rows, like: Rows, blocks: Blocks, axis: int = 0
) -> Rows:
    """`function` of each block in turn: its results side by side, or added where rows share them.

    `like` has the shapes of the result for all rows. `function` takes and gives rows with the row
    axes of `blocks`, or with a single one where nothing is of a batch element alone.
    """
    if axis == 0 and _contiguous(blocks) and _all_by_head(rows, like, blocks):
        return _map_flat(function, rows, like, blocks)
    while axis < len(blocks.sizes) and blocks.of_block[axis] == blocks.sizes[axis]:
        axis += 1
    if axis == len(blocks.sizes):
        return function(rows)
    size, of_block = blocks.sizes[axis], blocks.of_block[axis]
    # The one of the two parts of the axis that a sharding of the axis goes to comes first.
    place = axis if blocks.devices == 1 else axis + 1

    def has_axis(tree: Rows) -> list[bool]:
        counts = jax.tree.leaves(tree.num_axes(len(blocks.sizes)))
        leaves = jax.tree.leaves(tree)
        return [
            axis < count and leaf.shape[axis] == size
            for leaf, count in zip(leaves, counts, strict=True)
        ]

    def cut(array: Array) -> Array:
        parts = (size // of_block, of_block) if place == axis else (of_block, size // of_block)
        shape = *array.shape[:axis], *parts, *array.shape[axis + 1 :]
        return jnp.moveaxis(array.reshape(shape), place, 0)

    def join(array: Array) -> Array:
        array = jnp.moveaxis(array, 0, place)
        return array.reshape(*array.shape[:axis], size, *array.shape[axis + 2 :])

    leaves, structure = jax.tree.flatten(rows)
    is_cut, is_stacked = has_axis(rows), has_axis(like)

    def step(totals: list[Array], parts: list[Array]) -> tuple[list[Array], list[Array]]:
        each = iter(parts)
        block = [next(each) if cut else leaf for leaf, cut in zip(leaves, is_cut, strict=True)]
        found = map_blocks(function, structure.unflatten(block), like, blocks, axis + 1)
        found = list(zip(jax.tree.leaves(found), is_stacked, strict=True))
        added = [array for array, stacked in found if not stacked]
        totals = [a + b for a, b in zip(totals, added, strict=True)]
        return totals, [array for array, stacked in found if stacked]

    zeros = [
        vary_as(jnp.zeros(_block_shape(leaf.shape, count, blocks, axis), leaf.dtype), leaf)
        for leaf, count, stacked in zip(
            jax.tree.leaves(like),
            jax.tree.leaves(like.num_axes(len(blocks.sizes))),
            is_stacked,
            strict=True,
        )
        if not stacked
    ]
    xs = [cut(leaf) for leaf, is_ in zip(leaves, is_cut, strict=True) if is_]
    totals, stacks = lax.scan(step, zeros, xs)
    totals, stacks = iter(totals), iter(stacks)
    found = [join(next(stacks)) if stacked else next(totals) for stacked in is_stacked]
    return jax.tree.structure(like).unflatten(found)


def _contiguous(blocks: Blocks) -> bool:
    """Whether several axes may be one, on one device: blocks follow one another in memory."""
    cut = [axis for axis, size in enumerate(blocks.sizes) if blocks.of_block[axis] < size]
    joint = len(blocks.sizes) > 1 and blocks.devices == 1 and not blocks.whole
    return joint and bool(cut) and math.prod(blocks.of_block[: cut[-1]]) == 1


def _all_by_head(rows: Rows, like: Rows, blocks: Blocks) -> bool:
    """Whether nothing is of a batch element alone, and no axis is shared by rows."""
    rank = len(blocks.sizes)
    every = jax.tree.leaves((rows.by_head, like.by_head))
    alone = jax.tree.leaves((rows.by_batch, like.by_batch))
    return not alone and all(x.shape[:rank] == blocks.sizes for x in every)


def _map_flat(function: Callable[[Rows], Rows], rows: Rows, like: Rows, blocks: Blocks) -> Rows:
    """As `map_blocks`, by one loop over all rows, which have one axis: `function` finds it so.

    A loop within another copies each row twice, and XLA is slower where an axis of one is left.
    """
    rank, flat = len(blocks.sizes), math.prod(blocks.sizes)

    def shaped(rows: Rows, shape: tuple[int, ...], count: int) -> Rows:
        """The rows, whose first `count` axes become others."""
        by_head = jax.tree.map(lambda x: x.reshape(*shape, *x.shape[count:]), rows.by_head)
        return rows._replace(by_head=by_head)

    like = jax.eval_shape(lambda like: shaped(like, (flat,), rank), like)
    one_axis = Blocks((flat,), (math.prod(blocks.of_block),))
    found = map_blocks(function, shaped(rows, (flat,), rank), like, one_axis)
    return shaped(found, blocks.sizes, 1)


def _block_shape(shape: tuple[int, ...], count: int, blocks: Blocks, axis: int) -> tuple[int, ...]:
    """The shape within a block of the row axes before `axis`."""
    return tuple(
        blocks.of_block[i] if i < min(axis, count) and length == blocks.sizes[i] else length
        for i, length in enumerate(shape)
    )
