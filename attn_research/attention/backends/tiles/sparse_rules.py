"""Masks by tile, of sparse attention: global tokens, random blocks, and masks by head or layer.

The index of a head or layer, and the random blocks of a query, are arrays of the queries, so that
kernels load them with the tile and need no table.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from attn_research.attention import array_masks, random_blocks, varied_masks
from attn_research.attention.backends.tiles.rules import (
    CallPositions,
    TileRule,
    TileSize,
    bounds_of_tiles,
    entries_at,
    tile_rule,
    to_kind,
)
from attn_research.attention.layouts import Tile
from attn_research.types import Array, ArrayLike, Int, Shaped


@tile_rule.register(array_masks.GlobalTokens)
def _global_tokens(mask: array_masks.GlobalTokens, at: CallPositions) -> TileRule:
    queries = entries_at(mask.query, at.query, at, absent=False)
    keys = entries_at(mask.key, at.key, at, absent=False)

    def kinds(tile: TileSize) -> Int[Array, "*#B rows cols"]:
        (every_q, some_q), (every_k, some_k) = (
            bounds_of_tiles(tokens, size)
            for tokens, size in zip((queries, keys), tile, strict=True)
        )
        return jnp.maximum(
            to_kind(some_q, every_q)[..., :, None], to_kind(some_k, every_k)[..., None, :]
        )

    return TileRule(
        (queries,), (keys,), lambda q_pos, k_pos, queries, keys: queries[0] | keys[0], kinds
    )


@tile_rule.register(random_blocks.RandomBlocks)
def _random_blocks(mask: random_blocks.RandomBlocks, at: CallPositions) -> TileRule:
    drawn = mask.chosen(at.query[..., None, :, None] // mask.block)
    heads = 1 if mask.num_heads is None else mask.num_heads
    if heads > 1:
        raise NotImplementedError("the mask RandomBlocks differs by head: take one at a time")
    queries = tuple(each[..., 0, :, 0] for each in drawn)

    def allowed(q_pos: ArrayLike, k_pos: ArrayLike, queries: tuple, keys: tuple) -> ArrayLike:
        block = k_pos // mask.block
        found = (block < 0) & (q_pos < 0)
        for chosen in queries:
            found = found | ((block == chosen) & (block >= 0))
        return found

    def kinds(tile: TileSize) -> Int[ArrayLike, "*#B rows cols"]:
        lengths = at.query.shape[-1], at.key.shape[-1]
        if at.counted:
            return _with_batch_axes(mask.kinds(lengths, tile), at)
        return unknown_kinds(at, tile)

    return TileRule(queries, (), allowed, kinds)


@tile_rule.register(varied_masks.ByHead)
@tile_rule.register(varied_masks.ByLayer)
def _choice(mask: varied_masks.Choice, at: CallPositions) -> TileRule:
    rules = [tile_rule(each, at) for each in mask.masks]
    if mask.index is None:
        raise NotImplementedError("the mask ByHead differs by head: take one at a time")
    index = mask.index
    zeros = np.zeros((1,) * np.ndim(index) + at.query.shape[-1:], np.int32)
    of_query = index[..., None].astype(np.int32) + zeros

    def allowed(q_pos: ArrayLike, k_pos: ArrayLike, queries: tuple, keys: tuple) -> ArrayLike:
        chosen, *queries = queries
        found = None
        for number, rule in enumerate(rules):
            of_rule = _take(queries, rule.queries), _take(keys, rule.keys)
            queries, keys = queries[len(rule.queries) :], keys[len(rule.keys) :]
            this = (chosen == number) & rule.allowed(q_pos, k_pos, *of_rule)
            found = this if found is None else found | this
        return found

    def kinds(tile: TileSize) -> Int[ArrayLike, "*#B rows cols"]:
        of_rules = [rule.kinds(tile) for rule in rules]
        static = all(isinstance(each, np.ndarray) for each in (index, *of_rules))
        xp = np if static else jnp
        found = xp.zeros((), np.int8)
        for number, of_rule in enumerate(of_rules):
            found = found + xp.where(index[..., None, None] == number, of_rule, np.int8(Tile.EMPTY))
        return found.astype(np.int8)

    queries = tuple(array for rule in rules for array in rule.queries)
    keys = tuple(array for rule in rules for array in rule.keys)
    return TileRule((of_query, *queries), keys, allowed, kinds)


def _take(arrays: Sequence, like: tuple) -> tuple[Shaped[ArrayLike, "..."], ...]:
    return tuple(arrays[: len(like)])


def unknown_kinds(at: CallPositions, tile: TileSize) -> Int[np.ndarray, "*ones rows cols"]:
    """PARTIAL for every tile."""
    rows, columns = (
        -(-pos.shape[-1] // size) for pos, size in zip((at.query, at.key), tile, strict=True)
    )
    return np.full((1,) * (at.query.ndim - 1) + (rows, columns), Tile.PARTIAL, np.int8)


def _with_batch_axes(kinds: Int[ArrayLike, "*B rows cols"], at: CallPositions) -> ArrayLike:
    return kinds.reshape((1,) * (at.query.ndim + 1 - kinds.ndim) + kinds.shape)
