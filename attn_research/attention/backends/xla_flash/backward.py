"""The backward pass of flash attention over tiles, which recomputes their weights.

Rabe and Staats 2021 and Dao et al. 2022 recompute the weights of a tile from the statistics of each
query that the forward pass keeps, so that no T x S array is ever whole in memory. A block of rows
at a time goes through a loop over tiles of keys, and each of those through tiles of queries.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from attn_research.attention.backends.xla_flash.online_softmax import Outputs, score_tile
from attn_research.attention.backends.xla_flash.plan import Plan
from attn_research.attention.backends.xla_flash.rows import Rows, map_blocks
from attn_research.attention.backends.xla_flash.run_time import visits_of_block
from attn_research.attention.backends.xla_flash.runs import Runs, runs_of_tiles
from attn_research.attention.backends.xla_flash.terms import (
    Constants,
    Operands,
    TileBounds,
    to_rows,
)
from attn_research.attention.scores import Dot
from attn_research.loops import vary_as
from attn_research.types import Array, Float, PyTree

LARGE_SCORE, SCORE_ROUNDING = 2.0**22, 2.0**-18  # the latter is relative


class SharedGradients(NamedTuple):
    """The gradients that every tile adds to."""

    score: Callable[..., Array]
    bias: Float[Array, "*#R #G #T #S"] | None
    bias_arrays: list[Array]
    normalizer: Callable[..., Array]


class Queries(NamedTuple):
    """The inputs of the backward pass for the queries of a tile, X = G x tile_q.

    Cotangents and deltas are divided by the row sum, so that weights need not be.
    """

    query: Float[Array, "*R X H"]
    d_context: Float[Array, "*R X Hv"]
    row_max: Float[Array, "*R X"]
    delta: Float[Array, "*R X"]


def backward(
    plan: Plan, operands: Operands, constants: Constants, outputs: Outputs, cotangents: Outputs
) -> Operands:
    """The gradients of the operands."""
    # A derivative by an array that all devices of a `shard_map` share would add theirs in each
    # tile; by copies of it they are added once. (A bias function is traced for the arrays it has.)
    arrays = operands.bias_arrays
    operands = vary_as(operands, outputs, cotangents)._replace(bias_arrays=arrays)
    context, row_max, row_sum = outputs
    scale = jnp.where(row_sum > 0, 1 / jnp.where(row_sum > 0, row_sum, 1), 0)
    # The delta of Dao et al. 2022, rowsum(dO · O), less what the cotangent of the sum adds.
    delta = (cotangents.context * context).sum(axis=-1) - cotangents.row_sum * row_sum
    delta = delta if plan.terms.pointwise is None else jnp.zeros_like(delta)
    d_context = cotangents.context * scale[..., None]
    queries = Queries(operands.query, d_context, row_max, delta * scale)
    rows = to_rows(operands, constants)
    rows = rows._replace(by_head=rows.by_head | {"queries": queries})
    like = Rows(
        {name: getattr(operands, name) for name in ("query", "key", "value", "score", "bias")},
        {"normalizer": operands.normalizer},
        {"bias_arrays": operands.bias_arrays},
    )
    block = functools.partial(_backward_of_block, plan)
    found = map_blocks(block, rows, like, plan.backward.blocks)
    return Operands(**found.by_head, **found.by_batch, **found.shared)


def _backward_of_block(plan: Plan, rows: Rows) -> Rows:
    query, key, value = (rows.by_head[name] for name in ("query", "key", "value"))
    *lead, group, num_queries, width = query.shape
    num_keys, (tile_q, tile_k) = key.shape[-2], plan.tile
    found = visits_of_block(rows.by_batch["kinds"], by_key=True)

    def of_key_tile(carry: tuple, index: Array) -> tuple[tuple, tuple]:
        of_keys = Runs((index * tile_k,), tile_k)
        keys, values = (of_keys.take(array, -2) for array in (key, value))
        keys_transposed = jnp.swapaxes(keys, -1, -2)

        def step(masked: bool, tiles: Array, carry: tuple) -> tuple:
            d_query, d_key, d_value, shared = carry
            of_queries = runs_of_tiles(tiles, tile_q)

            def tile_of(array: Array) -> Array:
                tile = of_queries.take(array, len(lead) + 1)
                return tile.reshape(*lead, group * of_queries.length, *array.shape[len(lead) + 2 :])

            d_tile, d_keys, d_values, shared = _tile_gradients(
                plan,
                rows,
                TileBounds(of_queries, of_keys),
                shared,
                masked=masked,
                tile=jax.tree.map(tile_of, rows.by_head["queries"]),
                keys=keys,
                values=values,
                keys_transposed=keys_transposed,
            )
            d_tile = d_tile.reshape(*lead, width, group, of_queries.length)
            d_query = of_queries.add(d_query, d_tile, -1)
            return d_query, d_key + d_keys, d_value + d_values, shared

        d_query, shared = carry
        empty = vary_as((jnp.zeros_like(keys), jnp.zeros_like(values)), rows)
        carry = plan.backward.visit(index, step, (d_query, *empty, shared), found)
        d_query, d_key, d_value, shared = carry
        return (d_query, shared), (d_key, d_value)

    def untiled(array: Array) -> Array:
        """[tiles, *R, tile_k, ...] as [*R, S, ...]."""
        return jnp.moveaxis(array, 0, len(lead)).reshape(*lead, num_keys, array.shape[-1])

    shared = SharedGradients(
        rows.by_head["score"], rows.by_head["bias"], rows.shared["bias_arrays"],
        rows.by_batch["normalizer"],
    )  # fmt: skip
    empty = vary_as(jnp.zeros((*lead, width, group, num_queries), query.dtype), rows)
    carry = empty, jax.tree.map(lambda array: vary_as(jnp.zeros_like(array), array), shared)
    tiles = vary_as(jnp.arange(num_keys // tile_k, dtype=jnp.int32), rows)
    (d_query, shared), (d_key, d_value) = lax.scan(of_key_tile, carry, tiles)
    of_heads = {
        "query": jnp.moveaxis(d_query, len(lead), -1),
        "key": untiled(d_key),
        "value": untiled(d_value),
        "score": shared.score,
        "bias": shared.bias,
    }
    of_batch = {"normalizer": shared.normalizer}
    return Rows(of_heads, of_batch, {"bias_arrays": shared.bias_arrays})


def _tile_gradients(
    plan: Plan,
    rows: Rows,
    bounds: TileBounds,
    shared: SharedGradients,
    *,
    masked: bool,
    tile: Queries,
    keys: Float[Array, "*R tile_k H"],
    values: Float[Array, "*R tile_k Hv"],
    keys_transposed: Float[Array, "*R H tile_k"],
) -> tuple[
    Float[Array, "*R H X"],
    Float[Array, "*R tile_k H"],
    Float[Array, "*R tile_k Hv"],
    SharedGradients,
]:
    """The gradients that a tile adds to its queries (transposed), keys, values, and all else.

    Scores are [*R, tile_k, X] here, so that no product of theirs needs them transposed.
    """
    terms, score = plan.terms, rows.by_head["score"]
    *lead, tile_k, _ = keys.shape
    lowest = float(jnp.finfo(keys.dtype).min)

    def transposed(array: Array) -> Array:
        array = jnp.broadcast_to(array, (*lead, terms.group, bounds.query.length, tile_k))
        return jnp.moveaxis(array, -1, len(lead)).reshape(*lead, tile_k, -1)

    if isinstance(score, Dot):
        scores = jnp.einsum("...sh,...xh->...sx", keys, tile.query)
    else:
        scores, score_vjp = jax.vjp(
            lambda score, *pair: jnp.swapaxes(score_tile(plan, score, bounds)(*pair), -1, -2),
            score, tile.query, keys,
        )  # fmt: skip

    def biases(bias: Array | None, arrays: list[Array]) -> Array | None:
        return terms.bias(bias, arrays, rows, bounds)

    bias = biases(rows.by_head["bias"], rows.shared["bias_arrays"])
    if bias is not None:
        bias, bias_vjp = jax.vjp(transposed, bias)
        scores = scores + bias
    scores = scores - tile.row_max[..., None, :]
    pointwise = terms.pointwise
    # This product rounds otherwise than that of the forward pass. Where scores are so large that
    # this alone moves them by more than 1, those that may be the maximum are taken to be.
    size = jnp.abs(tile.row_max)
    rounding = jnp.where(size > LARGE_SCORE, size * SCORE_ROUNDING, 0)
    if pointwise is None:
        scores = jnp.where(scores >= -rounding[..., None, :], 0, scores)
    if masked:
        allowed = transposed(terms.allowed(rows, bounds))
        scores = jnp.where(allowed, scores, lowest)
    probs = jnp.exp(scores) if pointwise is None else pointwise.weigh(scores)
    if masked and pointwise is not None:
        probs = jnp.where(allowed, probs, 0)
    slope = probs if pointwise is None else pointwise.slope(probs)

    def where_allowed(gradient: Array) -> Array:
        # Masked values may be so large that the gradients of their weights overflow.
        return jnp.where(allowed, gradient, 0) if masked else gradient

    weights, d_probs = probs, jnp.einsum("...sh,...xh->...sx", values, tile.d_context)
    drop = terms.dropout(rows, bounds)
    if drop is not None:
        drop = transposed(drop)
        weights, d_probs = weights * drop, d_probs * drop
    factor, factor_vjp = jax.vjp(
        lambda normalizer: terms.factor(normalizer, rows, bounds), rows.by_batch["normalizer"]
    )
    if factor is not None:
        factor, transpose_vjp = jax.vjp(transposed, factor)
        (d_normalizer,) = factor_vjp(*transpose_vjp(where_allowed(probs * d_probs)))
        shared = shared._replace(normalizer=_add(shared.normalizer, d_normalizer))
        weights, d_probs = weights * factor, d_probs * factor
    d_scores = where_allowed(slope * (d_probs - tile.delta[..., None, :]))
    if bias is not None:
        (d_bias,) = bias_vjp(d_scores)
        if terms.bias_function is None:
            shared = shared._replace(bias=terms.add_to_bias(shared.bias, d_bias, bounds))
        else:
            _, arrays_vjp = jax.vjp(lambda arrays: biases(None, arrays), rows.shared["bias_arrays"])
            shared = shared._replace(bias_arrays=_add(shared.bias_arrays, *arrays_vjp(d_bias)))
    d_values = jnp.einsum("...sx,...xh->...sh", weights, tile.d_context)
    if isinstance(score, Dot):
        d_keys = jnp.einsum("...sx,...xh->...sh", d_scores, tile.query)
        d_query = jnp.einsum("...hs,...sx->...hx", keys_transposed, d_scores)
        return d_query, d_keys, d_values, shared
    d_score, d_query, d_keys = score_vjp(d_scores)
    shared = shared._replace(score=_add(shared.score, d_score))
    return jnp.swapaxes(d_query, -1, -2), d_keys, d_values, shared


def _add(total: PyTree, more: PyTree) -> PyTree:
    return jax.tree.map(jnp.add, total, more)
