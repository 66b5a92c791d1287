"""Tiles that arrays of a mask empty or fill, known at run time alone.

The layout of a mask with arrays is PARTIAL wherever these decide, as where global tokens or padding
differ between texts, or random blocks between heads. Its rule by tile gives the kinds when the
arrays are there; a block of rows then visits the tiles that some of its rows need.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from attn_research.attention.backends.tiles.calls import kinds_of, list_visits
from attn_research.attention.backends.tiles.rules import call_positions, tile_rule
from attn_research.attention.backends.xla_flash.rows import partitioning_devices
from attn_research.attention.call import AttentionCall
from attn_research.attention.layouts import Tile
from attn_research.types import Array, Int, PyTree

LEAST_TILES = 16  # fewer are visited by the layout: the lists take as long


class RunTimeVisits(NamedTuple):
    """Inner tiles of each outer one, the full ones first; the number of those, and of all."""

    tiles: Int[Array, "outer inner"]
    counts: Int[Array, "outer 2"]

    def visit(
        self, outer: Array, step: Callable[[bool, Array, PyTree], PyTree], carry: PyTree, count: int
    ) -> PyTree:
        """Folds `step(masked, inner, carry)` over the tiles of an outer one, `count` at a time."""
        inner = self.tiles.shape[-1]
        tiles, (full, every) = self.tiles[outer], self.counts[outer]
        tiles = jnp.where(jnp.arange(inner, dtype=jnp.int32) < every, tiles, inner)
        tiles = jnp.pad(tiles, (0, -inner % count), constant_values=inner)
        for masked, start, stop in ((False, 0, full // count), (True, full // count, every)):

            def body(number: Array, carry: PyTree, masked=masked) -> PyTree:
                return step(masked, lax.dynamic_slice(tiles, (number * count,), (count,)), carry)

            carry = lax.fori_loop(start, -(-stop // count) if masked else stop, body, carry)
        return carry


def decided_at_run_time(call: AttentionCall) -> bool:
    """Whether the arrays of a mask, if it has any, decide which tiles are visited."""
    # Partitioned programs would have to agree on the tiles that all visit.
    return call.counted and partitioning_devices() == 1


def find_kinds(
    call: AttentionCall, tile: tuple[int, int], lengths: tuple[int, int], *, always: bool = False
) -> Int[Array | np.ndarray, "*#B rows cols"] | None:
    """A `Tile` for each tile of a call, by its arrays; None where the layout says as much.

    `lengths` are those of the queries and of the keys that have scores. With `always` also where
    there are few tiles, or no arrays.
    """
    tiles = math.prod(-(-n // size) for n, size in zip(lengths, tile, strict=True))
    few = not jax.tree.leaves(call.mask) or tiles < LEAST_TILES
    if (few and not always) or not decided_at_run_time(call):
        return None
    try:
        rule = tile_rule(call.mask, call_positions(call.at, call.batch, *lengths))
    except NotImplementedError:  # no rule: PARTIAL is always true
        return None
    padded = tuple(n + -n % size for n, size in zip(lengths, tile, strict=True))
    return kinds_of(rule, tile, lengths, padded)


def visits_of_block(kinds: Any, *, by_key: bool) -> RunTimeVisits | None:
    """The visits of a block of rows, of the kinds of its rows; None of None."""
    if kinds is None:
        return None
    rows = tuple(range(kinds.ndim - 2))
    least, most = kinds.min(rows), kinds.max(rows)
    kinds = jnp.where(least == most, least, jnp.int8(Tile.PARTIAL))
    (tiles, spans), _ = list_visits(kinds, by_key=by_key)
    return RunTimeVisits(tiles, spans[..., :2])
