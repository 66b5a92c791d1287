"""Layouts of masks: the kinds of the tiles of queries and keys, in time of the number of tiles."""

import enum

import numpy as np

from attn_research.types import Bool, Int

# The queries and keys of a tile; a number where both are as many.
Block = int | tuple[int, int]


class Tile(enum.IntEnum):
    """The kind of a tile; in this order `& | ~` are minimum, maximum and reflection."""

    EMPTY = 0
    PARTIAL = 1
    FULL = 2


def to_kinds(
    some: Bool[np.ndarray, "..."], every: Bool[np.ndarray, "..."]
) -> Int[np.ndarray, "..."]:
    """A `Tile` of each: FULL where `every` and `some`, PARTIAL where only `some`, else EMPTY."""
    return some.astype(np.int8) + (some & every).astype(np.int8)


def tile_edges(
    num_queries: int, num_keys: int, block: Block
) -> list[tuple[Int[np.ndarray, "tiles"], Int[np.ndarray, "tiles"]]]:
    """The first and last queries of the tiles, then the first and last keys."""
    sizes = (block, block) if isinstance(block, int) else block
    edges = []
    for length, size in zip((num_queries, num_keys), sizes, strict=True):
        first = np.arange(0, length, size)
        edges.append((first, np.minimum(first + size, length) - 1))
    return edges


def band_layout(
    lowest: int | float, highest: int | float, num_queries: int, num_keys: int, block: Block
) -> Int[np.ndarray, "rows cols"]:
    """The layout of lowest <= k_pos - q_pos <= highest."""
    (first_q, last_q), (first_k, last_k) = tile_edges(num_queries, num_keys, block)
    # Comparing a column with a row keeps all that is as large as the layout to one byte an entry.
    first_q, last_q = first_q[:, None], last_q[:, None]
    some = (first_k <= last_q + highest) & (last_k >= first_q + lowest)
    every = (first_k >= last_q + lowest) & (last_k <= first_q + highest)
    return to_kinds(some, every)


def differences(
    size: tuple[int, int, Block], unit: int = 1
) -> tuple[Int[np.ndarray, "rows cols"], Int[np.ndarray, "rows cols"]]:
    """The least and greatest key position less query position of each tile, in units.

    Every difference between the two occurs in the tile.
    """
    (first_q, last_q), (first_k, last_k) = (
        (first // unit, last // unit) for first, last in tile_edges(*size)
    )
    return first_k - last_q[:, None], last_k - first_q[:, None]


def kinds_of_multiples(
    step: int, lowest: int | float, highest: int | float, size: tuple[int, int, Block]
) -> Int[np.ndarray, "rows cols"]:
    """The layout of differences that are multiples of `step`, EMPTY where none is in the bounds."""
    first, last = differences(size)
    inner_first, inner_last = np.maximum(first, lowest), np.minimum(last, highest)
    some = np.floor_divide(inner_last, step) * step >= inner_first
    every = (first == last) | (step == 1)
    return to_kinds(some, every)


def kinds_between(
    start: int, stop: int, first: Int[np.ndarray, "tiles"], last: Int[np.ndarray, "tiles"]
) -> Int[np.ndarray, "tiles"]:
    """A `Tile` for each run of positions: whether they are within start, ..., stop - 1."""
    some = (first < stop) & (last >= start) & (start < stop)
    every = (first >= start) & (last < stop)
    return to_kinds(some, every)
