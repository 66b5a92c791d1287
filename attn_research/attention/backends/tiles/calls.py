"""Calls of kernels that visit tiles: operands padded to whole tiles, and lists of tiles to visit.

The tiles that the mask leaves are listed for each pass; captured weights are recomputed from the
log-sum-exp of their queries.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.attention.backends.capabilities import (
    cost_of_tiles,
    dot_operand_shapes,
    dot_operands,
    flatten_batch,
    pad_end,
)
from attn_research.attention.backends.recompute_weights import recompute_weights
from attn_research.attention.backends.tiles.passes import Constants, Pass, Plan, Visits
from attn_research.attention.backends.tiles.rules import (
    TileRule,
    TileSize,
    call_positions,
    tile_rule,
)
from attn_research.attention.call import Attended, AttentionCall
from attn_research.attention.masks import Mask, Tile
from attn_research.types import Array, ArrayLike, Bool, Int

LEAST = 16  # rows or columns of a product on tensor cores
MOST_COUNTED = 512  # tiles in a row that an accelerator sorts by comparing each with each

Tiles = Callable[[tuple[int, int], Any, Any], list[TileSize]]


class Kernels(NamedTuple):
    """Kernels of one family, and the sizes of their tiles.

    `attend(plan, query, key, value, constants)` gives context and log-sum-exp. `tiles(lengths,
    query, value)` gives the tile of each pass, `pallas_call(query, value)` the function that calls
    a kernel, or None.
    """

    attend: Callable[..., tuple[Array, Array]]
    tiles: Tiles
    pallas_call: Callable[[Array, Array], Callable[..., Any] | None]


def attend_in_tiles(kernels: Kernels, call: AttentionCall) -> Attended:
    """Attention by kernels that visit tiles; see `api.attend`."""
    operands, value_width = dot_operands(call), call.value.shape[-1]
    query, key, value, scale = operands
    batch, num_heads, rank = call.batch, query.shape[-2], len(call.batch)
    lengths = num_queries, num_keys = query.shape[-3], key.shape[-3]
    positions = call_positions(call.at, batch, num_queries, num_keys)
    rule = tile_rule(call.mask, positions)
    passes, visits, padding = _plan_passes(rule, kernels.tiles(lengths, query, value), lengths)

    def flat(array: ArrayLike, more: int, axis: int = 1) -> Array:
        if math.prod(array.shape[:rank]) not in (1, math.prod(batch)):
            array = jnp.broadcast_to(array, (*batch, *array.shape[rank:]))
        return pad_end(flatten_batch(array, rank), {axis: more})

    words = ()
    if call.dropout is not None:
        drawn = call.dropout.rows((*batch, num_heads, num_queries))
        words = tuple(flat(drawn[..., word], padding[0], 2) for word in (0, 1))
    constants = Constants(
        flat(positions.query, padding[0]),
        flat(positions.key, padding[1]),
        tuple(flat(array, padding[0]) for array in rule.queries),
        tuple(flat(array, padding[1]) for array in rule.keys),
        words,
        *(Visits(*(flat(each, 0) for each in lists)) for lists in visits),
    )
    plan = Plan(
        scale,
        num_keys,
        call.counted,
        rule.allowed,
        None if call.dropout is None else dataclasses.replace(call.dropout, key=None),
        *passes,
        kernels.pallas_call(query, value),
    )
    context, log_sum = kernels.attend(
        plan,
        *(
            pad_end(flat(array, more), {3: power_of_two(array.shape[-1]) - array.shape[-1]})
            for array, more in ((query, padding[0]), (key, padding[1]), (value, padding[1]))
        ),
        constants,
    )
    context = context[:, :num_queries, :, :value_width]
    context = context.reshape(*batch, num_queries, num_heads, value_width)
    if call.capture is None:
        return Attended(context, None)
    log_sum = log_sum[..., :num_queries].reshape(*batch, num_heads, num_queries)
    pair = call.score.pairwise(call.query, call.key)
    return Attended(context, recompute_weights(call, pair, log_sum, jnp.ones_like(log_sum)))


def _plan_passes(
    rule: TileRule, tiles: list[TileSize], lengths: tuple[int, int]
) -> tuple[list[Pass], list[tuple[ArrayLike, ArrayLike]], tuple[int, ...]]:
    """The passes, the lists of tiles that they visit, and the padding of queries and keys."""
    padded = tuple(
        length + -length % math.lcm(*(tile[axis] for tile in tiles))
        for axis, length in enumerate(lengths)
    )
    kinds = {tile: kinds_of(rule, tile, lengths, padded) for tile in set(tiles)}
    found = [
        list_visits(kinds[tile], by_key=by_key)
        for tile, by_key in zip(tiles, (False, False, True), strict=True)
    ]
    passes = [Pass(tile, **order) for tile, (_, order) in zip(tiles, found, strict=True)]
    padding = tuple(most - length for most, length in zip(padded, lengths, strict=True))
    return passes, [lists for lists, _ in found], padding


def cost_in_tiles(tiles_of: Tiles, call: AttentionCall) -> tuple[int, int]:
    """FLOPs of the products and exponentials of the tiles visited, and bytes they read and write.

    Tiles that only the arrays of a mask would empty are counted.
    """
    query, key, _ = dot_operand_shapes(call)
    lengths = call.lengths[0], key.shape[-3]
    tile, *_ = tiles_of(lengths, query, call.value)
    layout = (call.mask if call.counted else Mask()).layout(*lengths, tile)
    per_score = 2 * (query.shape[-1] + call.value.shape[-1]) + 4
    return cost_of_tiles(query, call.value, layout, tile, per_score)


def missing_tile_rule(call: AttentionCall) -> str | None:
    """The reason why a mask has no rule by tile, or None where it has one."""

    def arrays_of_keys(call: AttentionCall) -> tuple:
        return tile_rule(call.mask, call_positions(call.at, call.batch, *call.lengths)).keys

    try:
        call.abstract(arrays_of_keys)
    except NotImplementedError as refusal:
        return str(refusal)
    return None


def kinds_of(
    rule: TileRule, tile: TileSize, lengths: tuple[int, int], padded: tuple[int, int]
) -> Int[ArrayLike, "*#B rows cols"]:
    """A `Tile` for each tile of the call; none with keys that are padding is full."""
    kinds = rule.kinds(tile)
    xp = np if isinstance(kinds, np.ndarray) else jnp
    rows, cols = (-(-length // size) for length, size in zip(lengths, tile, strict=True))
    kinds = xp.broadcast_to(kinds, (*kinds.shape[:-2], rows, cols))
    most = np.full((1,) * (kinds.ndim - 1) + (cols,), Tile.FULL, np.int8)
    most[..., -1] = Tile.PARTIAL if lengths[1] % tile[1] else Tile.FULL
    more = (size // each - n for size, each, n in zip(padded, tile, (rows, cols), strict=True))
    around = [(0, 0)] * (kinds.ndim - 2) + [(0, n) for n in more]
    return xp.pad(xp.minimum(kinds, most), around, constant_values=Tile.EMPTY)


def list_visits(
    kinds: Int[ArrayLike, "*#B rows cols"], *, by_key: bool
) -> tuple[tuple[ArrayLike, ArrayLike], dict[str, Any]]:
    """The arrays of `Visits`, and the fields of a `Pass` that give the order of its tiles.

    Where arrays decide, lists are as long as there are inner tiles, else as the longest needed.
    """
    kinds = kinds.swapaxes(-1, -2) if by_key else kinds
    if not isinstance(kinds, np.ndarray):
        # Nothing reads where runs begin, for there are none.
        least = jnp.asarray([Tile.FULL, Tile.PARTIAL, Tile.FULL + 1, Tile.FULL + 1], jnp.int8)
        least = least.reshape(*(1,) * (kinds.ndim - 1), 4, 1)
        spans = (kinds[..., None, :] >= least).sum(axis=-1, dtype=jnp.int32)
        return (_sort_by_kind(kinds), spans), {"full": "list", "partial": "list", "visited": None}
    tiles = np.argsort(-kinds, axis=-1, stable=True).astype(np.int32)
    full, every = ((kinds >= kind).sum(axis=-1) for kind in (Tile.FULL, Tile.PARTIAL))
    first_partial = np.minimum(full, kinds.shape[-1] - 1)[..., None]
    first_partial = np.take_along_axis(tiles, first_partial, axis=-1)[..., 0]
    spans = np.stack([full, every, tiles[..., 0], first_partial], axis=-1).astype(np.int32)
    order = {"full": _order(kinds == Tile.FULL), "partial": _order(kinds == Tile.PARTIAL)}
    most = every.max() if "list" in order.values() else 1
    # Of a mask that differs between batch elements, the most.
    visited = tuple(every.reshape(-1, every.shape[-1]).max(axis=0).tolist())
    return (tiles[..., :most], spans), order | {"visited": visited}


def _sort_by_kind(kinds: Int[Array, "*#B outer inner"]) -> Int[Array, "*#B outer inner"]:
    """Inner tiles by kind, then by number."""
    # An accelerator takes longer to sort a few than to count.
    if (number := kinds.shape[-1]) > MOST_COUNTED or jax.default_backend() == "cpu":
        # One number for both: an argsort moves two, and takes several times as long.
        columns = jax.lax.broadcasted_iota(jnp.int32, kinds.shape, kinds.ndim - 1)
        keys = (Tile.FULL.value - kinds.astype(jnp.int32)) * number + columns
        return jnp.sort(keys, axis=-1) % number
    square = (1,) * (kinds.ndim - 1) + (kinds.shape[-1],) * 2
    down, right = (jax.lax.broadcasted_iota(jnp.int32, square, kinds.ndim - n) for n in (1, 0))
    mine, other = kinds[..., :, None], kinds[..., None, :]
    before = (other > mine) | ((other == mine) & (right < down))
    rank = before.sum(axis=-1, dtype=jnp.int32)
    return jnp.where(rank[..., None, :] == down, right, 0).sum(axis=-1)


def _order(chosen: Bool[np.ndarray, "*#B outer inner"]) -> Literal["run", "list"] | None:
    """The order of the chosen inner tiles: one run in every outer tile, or a list."""
    if not chosen.any():
        return None
    begins = np.diff(chosen.astype(np.int8), axis=-1, prepend=0) == 1
    return "run" if begins.sum(axis=-1).max() == 1 else "list"


def power_of_two(width: int) -> int:
    """The power of two that a width is padded to."""
    return max(LEAST, 1 << (width - 1).bit_length())
