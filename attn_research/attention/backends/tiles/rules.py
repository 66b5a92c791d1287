"""Masks by tile, for kernels: arrays linear in length, loaded a tile at a time, and a rule of them.

A mask without arrays is evaluated at the positions of a tile as it is. One with arrays registers
the arrays that it has for queries and for keys, and a rule over the two; `& | ~` join the rules of
their parts. Whether a tile is empty, full or partial is known beforehand from structure, or at run
time where arrays decide it.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.attention import array_masks, masks
from attn_research.attention.masks import Mask, Tile
from attn_research.attention.positions import Positions
from attn_research.types import Array, ArrayLike, Int, Shaped

TileSize = tuple[int, int]  # queries and keys


class CallPositions(NamedTuple):
    """The positions of all queries and keys of a call; `counted` where all count from 0."""

    query: Int[ArrayLike, "*#B T"]
    key: Int[ArrayLike, "*#B S"]
    counted: bool


class TileRule(NamedTuple):
    """A mask by tile.

    `allowed(q_pos, k_pos, queries, keys)` takes positions and arrays of a tile, those of queries
    along one axis and those of keys along the other, and closes over no array. `kinds(tile)` gives
    a `Tile` for each tile of the call, [*#B, rows, cols], as `Mask.layout` does.
    """

    queries: tuple[Shaped[Array, "*#B T"], ...]
    keys: tuple[Shaped[Array, "*#B S"], ...]
    allowed: Callable[..., Array]
    kinds: Callable[[TileSize], Int[ArrayLike, "*#B rows cols"]]


def call_positions(
    positions: Positions, batch: tuple[int, ...], num_queries: int, num_keys: int
) -> CallPositions:
    """Positions with all batch axes, which are one where batch elements agree."""
    query, key = (
        np.arange(length, dtype=np.int32) if given is None else given[..., :length]
        for given, length in ((positions.query, num_queries), (positions.key, num_keys))
    )
    query, key = (
        pos.reshape((1,) * (len(batch) + 1 - pos.ndim) + pos.shape) for pos in (query, key)
    )
    return CallPositions(query, key, positions.counted)


@functools.singledispatch
def tile_rule(mask: Mask, at: CallPositions) -> TileRule:
    """The rule of a mask for a call.

    Raises NotImplementedError, with the reason, for a mask with arrays that it did not register.
    """
    name = type(mask).__name__
    if jax.tree.leaves(mask):
        raise NotImplementedError(f"the mask {name} has arrays, and no rule by tile: register one")
    tile = np.zeros((16, 1), np.int32), np.zeros((1, 16), np.int32)
    if any(np.ndim(constant) for constant in jax.make_jaxpr(mask)(*tile).consts):
        raise NotImplementedError(f"the mask {name} looks up a table, and no kernel holds one")
    kinds = _kinds_of(mask if at.counted else Mask(), at)
    return TileRule((), (), lambda q_pos, k_pos, queries, keys: mask(q_pos, k_pos), kinds)


@tile_rule.register(masks.Full)
def _full(mask: masks.Full, at: CallPositions) -> TileRule:
    # The mask itself returns a constant array, and kernels hold none.
    kinds = _kinds_of(mask, at)
    return TileRule((), (), lambda q_pos, k_pos, queries, keys: q_pos == q_pos, kinds)


@tile_rule.register(array_masks.Around)
def _around(mask: array_masks.Around, at: CallPositions) -> TileRule:
    # Half precision has no room for positions past 256.
    center = jnp.asarray(mask.center, jnp.float32)

    def allowed(q_pos: ArrayLike, k_pos: ArrayLike, queries: tuple, keys: tuple) -> ArrayLike:
        return jnp.abs(k_pos.astype(jnp.float32) - queries[0]) <= mask.half_width

    def kinds(tile: TileSize) -> Int[Array, "*#B rows cols"]:
        low, high = (each[..., :, None] for each in bounds_of_tiles(center, tile[0]))
        k_pos = jnp.asarray(at.key, jnp.float32)
        first, last = (each[..., None, :] for each in bounds_of_tiles(k_pos, tile[1]))
        # A position to spare on either side, for the rounding of differences.
        wide, narrow = mask.half_width + 1, mask.half_width - 1
        some = (low - wide <= last) & (first <= high + wide)
        every = (high - narrow <= first) & (last <= low + narrow)
        return to_kind(some, every)

    return TileRule((center,), (), allowed, kinds)


@tile_rule.register(array_masks.Padding)
def _padding(mask: array_masks.Padding, at: CallPositions) -> TileRule:
    valid = entries_at(mask.valid, at.key, at, absent=False)

    def kinds(tile: TileSize) -> Int[Array, "*#B 1 cols"]:
        every, some = bounds_of_tiles(valid, tile[1])
        return to_kind(some, every)[..., None, :]

    return TileRule((), (valid,), lambda q_pos, k_pos, queries, keys: keys[0], kinds)


@tile_rule.register(array_masks.Segments)
def _segments(mask: array_masks.Segments, at: CallPositions) -> TileRule:
    q_ids = entries_at(mask.q_ids, at.query, at, absent=-1)
    k_ids = entries_at(mask.k_ids, at.key, at, absent=-2)

    def kinds(tile: TileSize) -> Int[Array, "*#B rows cols"]:
        q_low, q_high = (each[..., :, None] for each in bounds_of_tiles(q_ids, tile[0]))
        k_low, k_high = (each[..., None, :] for each in bounds_of_tiles(k_ids, tile[1]))
        some = (q_low <= k_high) & (k_low <= q_high)
        return to_kind(some, (q_low == k_high) & (k_low == q_high))

    return TileRule(
        (q_ids,), (k_ids,), lambda q_pos, k_pos, queries, keys: queries[0] == keys[0], kinds
    )


@tile_rule.register(masks.And)
def _and(mask: masks.And, at: CallPositions) -> TileRule:
    return _joined(mask, at, lambda a, b: a & b, lambda xp: xp.minimum)


@tile_rule.register(masks.Or)
def _or(mask: masks.Or, at: CallPositions) -> TileRule:
    return _joined(mask, at, lambda a, b: a | b, lambda xp: xp.maximum)


@tile_rule.register(masks.Not)
def _not(mask: masks.Not, at: CallPositions) -> TileRule:
    inner = tile_rule(mask.a, at)
    return inner._replace(
        allowed=lambda *tile: ~inner.allowed(*tile),
        kinds=lambda tile: np.int8(Tile.FULL) - inner.kinds(tile),
    )


def _joined(
    mask: masks.And | masks.Or,
    at: CallPositions,
    join: Callable[[ArrayLike, ArrayLike], ArrayLike],
    of_kinds: Callable[..., Callable[[ArrayLike, ArrayLike], ArrayLike]],
) -> TileRule:
    a, b = tile_rule(mask.a, at), tile_rule(mask.b, at)
    of_queries, of_keys = len(a.queries), len(a.keys)

    def allowed(q_pos: ArrayLike, k_pos: ArrayLike, queries: tuple, keys: tuple) -> ArrayLike:
        return join(
            a.allowed(q_pos, k_pos, queries[:of_queries], keys[:of_keys]),
            b.allowed(q_pos, k_pos, queries[of_queries:], keys[of_keys:]),
        )

    def kinds(tile: TileSize) -> Int[ArrayLike, "*#B rows cols"]:
        both = a.kinds(tile), b.kinds(tile)
        static = all(isinstance(each, np.ndarray) for each in both)
        return of_kinds(np if static else jnp)(*both)

    return TileRule(a.queries + b.queries, a.keys + b.keys, allowed, kinds)


def _kinds_of(
    mask: Mask, at: CallPositions
) -> Callable[[TileSize], Int[np.ndarray, "*#B rows cols"]]:
    """The kinds of tiles that are known from structure alone."""

    def kinds(tile: TileSize) -> Int[np.ndarray, "*#B rows cols"]:
        layout = mask.layout(at.query.shape[-1], at.key.shape[-1], tile)
        return layout.reshape((1,) * (at.query.ndim - 1) + layout.shape)

    return kinds


def entries_at(
    array: Shaped[Array, "*B length"], pos: Int[ArrayLike, "*#B T"], at: CallPositions, absent: int
) -> Shaped[Array, "*B T"]:
    """The entries at positions, without an indexed load where those count from 0."""
    if at.counted and pos.shape[-1] <= array.shape[-1]:
        return jnp.asarray(array)[..., : pos.shape[-1]]
    return array_masks.at_positions(array, pos, axis=-1, absent=absent)


def bounds_of_tiles(array: Shaped[Array, "*#B T"], size: int) -> tuple[Array, Array]:
    """The least and the greatest of each tile of `size`, of booleans all and any."""
    more = -array.shape[-1] % size
    array = jnp.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, more)], mode="edge")
    tiles = array.reshape(*array.shape[:-1], -1, size)
    return tiles.min(axis=-1), tiles.max(axis=-1)


def to_kind(some: Array, every: Array) -> Int[Array, "..."]:
    return some.astype(jnp.int8) + (some & every).astype(jnp.int8)
