"""What kernels for GPUs are called with: operands in whole tiles, and lists of those to visit.

Arrays are padded to whole tiles, the tiles that the mask leaves are listed for each pass, and
captured weights are computed from the log-sum-exp of their queries.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.attention.backends.capabilities import cost_of_tiles, padded, products
from attn_research.attention.backends.recompute_weights import rebuilt_weights
from attn_research.attention.backends.reference import Attended, Capture
from attn_research.attention.backends.tiles import passes as pallas_tiles
from attn_research.attention.backends.tiles.rules import TileRule, TileSize, ask, tile_rule
from attn_research.attention.masks import Mask, Positions, Tile
from attn_research.attention.normalizers import Dropout
from attn_research.types import Array, ArrayLike, Bool, Float, Int

LEAST = 16  # of a product on tensor cores
MOST_COUNTED = 512  # tiles in a row that are put in order by comparing each with each


def attend_by_tiles(
    kernels: Callable[..., tuple[Array, Array]],
    call_of: Callable[[Array, Array], Callable[..., Any]],
    tiles_of: Callable[[tuple[int, int], Array, Array], list[TileSize]],
    query: Float[Array, "*B T N H"],
    key: Float[Array, "*B S K Hk"],
    value: Float[Array, "*B S K Hv"],
    *,
    score: Callable[..., Array],
    mask: Mask,
    bias: None,
    normalizer: Callable[..., Array],
    dropout: Dropout | None,
    positions: Positions | None,
    capture: Literal["all"] | Capture | None,
) -> Attended:
    """The reference, by `kernels(plan, query, key, value, given)`; see `api.attend`.

    Of queries and values, `call_of` gives what Pallas calls them with, and `tiles_of`, of lengths
    too, the tile of each pass.
    """
    positions = positions or Positions()
    num_keys, value_width = key.shape[-3], value.shape[-1]
    pair = products(score, query, key, value)
    *batch, num_queries, num_heads, _ = pair.query.shape
    most_keys = pair.key.shape[-3]
    asked = ask(positions, tuple(batch), num_queries, most_keys)
    rule = tile_rule(mask, asked)

    lengths = num_queries, most_keys
    tiles = tiles_of(lengths, pair.query, pair.value)
    whole = tuple(
        length + -length % math.lcm(*(tile[axis] for tile in tiles))
        for axis, length in enumerate(lengths)
    )
    more_q, more_k = (most - length for most, length in zip(whole, lengths, strict=True))
    kinds = {tile: kinds_of(rule, tile, lengths, whole) for tile in set(tiles)}
    visits = [
        list_visits(kinds[tile], by_key)
        for tile, by_key in zip(tiles, (False, False, True), strict=True)
    ]
    passes = [pallas_tiles.Pass(tile, **lie) for tile, (_, lie) in zip(tiles, visits, strict=True)]

    def flat(array: ArrayLike, more: int, axis: int = 1) -> Array:
        """All batch axes as one, and padding to whole tiles along an axis."""
        array = jnp.asarray(array)
        leading = math.prod(array.shape[: len(batch)])
        array = array.reshape(leading, *array.shape[len(batch) :])
        return padded(array, {axis: more})

    words = ()
    if dropout is not None:
        drawn = dropout.rows((*batch, num_heads, num_queries))
        words = tuple(flat(drawn[..., word], more_q, 2) for word in (0, 1))
    given = pallas_tiles.Given(
        flat(asked.query, more_q),
        flat(asked.key, more_k),
        tuple(flat(array, more_q) for array in rule.queries),
        tuple(flat(array, more_k) for array in rule.keys),
        words,
        *(pallas_tiles.Visits(*(flat(each, 0) for each in lists)) for lists, _ in visits),
    )
    plan = pallas_tiles.Plan(
        pair.scale,
        most_keys,
        positions.counted,
        rule.allowed,
        None if dropout is None else dataclasses.replace(dropout, key=None),
        *passes,
        call_of(pair.query, pair.value),
    )
    context, log_sum = kernels(
        plan,
        *(
            padded(flat(array, more), {3: power(array.shape[-1]) - array.shape[-1]})
            for array, more in ((pair.query, more_q), (pair.key, more_k), (pair.value, more_k))
        ),
        given,
    )
    context = context[:, :num_queries, :, :value_width]
    context = context.reshape(*batch, num_queries, num_heads, value_width)
    weights = None
    if capture is not None:
        log_sum = log_sum[..., :num_queries].reshape(*batch, num_heads, num_queries)
        weights = rebuilt_weights(
            *score.pairwise(query, key), log_sum, mask, None, normalizer, positions, capture
        )
        weights = padded(weights, {weights.ndim - 1: num_keys - most_keys})
    return Attended(context, weights)


def cost_by_tiles(
    tiles_of: Callable[[tuple[int, int], Any, Any], list[TileSize]],
    query: Any,
    key: Any,
    value: Any,
    *,
    score: Callable[..., Array],
    mask: Mask,
    positions: Positions | None,
    **others: Any,
) -> tuple[int, int]:
    """FLOPs of the products and exponentials of the tiles visited, and bytes they read and write.

    Tiles that only the arrays of a mask would empty are counted.
    """
    pair = jax.eval_shape(lambda *a: products(*a)[:3], score, query, key, value)
    lengths = query.shape[-3], pair[1].shape[-3]
    tile, *_ = tiles_of(lengths, pair[0], value)
    counted = positions is None or positions.counted
    layout = (mask if counted else Mask()).layout(*lengths, tile)
    per_score = 2 * (pair[0].shape[-1] + value.shape[-1]) + 4
    return cost_of_tiles(pair[0], value, layout, tile, per_score)


def no_tile_rule(
    mask: Mask, positions: Positions | None, batch: tuple[int, ...], num_queries: int, num_keys: int
) -> str | None:
    """Why a mask has no rule by tile, or None where it has one."""
    sizes = batch, num_queries, num_keys
    try:
        jax.eval_shape(
            lambda mask, positions: tile_rule(mask, ask(positions, *sizes)).keys,
            mask,
            positions or Positions(),
        )
    except NotImplementedError as refusal:
        return str(refusal)
    return None


def kinds_of(
    rule: TileRule, tile: TileSize, lengths: tuple[int, int], whole: tuple[int, int]
) -> Int[ArrayLike, "*#B rows cols"]:
    """A `Tile` for each tile of the call; none with keys that are padding is full."""
    kinds = rule.kinds(tile)
    xp = np if isinstance(kinds, np.ndarray) else jnp
    rows, cols = (-(-length // size) for length, size in zip(lengths, tile, strict=True))
    kinds = xp.broadcast_to(kinds, (*kinds.shape[:-2], rows, cols))
    most = np.full((1,) * (kinds.ndim - 1) + (cols,), Tile.FULL, np.int8)
    most[..., -1] = Tile.PARTIAL if lengths[1] % tile[1] else Tile.FULL
    more = (size // each - n for size, each, n in zip(whole, tile, (rows, cols), strict=True))
    around = [(0, 0)] * (kinds.ndim - 2) + [(0, n) for n in more]
    return xp.pad(xp.minimum(kinds, most), around, constant_values=Tile.EMPTY)


def list_visits(
    kinds: Int[ArrayLike, "*#B rows cols"], by_key: bool
) -> tuple[tuple[ArrayLike, ArrayLike], dict[str, Any]]:
    """What `pallas_tiles.Visits` holds, and what a `Pass` says of how tiles lie.

    Where arrays decide, lists are as long as there are inner tiles, else as the longest needed.
    """
    kinds = kinds.swapaxes(-1, -2) if by_key else kinds
    if not isinstance(kinds, np.ndarray):
        # Nothing reads where runs begin, for there are none.
        least = jnp.asarray([Tile.FULL, Tile.PARTIAL, Tile.FULL + 1, Tile.FULL + 1], jnp.int8)
        least = least.reshape(*(1,) * (kinds.ndim - 1), 4, 1)
        spans = (kinds[..., None, :] >= least).sum(axis=-1, dtype=jnp.int32)
        return (_listed(kinds), spans), {"full": "list", "partial": "list", "visited": None}
    tiles = np.argsort(-kinds, axis=-1, stable=True).astype(np.int32)
    full, every = ((kinds >= kind).sum(axis=-1) for kind in (Tile.FULL, Tile.PARTIAL))
    first_partial = np.minimum(full, kinds.shape[-1] - 1)[..., None]
    first_partial = np.take_along_axis(tiles, first_partial, axis=-1)[..., 0]
    spans = np.stack([full, every, tiles[..., 0], first_partial], axis=-1).astype(np.int32)
    lie = {"full": _lie(kinds == Tile.FULL), "partial": _lie(kinds == Tile.PARTIAL)}
    most = every.max() if "list" in lie.values() else 1
    # Of a mask that differs between batch elements, the most.
    visited = tuple(every.reshape(-1, every.shape[-1]).max(axis=0).tolist())
    return (tiles[..., :most], spans), lie | {"visited": visited}


def _listed(kinds: Int[Array, "*#B outer inner"]) -> Int[Array, "*#B outer inner"]:
    """Inner tiles by kind, then by number. XLA takes longer to sort a few than to count."""
    if kinds.shape[-1] > MOST_COUNTED:
        return jnp.argsort(-kinds, axis=-1, stable=True).astype(jnp.int32)
    square = (1,) * (kinds.ndim - 1) + (kinds.shape[-1],) * 2
    down, right = (jax.lax.broadcasted_iota(jnp.int32, square, kinds.ndim - n) for n in (1, 0))
    mine, other = kinds[..., :, None], kinds[..., None, :]
    before = (other > mine) | ((other == mine) & (right < down))
    rank = before.sum(axis=-1, dtype=jnp.int32)
    return jnp.where(rank[..., None, :] == down, right, 0).sum(axis=-1)


def _lie(chosen: Bool[np.ndarray, "*#B outer inner"]) -> Literal["run", "list"] | None:
    if not chosen.any():
        return None
    begins = np.diff(chosen.astype(np.int8), axis=-1, prepend=0) == 1
    return "run" if begins.sum(axis=-1).max() == 1 else "list"


def power(width: int) -> int:
    """The power of two that a width is padded to."""
    return max(LEAST, 1 << (width - 1).bit_length())
