"""Kernels of our own for GPUs, of any mask that has a rule by tile; `pallas_kernels` holds them.

Here the arguments of `attend` become theirs: arrays padded to whole tiles and widths of powers of
two, the tiles that the mask leaves listed for each pass, and captured weights computed from the
log-sum-exp of their queries. In a `jit` over several devices XLA gathers what a kernel takes: call
it in a `shard_map` there. Products of float32 are of the precision that JAX is set to, which
on a GPU is TF32 unless `jax.default_matmul_precision` says otherwise, as for all products.
"""

import dataclasses
import functools
import importlib
import importlib.util
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl

from attn_research.attention import pallas_kernels, pallas_tiles
from attn_research.attention.masks import Mask, Positions, Tile
from attn_research.attention.normalizers import Dropout
from attn_research.attention.operands import (
    cost_of_tiles,
    no_gpu,
    no_softmax_of_products,
    other_dtype,
    padded,
    products,
    without_batch,
)
from attn_research.attention.rebuilt import rebuilt_weights
from attn_research.attention.reference import Attended, Capture
from attn_research.attention.tile_rules import TileRule, TileSize, ask, tile_rule
from attn_research.types import Array, ArrayLike, Bool, Float, Int

# Tests set it, to run the kernels on a CPU, an operation at a time.
INTERPRET = False
COMPILER = "jax.experimental.pallas.triton"
DTYPES = ("float32", "bfloat16", "float16")
# Queries and keys of a tile in each pass, for rows of 256 bytes at most; wider ones have fewer. Of
# those that programs go by, none are smaller than others along their axis. Not tuned on a GPU yet.
FORWARD, OF_QUERIES, OF_KEYS = (128, 64), (128, 32), (32, 128)
MOST_BYTES, MOST_WIDTH = 256, 256
LEAST = 16  # of a product


def unsupported(
    query: Any,
    key: Any,
    value: Any,
    *,
    score: Callable[..., Array],
    mask: Mask,
    bias: Any,
    normalizer: Callable[..., Array],
    positions: Positions | None,
    **others: Any,
) -> str | None:
    """Why the arguments of `attend` are not supported, or None where they are."""
    if not INTERPRET and (reason := no_gpu() or _no_compiler()):
        return reason
    if bias is not None:
        return "a bias is not added by the kernels: use tiled"
    if reason := no_softmax_of_products(score, normalizer, query, key):
        return reason
    if reason := other_dtype((query, key, value), DTYPES):
        return reason
    if (width := max(query.shape[-1], key.shape[-1], value.shape[-1])) > MOST_WIDTH:
        return f"a head width of {width} is more than {MOST_WIDTH}"
    batch, sizes = query.shape[:-3], (query.shape[-3], key.shape[-3])
    if reason := without_batch("mask", mask, batch):
        return reason
    try:
        jax.eval_shape(
            lambda mask, positions: tile_rule(mask, ask(positions, batch, *sizes)).keys,
            mask,
            positions or Positions(),
        )
    except NotImplementedError as refusal:
        return str(refusal)
    return None


def attend(
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
    """The reference, tile after tile in kernels; see `api.attend`."""
    positions = positions or Positions()
    num_keys, value_width = key.shape[-3], value.shape[-1]
    pair = products(score, query, key, value)
    *batch, num_queries, num_heads, _ = pair.query.shape
    most_keys = pair.key.shape[-3]
    asked = ask(positions, tuple(batch), num_queries, most_keys)
    rule = tile_rule(mask, asked)

    lengths = num_queries, most_keys
    tiles = _tiles(lengths, pair.query, pair.value)
    visits = [
        _visits(_kinds(rule, tile, lengths), by_key)
        for tile, by_key in zip(tiles, (False, False, True), strict=True)
    ]
    passes = [pallas_tiles.Pass(tile, **lie) for tile, (_, lie) in zip(tiles, visits, strict=True)]
    more_q, more_k = (
        -length % math.lcm(*(tile[axis] for tile in tiles)) for axis, length in enumerate(lengths)
    )

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
        rule.allowed,
        None if dropout is None else dataclasses.replace(dropout, key=None),
        *passes,
        _call(),
    )
    context, log_sum = pallas_kernels.attend_tiles(
        plan,
        *(
            padded(flat(array, more), {3: _power(array.shape[-1]) - array.shape[-1]})
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


def cost(
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
    tile, *_ = _tiles(lengths, pair[0], value)
    counted = positions is None or positions.counted
    layout = (mask if counted else Mask()).layout(*lengths, tile)
    per_score = 2 * (pair[0].shape[-1] + value.shape[-1]) + 4
    return cost_of_tiles(pair[0], value, layout, tile, per_score)


def _no_compiler() -> str | None:
    if importlib.util.find_spec(COMPILER) is None:
        return f"this version of JAX has no {COMPILER}: use cudnn or tiled"
    return None


def _call() -> Callable[..., Any]:
    if INTERPRET:
        return functools.partial(pl.pallas_call, interpret=True)
    compiler = importlib.import_module(COMPILER)
    # With fewer warps tiles overflow into memory: ptxas counts kilobytes of it for sm_80 and sm_90.
    params = compiler.CompilerParams(num_warps=8, num_stages=2)
    return functools.partial(pl.pallas_call, compiler_params=params)


def _tiles(lengths: tuple[int, int], query: Any, value: Any) -> list[TileSize]:
    """The tile of each pass: smaller where heads are wide or there is little to take."""
    row = max(_power(query.shape[-1]), _power(value.shape[-1])) * query.dtype.itemsize
    fewer = max(1, row // MOST_BYTES)
    return [
        tuple(
            max(LEAST, min(size // fewer, _power(length)))
            for size, length in zip(tile, lengths, strict=True)
        )
        for tile in (FORWARD, OF_QUERIES, OF_KEYS)
    ]


def _kinds(
    rule: TileRule, tile: TileSize, lengths: tuple[int, int]
) -> Int[ArrayLike, "*#B rows cols"]:
    """A `Tile` for each tile of the call; none with keys that are padding is full."""
    kinds = rule.kinds(tile)
    xp = np if isinstance(kinds, np.ndarray) else jnp
    rows, cols = (-(-length // size) for length, size in zip(lengths, tile, strict=True))
    kinds = xp.broadcast_to(kinds, (*kinds.shape[:-2], rows, cols))
    most = np.full((1,) * (kinds.ndim - 1) + (cols,), Tile.FULL, np.int8)
    most[..., -1] = Tile.PARTIAL if lengths[1] % tile[1] else Tile.FULL
    return xp.minimum(kinds, most)


def _visits(
    kinds: Int[ArrayLike, "*#B rows cols"], by_key: bool
) -> tuple[tuple[ArrayLike, ArrayLike], dict[str, Literal["run", "list"] | None]]:
    """What `pallas_tiles.Visits` holds, and how tiles of each kind lie, as a `Pass` says it.

    Where arrays decide, lists are as long as there are inner tiles, else as the longest needed.
    """
    kinds = kinds.swapaxes(-1, -2) if by_key else kinds
    static = isinstance(kinds, np.ndarray)
    xp = np if static else jnp
    tiles = xp.argsort(-kinds, axis=-1, stable=True).astype(np.int32)
    full, every = ((kinds >= kind).sum(axis=-1) for kind in (Tile.FULL, Tile.PARTIAL))
    first_partial = xp.minimum(full, kinds.shape[-1] - 1)[..., None]
    first_partial = xp.take_along_axis(tiles, first_partial, axis=-1)[..., 0]
    spans = xp.stack([full, every, tiles[..., 0], first_partial], axis=-1).astype(np.int32)
    if not static:
        return (tiles, spans), {"full": "list", "partial": "list"}
    lie = {"full": _lie(kinds == Tile.FULL), "partial": _lie(kinds == Tile.PARTIAL)}
    most = every.max() if "list" in lie.values() else 1
    return (tiles[..., :most], spans), lie


def _lie(chosen: Bool[np.ndarray, "*#B outer inner"]) -> Literal["run", "list"] | None:
    if not chosen.any():
        return None
    begins = np.diff(chosen.astype(np.int8), axis=-1, prepend=0) == 1
    return "run" if begins.sum(axis=-1).max() == 1 else "list"


def _power(width: int) -> int:
    """The power of two that a width is padded to."""
    return max(LEAST, 1 << (width - 1).bit_length())
