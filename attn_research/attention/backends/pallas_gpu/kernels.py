"""Attention kernels for GPUs: online softmax over the tiles that a mask leaves, and its gradients.

Dao et al. 2022 and Dao 2023, with Milakov and Gimelshein 2018 within a pass: the forward pass and
that of the gradient of queries go over keys, a tile of queries a program; that of the gradients of
keys and values goes over queries, a tile of keys a program. Weights are computed anew from the
log-sum-exp of each query, and rounded to the dtype of the values for the products they stand in.

Exponentials are of base 2, for which GPUs have an instruction, so log-sums and maxima in here are
too. Lengths are whole tiles, widths powers of two.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl

from attn_research.attention.backends.tiles.passes import (
    Given,
    Plan,
    Side,
    Specs,
    Visits,
    dot,
    indices,
    read,
    shaped,
    sides,
    who_may_look,
)
from attn_research.types import Array, Float

LOG2_E, LOG_2 = math.log2(math.e), math.log(2)
# The log-sum of a query that sees nothing: any score less this has the exponential 0.
NOWHERE = float(np.finfo(np.float32).max)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def attend_tiles(
    plan: Plan,
    query: Float[Array, "B T N H"],
    key: Float[Array, "B S K H"],
    value: Float[Array, "B S K Hv"],
    given: Given,
) -> tuple[Float[Array, "B T N Hv"], Float[Array, "B N T"]]:
    """The context, and the log-sum-exp of the scores of each query."""
    context, log_sum = _attend(plan, query, key, value, given)
    return context, log_sum * LOG_2


def _attend(plan: Plan, query: Array, key: Array, value: Array, given: Given) -> tuple:
    batch, num_queries, num_heads, _ = query.shape
    by_query = Specs(plan.forward.tile[0], num_heads // key.shape[2])
    operands = query, key, value
    return plan.call(
        functools.partial(_forward_kernel, plan),
        grid=(num_queries // plan.forward.tile[0], num_heads, batch),
        in_specs=(
            by_query.tile_of_head(query),
            by_query.all_of_kv_head(key),
            by_query.all_of_kv_head(value),
            *by_query.of_queries(given, given.forward),
        ),
        out_shape=(
            shaped((*query.shape[:-1], value.shape[-1]), value.dtype, operands),
            shaped((batch, num_heads, num_queries), jnp.float32, operands),
        ),
        out_specs=(by_query.tile_of_head(value), by_query.tile_of_row),
        name="attend",
    )(*operands, *sides(given, given.forward))


def _forward_kernel(
    plan: Plan,
    query: Any,
    key: Any,
    value: Any,
    q_side: Side,
    k_side: Side,
    words: tuple,
    visits: Visits,
    context: Any,
    log_sum: Any,
) -> None:
    tile_q, tile_k = plan.forward.tile
    queries, q_side, words = query[...], read(q_side, ...), read(words, ...)

    def look(masked: bool, number: Array, carry: tuple) -> tuple:
        highest, total, seen = carry
        at = pl.ds(number * tile_k, tile_k)
        scores = dot(queries, key[at, :], 1, 1) * (plan.scale * LOG2_E)
        index = indices(number, tile_k)
        if masked:
            allowed = who_may_look(plan, q_side, read(k_side, at), index, rows=True)
            scores = jnp.where(allowed, scores, -jnp.inf)
        # The highest is finite, so that nothing here is NaN, whatever is masked.
        top = jnp.maximum(highest, scores.max(axis=1))
        shares = jnp.exp2(scores - top[:, None])
        shrink = jnp.exp2(highest - top)
        total = total * shrink + shares.sum(axis=1)
        if words:
            shares = shares * plan.dropped.factor_of(*(w[:, None] for w in words), index[None, :])
        values = value[at, :]
        seen = seen * shrink[:, None] + dot(shares.astype(values.dtype), values, 1, 0)
        return top, total, seen

    empty = jnp.zeros((tile_q,), jnp.float32)
    carry = empty + jnp.finfo(jnp.float32).min, empty, jnp.zeros(context.shape, jnp.float32)
    highest, total, seen = plan.forward.visit(visits, look, carry)
    sees = total > 0
    total = jnp.where(sees, total, 1.0)
    context[...] = (seen / total[:, None]).astype(context.dtype)
    log_sum[...] = jnp.where(sees, highest + jnp.log2(total), NOWHERE)


def _forward(plan: Plan, query: Array, key: Array, value: Array, given: Given) -> tuple:
    context, log_sum = _attend(plan, query, key, value, given)
    return (context, log_sum * LOG_2), (query, key, value, given, context, log_sum)


def _backward(plan: Plan, residuals: tuple, cotangents: tuple) -> tuple:
    query, key, value, given, context, log_sum = residuals
    d_context, d_log_sum = cotangents
    batch, num_queries, num_heads, _ = query.shape
    num_keys, num_kv_heads = key.shape[1:3]
    mean = means(d_context, context, d_log_sum)
    operands = query, key, value, d_context, log_sum, mean
    by_query = Specs(plan.of_queries.tile[0], num_heads // num_kv_heads)
    d_query = plan.call(
        functools.partial(_query_kernel, plan),
        grid=(num_queries // plan.of_queries.tile[0], num_heads, batch),
        in_specs=(
            by_query.tile_of_head(query),
            by_query.all_of_kv_head(key),
            by_query.all_of_kv_head(value),
            by_query.tile_of_head(d_context),
            by_query.tile_of_row,
            by_query.tile_of_row,
            *by_query.of_queries(given, given.of_queries),
        ),
        out_shape=shaped(query.shape, query.dtype, operands),
        out_specs=by_query.tile_of_head(query),
        name="attend_d_query",
    )(*operands, *sides(given, given.of_queries))

    by_key = Specs(plan.of_keys.tile[1], num_heads // num_kv_heads)
    d_key, d_value = plan.call(
        functools.partial(_key_kernel, plan),
        grid=(num_keys // plan.of_keys.tile[1], num_kv_heads, batch),
        in_specs=(
            by_key.all_of_group(query),
            by_key.tile_of_head(key),
            by_key.tile_of_head(value),
            by_key.all_of_group(d_context),
            by_key.rows_of_group(log_sum),
            by_key.rows_of_group(mean),
            *by_key.of_keys(given, given.of_keys),
        ),
        out_shape=(
            shaped(key.shape, key.dtype, operands),
            shaped(value.shape, value.dtype, operands),
        ),
        out_specs=(by_key.tile_of_head(key), by_key.tile_of_head(value)),
        name="attend_d_key",
    )(*operands, *sides(given, given.of_keys))
    return d_query, d_key, d_value, None


def means(
    d_context: Float[Array, "B T N Hv"],
    context: Float[Array, "B T N Hv"],
    d_log_sum: Float[Array, "B N T"],
) -> Float[Array, "B N T"]:
    """What a higher score of a query takes from each of its weights, of the gradient of that."""
    wide = jnp.float32
    return jnp.einsum("btnh,btnh->bnt", d_context.astype(wide), context.astype(wide)) - d_log_sum


def _query_kernel(
    plan: Plan,
    query: Any,
    key: Any,
    value: Any,
    d_context: Any,
    log_sum: Any,
    mean: Any,
    q_side: Side,
    k_side: Side,
    words: tuple,
    visits: Visits,
    d_query: Any,
) -> None:
    tile_k = plan.of_queries.tile[1]
    queries, d_contexts, log_sums, means = query[...], d_context[...], log_sum[...], mean[...]
    q_side, words = read(q_side, ...), read(words, ...)

    def look(masked: bool, number: Array, total: Array) -> Array:
        at = pl.ds(number * tile_k, tile_k)
        keys, index = key[at, :], indices(number, tile_k)
        scores = dot(queries, keys, 1, 1) * (plan.scale * LOG2_E)
        if masked:
            allowed = who_may_look(plan, q_side, read(k_side, at), index, rows=True)
            scores = jnp.where(allowed, scores, -jnp.inf)
        shares = jnp.exp2(scores - log_sums[:, None])
        d_shares = dot(d_contexts, value[at, :], 1, 1)
        if words:
            drop = plan.dropped.factor_of(*(w[:, None] for w in words), index[None, :])
            d_shares = d_shares * drop
        d_scores = shares * (d_shares - means[:, None])
        if masked:
            # Masked values may be so large that the gradients of their weights overflow.
            d_scores = jnp.where(allowed, d_scores, 0.0)
        return total + dot(d_scores.astype(keys.dtype), keys, 1, 0)

    total = plan.of_queries.visit(visits, look, jnp.zeros(d_query.shape, jnp.float32))
    d_query[...] = (total * plan.scale).astype(d_query.dtype)


def _key_kernel(
    plan: Plan,
    query: Any,
    key: Any,
    value: Any,
    d_context: Any,
    log_sum: Any,
    mean: Any,
    q_side: Side,
    k_side: Side,
    words: tuple,
    visits: Visits,
    d_key: Any,
    d_value: Any,
) -> None:
    tile_q, tile_k = plan.of_keys.tile
    keys, values, k_side = key[...], value[...], read(k_side, ...)
    index = indices(pl.program_id(0), tile_k)

    # Tiles are [keys, queries] here: so no product of theirs needs them transposed.
    def of_head(head: Array, carry: tuple) -> tuple:
        def look(masked: bool, number: Array, carry: tuple) -> tuple:
            of_keys, of_values = carry
            at = pl.ds(number * tile_q, tile_q)
            queries, d_contexts = query[at, head, :], d_context[at, head, :]
            scores = dot(keys, queries, 1, 1) * (plan.scale * LOG2_E)
            if masked:
                allowed = who_may_look(plan, read(q_side, at), k_side, index, rows=False)
                scores = jnp.where(allowed, scores, -jnp.inf)
            shares = jnp.exp2(scores - log_sum[head, at][None, :])
            d_shares, weights = dot(values, d_contexts, 1, 1), shares
            if words:
                of_rows = (word[head, at][None, :] for word in words)
                drop = plan.dropped.factor_of(*of_rows, index[:, None])
                d_shares, weights = d_shares * drop, shares * drop
            of_values = of_values + dot(weights.astype(values.dtype), d_contexts, 1, 0)
            d_scores = shares * (d_shares - mean[head, at][None, :])
            if masked:
                d_scores = jnp.where(allowed, d_scores, 0.0)
            return of_keys + dot(d_scores.astype(queries.dtype), queries, 1, 0), of_values

        return plan.of_keys.visit(visits, look, carry)

    empty = jnp.zeros(keys.shape, jnp.float32), jnp.zeros(values.shape, jnp.float32)
    of_keys, of_values = lax.fori_loop(0, query.shape[1], of_head, empty)
    d_key[...] = (of_keys * plan.scale).astype(d_key.dtype)
    d_value[...] = of_values.astype(d_value.dtype)


attend_tiles.defvjp(_forward, _backward)
