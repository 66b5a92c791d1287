"""Which tiles of the scores are visited, and how many rows of heads go through them at a time."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from attn_research.attention.backends.xla_flash.terms import Terms
from attn_research.attention.masks import Full, Mask, Positions, Tile
from attn_research.attention.normalizers import Dropout
from attn_research.attention.scores import Dot
from attn_research.types import Array, Int, PyTree

# Chosen by measurement on two cores with 2 MiB of cache each; tests make tiles smaller.
QUERY_TILE = 512  # rows of a product: queries times the query heads of a key head
KEY_TILE = 256
FORWARD_SCORES, BACKWARD_SCORES = 2**19, 2**18  # at a time


class Visits(NamedTuple):
    """Inner tiles of one kind; outer tile i has those from starts[i] to starts[i + 1]."""

    starts: Int[np.ndarray, "outer_1"]
    tiles: Int[np.ndarray, "visits"]


@dataclasses.dataclass(frozen=True, eq=False)
class Pass:
    """How one pass goes over the scores: rows at a time, and what is visited."""

    rows: int
    layout: Int[np.ndarray, "outer inner"]

    def visit(self, outer: Array, look: Callable[[bool, Array, PyTree], PyTree], carry: PyTree):
        """Folds `look(masked, inner, carry)` over the tiles that an outer one leaves to visit."""
        for kind in (Tile.FULL, Tile.PARTIAL):
            starts, tiles = map(jnp.asarray, self._visits(kind))
            if not tiles.size:
                continue

            def step(place: Array, carry: PyTree, masked=kind == Tile.PARTIAL, tiles=tiles):
                return look(masked, tiles[place], carry)

            carry = lax.fori_loop(starts[outer], starts[outer + 1], step, carry)
        return carry

    def _visits(self, kind: Tile) -> Visits:
        chosen = self.layout == kind
        starts = np.concatenate([[0], np.cumsum(chosen.sum(axis=1))])
        return Visits(starts.astype(np.int32), np.nonzero(chosen)[1].astype(np.int32))


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """All that is static. The outer tiles are of queries in the forward pass, else of keys."""

    forward: Pass
    backward: Pass
    tile: tuple[int, int]  # queries and keys
    terms: Terms


def make_plan(
    query: Any,
    key: Any,
    score: Callable[..., Array],
    mask: Mask,
    positions: Positions,
    dropout: Dropout | None,
) -> Plan:
    """Tiles and how many rows go through them at a time, for the operands of a pairwise score."""
    *batch, num_queries, num_heads, _ = query.shape
    num_keys, num_kv_heads = key.shape[-3:-1]
    group, rows = num_heads // num_kv_heads, math.prod(batch) * num_kv_heads
    tile_q, tile_k = max(QUERY_TILE // group, 8), KEY_TILE
    is_dot = isinstance(score, Dot)
    tile_q, tile_k = _even(num_queries, tile_q), _even(num_keys, tile_k)
    # What a mask leaves of tiles is known of positions that count from 0.
    structure = mask if positions.counted or isinstance(mask, Full) else Mask()
    layout = structure.layout(num_queries, num_keys, (tile_q, tile_k))
    if num_keys % tile_k:
        layout[:, -1] = np.minimum(layout[:, -1], Tile.PARTIAL)

    def at_once(most_scores: int) -> int:
        # A score that is no product has work enough in one row.
        most = most_scores // (group * tile_q * tile_k) if is_dot else 1
        return max((n for n in range(1, min(rows, most) + 1) if rows % n == 0), default=1)

    terms = Terms(
        batch=tuple(batch),
        group=group,
        num_kv_heads=num_kv_heads,
        num_keys=num_keys,
        bias_function=None,
        dropped=None if dropout is None else dataclasses.replace(dropout, key=None),
    )
    return Plan(
        forward=Pass(at_once(FORWARD_SCORES), layout),
        backward=Pass(at_once(BACKWARD_SCORES), layout.T),
        tile=(tile_q, tile_k),
        terms=terms,
    )


def _even(length: int, most: int) -> int:
    """The size of the fewest tiles of at most `most`, as even as they can be, a multiple of 8."""
    count = -(-length // most)
    return length if count == 1 else -(-length // (8 * count)) * 8
