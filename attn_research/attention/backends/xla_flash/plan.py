"""The tiles of scores that each pass visits, and the blocks of rows that it takes at a time."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from attn_research.attention.backends.xla_flash.cache import cache_bytes, cores_of_device
from attn_research.attention.backends.xla_flash.rows import (
    Blocks,
    make_blocks,
    partitioning_devices,
)
from attn_research.attention.backends.xla_flash.run_time import RunTimeVisits
from attn_research.attention.backends.xla_flash.terms import Terms
from attn_research.attention.call import AttentionCall
from attn_research.attention.masks import Full, Mask, Tile
from attn_research.attention.normalizers import pointwise
from attn_research.attention.scores import Dot
from attn_research.types import Array, Int, PyTree

# Chosen by measurement on cores with 512 KiB and with 2 MiB of L2 cache; tests make tiles smaller.
QUERY_TILE = 512  # rows of a product: queries times the query heads of a key head
KEY_TILE = 256
# Divisors of both in smaller tiles, and how many times as long a score takes there: on one core,
# and where several share the product, for which it is then small. They fit a mask more closely: of
# a window of 256 they visit half as many scores.
SMALLER_TILES = ((2, 1, 1.1, 1.35), (4, 2, 1.3, 1.4))
MOST_TILES = 2**22  # of a layout that is made to choose
# Bytes of cache for each score at a time: forward a score or its weight, backward two arrays.
FORWARD_BYTES, BACKWARD_BYTES = 4, 8
SHARED = 4  # times as many scores where several cores share them


class Visits(NamedTuple):
    """Inner tiles of one kind; outer tile i has those from starts[i] to starts[i + 1]."""

    starts: Int[np.ndarray, "outer_1"]
    tiles: Int[np.ndarray, "visits"]


@dataclasses.dataclass(frozen=True, eq=False)
class Pass:
    """The rows that a pass takes at a time, and the tiles that it visits."""

    blocks: Blocks
    layout: Int[np.ndarray, "outer inner"]

    def visit(
        self,
        outer: Array,
        step: Callable[[bool, Array, PyTree], PyTree],
        carry: PyTree,
        found: RunTimeVisits | None = None,
    ):
        """Folds `step(masked, inner, carry)` over the tiles that an outer one visits.

        Those of the layout, or the ones that were found at run time.
        """
        if found is not None:
            return found.visit(outer, step, carry)
        for kind in (Tile.FULL, Tile.PARTIAL):
            starts, tiles = map(jnp.asarray, self._visits(kind))
            if not tiles.size:
                continue

            def body(index: Array, carry: PyTree, masked=kind == Tile.PARTIAL, tiles=tiles):
                return step(masked, tiles[index], carry)

            carry = lax.fori_loop(starts[outer], starts[outer + 1], body, carry)
        return carry

    def _visits(self, kind: Tile) -> Visits:
        chosen = self.layout == kind
        starts = np.concatenate([[0], np.cumsum(chosen.sum(axis=1))])
        return Visits(starts.astype(np.int32), np.nonzero(chosen)[1].astype(np.int32))


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """All that is static. Outer tiles are of queries forward, of keys backward."""

    forward: Pass
    backward: Pass
    tile: tuple[int, int]  # queries and keys
    terms: Terms


def make_plan(
    pair: tuple[Callable[..., Array], Any, Any],
    call: AttentionCall,
    whole: frozenset[int] = frozenset(),
    apart: frozenset[int] = frozenset(),
) -> Plan:
    """The plan of a call, for the pairwise form of its score with operands, or their shapes.

    Blocks take all rows of the row axes in `whole`, and as few as they can of those in `apart`.
    """
    score, query, key = pair
    mask, dropout = call.mask, call.dropout
    forward_scores, backward_scores = scores_at_a_time()
    *batch, num_queries, num_heads, _ = query.shape
    num_keys, num_kv_heads = key.shape[-3:-1]
    group, rows = num_heads // num_kv_heads, (*batch, num_kv_heads)
    is_dot, devices = isinstance(score, Dot), partitioning_devices()

    def blocks(most_scores: int, tile: tuple[int, int]) -> Blocks:
        # A score that is no product has enough work in one row.
        most = most_scores // (group * tile[0] * tile[1]) if is_dot else 1
        return make_blocks(rows, most, devices, whole, apart)

    # The tiles that a mask leaves are known where positions count from 0.
    structure = mask if call.counted or isinstance(mask, Full) else Mask()
    tile_q, tile_k = _tile(structure, (num_queries, num_keys), group)
    if whole:
        # More rows than fit: fewer queries instead.
        of_block = math.prod(blocks(forward_scores, (tile_q, tile_k)).of_block) // devices
        most = forward_scores // (max(of_block, 1) * group * tile_k)
        tile_q = _even(num_queries, max(min(most, QUERY_TILE // group), 8))
    layout = structure.layout(num_queries, num_keys, (tile_q, tile_k))
    if num_keys % tile_k:
        layout[:, -1] = np.minimum(layout[:, -1], Tile.PARTIAL)
    terms = Terms(
        group=group,
        num_keys=num_keys,
        bias_function=None,
        dropout_without_key=None if dropout is None else dataclasses.replace(dropout, key=None),
        pointwise=pointwise(call.normalizer),
    )
    return Plan(
        forward=Pass(blocks(forward_scores, (tile_q, tile_k)), layout),
        backward=Pass(blocks(backward_scores, (tile_q, tile_k)), layout.T),
        tile=(tile_q, tile_k),
        terms=terms,
    )


def scores_at_a_time() -> tuple[int, int]:
    """The numbers of scores at a time, forward and backward: as many as fit the cache of a core.

    Cores that share a product take more.
    """
    size = cache_bytes() * (SHARED if cores_of_device() > 1 else 1)
    return size // FORWARD_BYTES, size // BACKWARD_BYTES


def _tile(structure: Mask, lengths: tuple[int, int], group: int) -> tuple[int, int]:
    """The queries and keys of a tile: the largest, or smaller ones that are done sooner."""

    def divided(by: tuple[int, int]) -> tuple[int, int]:
        of_group = max(QUERY_TILE // (by[0] * group), 8)
        return _even(lengths[0], of_group), _even(lengths[1], max(KEY_TILE // by[1], 8))

    def time(tile: tuple[int, int], of_score: float) -> float:
        visited = np.count_nonzero(structure.layout(*lengths, tile) != Tile.EMPTY)
        return visited * math.prod(tile) * of_score

    tiles = [(divided((1, 1)), 1.0)]
    if not isinstance(structure, Full) and type(structure) is not Mask:
        shared = cores_of_device() > 1
        tiles += [(divided((q, k)), times[shared]) for q, k, *times in SMALLER_TILES]
    few = [each for each in tiles if math.prod(lengths) <= MOST_TILES * math.prod(each[0])]
    return min(few or tiles[:1], key=lambda each: time(*each))[0]


def _even(length: int, most: int) -> int:
    """The size of the fewest tiles of at most `most`, as even as they can be, a multiple of 8."""
    count = -(-length // most)
    return length if count == 1 else -(-length // (8 * count)) * 8
