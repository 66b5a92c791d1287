"""Tiles of scores one after another, in memory linear in length; `online` computes them.

Here the arguments of `attend` become those of `online`: arrays are padded to the whole tiles of a
plan, heads put first, and captured weights computed from the log-sum-exp of their queries.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from einops import rearrange

from attn_research.attention.backends.capabilities import (
    cost_of_tiles,
    name_of,
    padded,
    same_heads,
    without_batch,
)
from attn_research.attention.backends.recompute_weights import rebuilt_weights
from attn_research.attention.backends.reference import Attended, Capture
from attn_research.attention.backends.xla_flash import online_softmax as online
from attn_research.attention.backends.xla_flash.plan import make_plan
from attn_research.attention.backends.xla_flash.terms import Given, to_function
from attn_research.attention.masks import Mask, Positions
from attn_research.attention.normalizers import Dropout, is_softmax
from attn_research.attention.scores import Dot
from attn_research.types import Array, Float

# Up to here the reference is as fast, and needs no more memory than tiles do.
FEW_SCORES, FEW_QUERIES = 2**15, 4


def unsupported(
    query: Any,
    key: Any,
    value: Any,
    *,
    score: Callable[..., Array],
    mask: Mask,
    normalizer: Callable[..., Array],
    **others: Any,
) -> str | None:
    """Why the arguments of `attend` are not supported, or None where they are."""
    if not hasattr(score, "pairwise"):
        return f"the score {name_of(score)} has no pairwise form"
    if not is_softmax(normalizer):
        return f"the normalizer {name_of(normalizer)} is no softmax, nor one times a factor"
    batch = query.shape[:-3]
    return without_batch("mask", mask, batch) or without_batch("normalizer", normalizer, batch)


def outdone(query: Any, key: Any, *others: Any, **options: Any) -> str | None:
    """Why another is better where it is left open, or None."""
    num_queries, num_keys = query.shape[-3], key.shape[-3]
    if num_queries <= FEW_QUERIES or num_queries * num_keys <= FEW_SCORES:
        return f"{num_queries} x {num_keys} scores are few enough to be whole"
    return None


def attend(
    query: Float[Array, "*B T N H"],
    key: Float[Array, "*B S K Hk"],
    value: Float[Array, "*B S K Hv"],
    *,
    score: Callable[..., Array],
    mask: Mask,
    bias: Float[Array, "*#B #N #T #S"] | Callable[..., Array] | None,
    normalizer: Callable[..., Array],
    dropout: Dropout | None,
    positions: Positions | None,
    capture: Literal["all"] | Capture | None,
) -> Attended:
    """The reference, tile after tile; see `api.attend`."""
    positions = positions or Positions()
    # All are wide from here on, so that gradients are added up before they are rounded.
    normalizer = jax.tree.map(_wide, normalizer)
    bias = bias if bias is None or callable(bias) else _wide(bias)
    score, queries, keys = score.pairwise(query, key)
    keys, values = same_heads(keys, value[..., : keys.shape[-3], :, :].astype(queries.dtype))
    *batch, num_queries, num_heads, _ = queries.shape
    num_keys, num_kv_heads = keys.shape[-3:-1]
    group = num_heads // num_kv_heads
    plan = make_plan(queries, keys, score, mask, positions, dropout)
    more_q, more_k = -num_queries % plan.tile[0], -num_keys % plan.tile[1]

    given = Given(
        mask=jax.tree.map(lambda array: _flat(array, batch), mask),
        q_pos=None
        if positions.query is None
        else _flat(positions.query, positions.query.shape[:-1]),
        k_pos=None if positions.key is None else _flat(positions.key, positions.key.shape[:-1]),
        words=None,
        constants=[],
    )
    if dropout is not None:
        words = dropout.rows((*batch, num_heads, num_queries))
        words = words.reshape(-1, group, num_queries, 2)
        given = given._replace(words=padded(words, {2: more_q}))
    learned_bias = None
    if callable(bias):
        shapes = _position_shapes(given, tuple(batch), plan.tile)
        function, learned_bias, constants = to_function(bias, shapes)
        given = given._replace(constants=constants)
        plan = dataclasses.replace(
            plan, terms=dataclasses.replace(plan.terms, bias_function=function)
        )
    elif bias is not None:
        more = {axis: n for axis, n in ((2, more_q), (3, more_k)) if bias.shape[axis - 4] > 1}
        learned_bias = padded(_flat(bias, bias.shape[:-3]), more)

    by_row = rearrange(queries, "... t (k g) h -> ... k g t h", k=num_kv_heads)
    keys_by_row, values_by_row = (
        rearrange(each, "... s k h -> ... k s h") for each in (keys, values)
    )
    learned = online.Learned(
        query=padded(by_row.reshape(-1, *by_row.shape[-3:]), {2: more_q}),
        key=padded(keys_by_row.reshape(-1, *keys_by_row.shape[-2:]), {1: more_k}),
        value=padded(values_by_row.reshape(-1, *values_by_row.shape[-2:]), {1: more_k}),
        score=score,
        bias=learned_bias,
        normalizer=jax.tree.map(lambda array: _flat(array, batch), normalizer),
    )
    context, log_sum = (
        each[:, :, :num_queries].reshape(*batch, num_heads, num_queries, *each.shape[3:])
        for each in online.attend_tiles(plan, learned, given)
    )
    weights = None
    if capture is not None:
        weights = rebuilt_weights(
            score, queries, keys, log_sum, mask, bias, normalizer, positions, capture
        )
        weights = padded(weights, {weights.ndim - 1: key.shape[-3] - num_keys})
    return Attended(jnp.moveaxis(context, -3, -2).astype(value.dtype), weights)


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

    XLA counts the body of a loop once, so this is counted by hand.
    """
    pair, queries, keys = jax.eval_shape(lambda s, q, k: s.pairwise(q, k), score, query, key)
    plan = make_plan(queries, keys, pair, mask, positions or Positions(), None)
    width, value_width = queries.shape[-1], value.shape[-1]
    per_score = 2 * (width + value_width) if isinstance(pair, Dot) else 3 * width + 2 * value_width
    return cost_of_tiles(queries, value, plan.forward.layout, plan.tile, per_score + 4)


def _position_shapes(
    given: Given, batch: tuple[int, ...], tile: tuple[int, int]
) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Of the positions that a bias is asked at for a tile."""
    shapes = []
    for pos, size in ((given.q_pos, (tile[0], 1)), (given.k_pos, (1, tile[1]))):
        lead = batch if pos is not None and len(pos) > 1 else (1,) * len(batch)
        dtype = jnp.int32 if pos is None else pos.dtype
        shapes.append(jax.ShapeDtypeStruct((*lead, 1, *size), dtype))
    return tuple(shapes)


def _flat(array: Array, batch: tuple[int, ...] | list[int]) -> Array:
    """The batch axes as one."""
    return jnp.asarray(array).reshape(math.prod(batch), *array.shape[len(batch) :])


def _wide(array: Array) -> Array:
    return array.astype(jnp.result_type(jnp.float32, array))
