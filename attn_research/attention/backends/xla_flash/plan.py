"""The tiles of scores that each pass visits, and the blocks of rows that it takes at a time."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from attn_research.attention.backends.xla_flash import tiling
from attn_research.attention.backends.xla_flash.cache import cache_bytes, cores_of_device
from attn_research.attention.backends.xla_flash.rows import (
    Blocks,
    make_blocks,
    partitioning_devices,
)
from attn_research.attention.backends.xla_flash.run_time import (
    RunTimeVisits,
    decided_at_run_time,
)
from attn_research.attention.backends.xla_flash.terms import Terms
from attn_research.attention.call import AttentionCall
from attn_research.attention.masks import Full, Mask, Tile
from attn_research.attention.normalizers import pointwise
from attn_research.attention.scores import Dot
from attn_research.types import Array, Int, PyTree

# Bytes of cache for each score at a time: forward a score or its weight, backward two arrays.
FORWARD_BYTES, BACKWARD_BYTES = 4, 8
SHARED = 4  # times as many scores where several cores share them


class Visits(NamedTuple):
    """Inner tiles by steps; outer tile i has the steps from starts[i] to starts[i + 1].

    A step takes `count` tiles. One numbered past the last tile stands for none.
    """

    starts: Int[np.ndarray, "outer_1"]
    tiles: Int[np.ndarray, "steps count"]


@dataclasses.dataclass(frozen=True, eq=False)
class Pass:
    """The rows that a pass takes at a time, and the tiles that it visits, `count` in a step."""

    blocks: Blocks
    layout: Int[np.ndarray, "outer inner"]
    count: int

    def visit(
        self,
        outer: Array,
        step: Callable[[bool, Array, PyTree], PyTree],
        carry: PyTree,
        found: RunTimeVisits | None = None,
    ):
        """Folds `step(masked, inner, carry)` over the tiles that an outer one visits.

        Those of the layout, or the ones that were found at run time; first the full ones.
        """
        if found is not None:
            return found.visit(outer, step, carry, self.count)
        for masked in (False, True):
            starts, tiles = map(jnp.asarray, self._visits(masked=masked))
            if not tiles.size:
                continue

            def body(index: Array, carry: PyTree, masked=masked, tiles=tiles):
                return step(masked, tiles[index], carry)

            carry = lax.fori_loop(starts[outer], starts[outer + 1], body, carry)
        return carry

    def _visits(self, *, masked: bool) -> Visits:
        """Steps of full tiles alone, or with `masked` of all others."""
        outer, inner = np.nonzero(self.layout)
        order = np.lexsort((inner, -self.layout[outer, inner], outer))  # the full ones first
        outer, inner = outer[order], inner[order]
        full, every = ((self.layout >= kind).sum(axis=1) for kind in (Tile.FULL, Tile.PARTIAL))
        unmasked = full // self.count
        number = np.arange(outer.size) - (np.cumsum(every) - every)[outer]  # within its outer tile
        number -= masked * (unmasked * self.count)[outer]
        steps = -(-every // self.count) - unmasked if masked else unmasked
        starts = np.concatenate([[0], np.cumsum(steps)])
        chosen = (number >= 0) & (number < (steps * self.count)[outer])
        tiles = np.full(starts[-1] * self.count, self.layout.shape[1])
        tiles[(starts[outer] * self.count + number)[chosen]] = inner[chosen]
        tiles = tiles.reshape(-1, self.count)
        return Visits(starts.astype(np.int32), tiles.astype(np.int32))


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """All that is static. Outer tiles are of queries forward, of keys backward."""

    forward: Pass
    backward: Pass
    tiling: tiling.Tiling
    terms: Terms

    @property
    def tile(self) -> tuple[int, int]:
        """The queries and keys of a tile."""
        return self.tiling.tile


def make_plan(
    pair: tuple[Callable[..., Array], Any, Any],
    call: AttentionCall,
    whole: frozenset[int] = frozenset(),
    apart: frozenset[int] = frozenset(),
    chosen: tiling.Tiling | None = None,
) -> Plan:
    """The plan of a call, for the pairwise form of its score with operands, or their shapes.

    Blocks take all rows of the row axes in `whole`, and as few as they can of those in `apart`.
    Tiles are `chosen`, or chosen here.
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
    # Those that arrays decide are found at run time: tiles are chosen for a mask like it.
    like = structure.typical() if decided_at_run_time(call) else structure
    lengths = num_queries, num_keys
    chosen = chosen or tiling.choose_tiling(like, lengths, group, together=not whole)
    tile_q, tile_k = chosen.tile
    if whole:
        # More rows than fit: fewer queries instead.
        of_block = math.prod(blocks(forward_scores, (tile_q, tile_k)).of_block) // devices
        most = forward_scores // (max(of_block, 1) * group * tile_k)
        tile_q = tiling.even(num_queries, max(min(most, tile_q), 8))
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
    forward, backward = (tile_q, chosen.of_keys * tile_k), (chosen.of_queries * tile_q, tile_k)
    return Plan(
        forward=Pass(blocks(forward_scores, forward), layout, chosen.of_keys),
        backward=Pass(blocks(backward_scores, backward), layout.T, chosen.of_queries),
        tiling=chosen._replace(tile=(tile_q, tile_k)),
        terms=terms,
    )


def scores_at_a_time() -> tuple[int, int]:
    """The numbers of scores at a time, forward and backward: as many as fit the cache of a core.

    Cores that share a product take more.
    """
    size = cache_bytes() * (SHARED if cores_of_device() > 1 else 1)
    return size // FORWARD_BYTES, size // BACKWARD_BYTES
