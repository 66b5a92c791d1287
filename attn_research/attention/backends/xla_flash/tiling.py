"""Sizes of tiles: large ones make fast products, small ones fit a sparse mask closely."""

import itertools
import math
from typing import NamedTuple

import numpy as np

from attn_research.attention.backends.xla_flash.cache import cores_of_device
from attn_research.attention.masks import Full, Mask, Tile
from attn_research.types import Int

# Chosen by measurement on cores with 512 KiB and with 2 MiB of L2 cache; tests make tiles smaller.
QUERY_TILE = 512  # rows of a product: queries times the query heads of a key head
KEY_TILE = 256
# Both divided for smaller tiles, which fit a sparse mask more closely.
QUERY_DIVISORS, KEY_DIVISORS = (1, 2, 4, 8), (1, 2, 4)
MOST_AT_A_TIME = 8  # small tiles that a step takes as one
# A step takes as long as if it had so many columns more: on one core, and where several share its
# products, which are small then. Columns are keys forward, queries times heads backward.
PER_STEP = 96, 192
PER_ROW = 32  # and so many rows more
MASKED = 1.4  # times as long, where a mask is evaluated
MOST_TILES = 2**20  # of a layout that is made to choose


class Tiling(NamedTuple):
    """The queries and keys of a tile, and how many tiles of either a step of a pass takes."""

    tile: tuple[int, int]
    of_queries: int = 1  # backward
    of_keys: int = 1  # forward


def choose_tiling(
    structure: Mask, lengths: tuple[int, int], group: int, *, together: bool = True
) -> Tiling:
    """The tiles that are done soonest: large ones, or small ones that fit the mask more closely.

    A step takes one at a time unless they may be taken `together`.
    """

    def tile_of(by: tuple[int, int]) -> tuple[int, int]:
        of_group = max(QUERY_TILE // (by[0] * group), 8)
        return even(lengths[0], of_group), even(lengths[1], max(KEY_TILE // by[1], 8))

    largest = Tiling(tile_of((1, 1)))
    if isinstance(structure, Full) or type(structure) is Mask:
        return largest
    tiles = {tile_of(by): None for by in itertools.product(QUERY_DIVISORS, KEY_DIVISORS)}
    few = [each for each in tiles if math.prod(lengths) <= MOST_TILES * math.prod(each)]
    options = []
    for tile in few:
        layout = structure.layout(*lengths, tile)
        alone = not together or tile == largest.tile
        of_keys, of_queries = (
            _steps(kinds, size, 1 if alone else QUERY_TILE // size)
            for kinds, size in ((layout, tile[1]), (layout.T, tile[0] * group))
        )
        # Five products backward, two forward.
        time = 2 * of_keys.time * (tile[0] * group + PER_ROW)
        time += 5 * of_queries.time * (tile[1] + PER_ROW)
        options.append((time, Tiling(tile, of_queries.count, of_keys.count)))
    return min(options, default=(0, largest))[1]


class Steps(NamedTuple):
    """The time of the steps of all outer tiles, in columns, and the inner tiles of each step."""

    time: float
    count: int


def _steps(layout: Int[np.ndarray, "outer inner"], size: int, most: int) -> Steps:
    """The soonest steps for a layout with inner tiles of `size`."""
    full, every = ((layout >= kind).sum(axis=1) for kind in (Tile.FULL, Tile.PARTIAL))
    per_step = PER_STEP[cores_of_device() > 1]

    def of_count(count: int) -> Steps:
        unmasked = full // count
        steps = unmasked + MASKED * (-(-every // count) - unmasked)
        return Steps(float(steps.sum()) * (count * size + per_step), count)

    return min(map(of_count, range(1, max(1, min(most, MOST_AT_A_TIME, every.max(initial=1))) + 1)))


def even(length: int, most: int) -> int:
    """The size of the fewest tiles of at most `most`, as even as they can be, a multiple of 8."""
    count = -(-length // most)
    return length if count == 1 else -(-length // (8 * count)) * 8
