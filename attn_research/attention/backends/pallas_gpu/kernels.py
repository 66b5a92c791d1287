"""Flash attention kernels in Pallas: online softmax over the tiles that a mask leaves; gradients.

Dao et al. 2022 and Dao 2023, with Milakov and Gimelshein 2018 within a pass: the forward pass and
that of the gradient of queries go over keys, a tile of queries a program; that of the gradients of
keys and values goes over queries, a tile of keys a program. Weights are recomputed from the
log-sum-exp of each query, and rounded to the dtype of the values for the products with them.

Log-sums and maxima are of base 2; see `numerics`. Lengths are whole tiles, widths powers of two.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

from attn_research.attention.backends.pallas_gpu.blocks import (
    SideInputs,
    Specs,
    allowed_in_tile,
    dot,
    read,
    side_inputs,
    tile_indices,
)
from attn_research.attention.backends.tiles.numerics import (
    EMPTY_LOG_SUM,
    LOG2_E,
    LOG_2,
    softmax_delta,
)
from attn_research.attention.backends.tiles.passes import Constants, Plan, output_like
from attn_research.types import Array, Float


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def attend_tiles(
    plan: Plan,
    query: Float[Array, "B T N H"],
    key: Float[Array, "B S K H"],
    value: Float[Array, "B S K Hv"],
    constants: Constants,
) -> tuple[Float[Array, "B T N Hv"], Float[Array, "B N T"]]:
    """The context, and the log-sum-exp of the scores of each query."""
    context, log_sum = _attend(plan, query, key, value, constants)
    return context, log_sum * LOG_2


def _attend(plan: Plan, query: Array, key: Array, value: Array, constants: Constants) -> tuple:
    batch, num_queries, num_heads, _ = query.shape
    by_query = Specs(plan.forward.tile[0], num_heads // key.shape[2])
    operands = query, key, value
    return plan.pallas_call(
        functools.partial(_forward_kernel, plan),
        grid=(num_queries // plan.forward.tile[0], num_heads, batch),
        in_specs=(
            (
                by_query.tile_of_head(query),
                by_query.all_of_kv_head(key),
                by_query.all_of_kv_head(value),
            ),
            by_query.of_queries(constants, constants.forward),
        ),
        out_shape=(
            output_like((*query.shape[:-1], value.shape[-1]), value.dtype, operands),
            output_like((batch, num_heads, num_queries), jnp.float32, operands),
        ),
        out_specs=(by_query.tile_of_head(value), by_query.tile_of_row),
        name="attend",
    )(operands, side_inputs(constants, constants.forward))


def _forward_kernel(
    plan: Plan, operands: tuple, side: SideInputs, context: Any, log_sum: Any
) -> None:
    query, key, value = operands
    tile_q, tile_k = plan.forward.tile
    queries, q_inputs, words = query[...], read(side.queries, ...), read(side.words, ...)

    def step(masked: bool, number: Array, carry: tuple) -> tuple:
        row_max, row_sum, summed = carry
        at = pl.ds(number * tile_k, tile_k)
        scores = dot(queries, key[at, :], 1, 1) * (plan.scale * LOG2_E)
        index = tile_indices(number, tile_k)
        if masked:
            k_inputs = read(side.keys, at)
            allowed = allowed_in_tile(plan, q_inputs, k_inputs, index, queries_first=True)
            scores = jnp.where(allowed, scores, -jnp.inf)
        # The maximum is finite, so that nothing here is NaN, whatever is masked.
        new_max = jnp.maximum(row_max, scores.max(axis=1))
        probs = jnp.exp2(scores - new_max[:, None])
        rescale = jnp.exp2(row_max - new_max)
        row_sum = row_sum * rescale + probs.sum(axis=1)
        if words:
            probs = probs * plan.dropout.factor_of(*(w[:, None] for w in words), index[None, :])
        values = value[at, :]
        summed = summed * rescale[:, None] + dot(probs.astype(values.dtype), values, 1, 0)
        return new_max, row_sum, summed

    empty = jnp.zeros((tile_q,), jnp.float32)
    carry = empty + jnp.finfo(jnp.float32).min, empty, jnp.zeros(context.shape, jnp.float32)
    row_max, row_sum, summed = plan.forward.visit(side.visits, step, carry)
    attends = row_sum > 0
    row_sum = jnp.where(attends, row_sum, 1.0)
    context[...] = (summed / row_sum[:, None]).astype(context.dtype)
    log_sum[...] = jnp.where(attends, row_max + jnp.log2(row_sum), EMPTY_LOG_SUM)


def _forward(plan: Plan, query: Array, key: Array, value: Array, constants: Constants) -> tuple:
    context, log_sum = _attend(plan, query, key, value, constants)
    return (context, log_sum * LOG_2), (query, key, value, constants, context, log_sum)


class Operands(NamedTuple):
    """The inputs of both gradient kernels: arrays, their block specs or their refs."""

    query: Any
    key: Any
    value: Any
    d_context: Any
    log_sum: Any
    delta: Any


def _backward(plan: Plan, residuals: tuple, cotangents: tuple) -> tuple:
    query, key, value, constants, context, log_sum = residuals
    d_context, d_log_sum = cotangents
    batch, num_queries, num_heads, _ = query.shape
    num_keys, num_kv_heads = key.shape[1:3]
    delta = softmax_delta(d_context, context, d_log_sum)
    operands = Operands(query, key, value, d_context, log_sum, delta)
    by_query = Specs(plan.of_queries.tile[0], num_heads // num_kv_heads)
    d_query = plan.pallas_call(
        functools.partial(_query_kernel, plan),
        grid=(num_queries // plan.of_queries.tile[0], num_heads, batch),
        in_specs=(
            Operands(
                by_query.tile_of_head(query),
                by_query.all_of_kv_head(key),
                by_query.all_of_kv_head(value),
                by_query.tile_of_head(d_context),
                by_query.tile_of_row,
                by_query.tile_of_row,
            ),
            by_query.of_queries(constants, constants.of_queries),
        ),
        out_shape=output_like(query.shape, query.dtype, operands),
        out_specs=by_query.tile_of_head(query),
        name="attend_d_query",
    )(operands, side_inputs(constants, constants.of_queries))

    by_key = Specs(plan.of_keys.tile[1], num_heads // num_kv_heads)
    d_key, d_value = plan.pallas_call(
        functools.partial(_key_kernel, plan),
        grid=(num_keys // plan.of_keys.tile[1], num_kv_heads, batch),
        in_specs=(
            Operands(
                by_key.all_of_group(query),
                by_key.tile_of_head(key),
                by_key.tile_of_head(value),
                by_key.all_of_group(d_context),
                by_key.rows_of_group(log_sum),
                by_key.rows_of_group(delta),
            ),
            by_key.of_keys(constants, constants.of_keys),
        ),
        out_shape=(
            output_like(key.shape, key.dtype, operands),
            output_like(value.shape, value.dtype, operands),
        ),
        out_specs=(by_key.tile_of_head(key), by_key.tile_of_head(value)),
        name="attend_d_key",
    )(operands, side_inputs(constants, constants.of_keys))
    return d_query, d_key, d_value, None


def _query_kernel(plan: Plan, operands: Operands, side: SideInputs, d_query: Any) -> None:
    tile_k = plan.of_queries.tile[1]
    queries, d_contexts = operands.query[...], operands.d_context[...]
    log_sums, deltas = operands.log_sum[...], operands.delta[...]
    q_inputs, words = read(side.queries, ...), read(side.words, ...)

    def step(masked: bool, number: Array, total: Array) -> Array:
        at = pl.ds(number * tile_k, tile_k)
        keys, index = operands.key[at, :], tile_indices(number, tile_k)
        scores = dot(queries, keys, 1, 1) * (plan.scale * LOG2_E)
        if masked:
            k_inputs = read(side.keys, at)
            allowed = allowed_in_tile(plan, q_inputs, k_inputs, index, queries_first=True)
            scores = jnp.where(allowed, scores, -jnp.inf)
        probs = jnp.exp2(scores - log_sums[:, None])
        d_probs = dot(d_contexts, operands.value[at, :], 1, 1)
        if words:
            drop = plan.dropout.factor_of(*(w[:, None] for w in words), index[None, :])
            d_probs = d_probs * drop
        d_scores = probs * (d_probs - deltas[:, None])
        if masked:
            # Masked values may be so large that the gradients of their weights overflow.
            d_scores = jnp.where(allowed, d_scores, 0.0)
        return total + dot(d_scores.astype(keys.dtype), keys, 1, 0)

    total = plan.of_queries.visit(side.visits, step, jnp.zeros(d_query.shape, jnp.float32))
    d_query[...] = (total * plan.scale).astype(d_query.dtype)


def _key_kernel(plan: Plan, operands: Operands, side: SideInputs, d_key: Any, d_value: Any) -> None:
    tile_q, tile_k = plan.of_keys.tile
    keys, values, k_inputs = operands.key[...], operands.value[...], read(side.keys, ...)
    index = tile_indices(pl.program_id(0), tile_k)

    # Tiles are [keys, queries] here, so that no product of theirs needs them transposed.
    def of_head(head: Array, carry: tuple) -> tuple:
        def step(masked: bool, number: Array, carry: tuple) -> tuple:
            of_keys, of_values = carry
            at = pl.ds(number * tile_q, tile_q)
            queries, d_contexts = operands.query[at, head, :], operands.d_context[at, head, :]
            scores = dot(keys, queries, 1, 1) * (plan.scale * LOG2_E)
            if masked:
                q_inputs = read(side.queries, at)
                allowed = allowed_in_tile(plan, q_inputs, k_inputs, index, queries_first=False)
                scores = jnp.where(allowed, scores, -jnp.inf)
            probs = jnp.exp2(scores - operands.log_sum[head, at][None, :])
            d_probs, weights = dot(values, d_contexts, 1, 1), probs
            if side.words:
                of_rows = (word[head, at][None, :] for word in side.words)
                drop = plan.dropout.factor_of(*of_rows, index[:, None])
                d_probs, weights = d_probs * drop, probs * drop
            of_values = of_values + dot(weights.astype(values.dtype), d_contexts, 1, 0)
            d_scores = probs * (d_probs - operands.delta[head, at][None, :])
            if masked:
                d_scores = jnp.where(allowed, d_scores, 0.0)
            return of_keys + dot(d_scores.astype(queries.dtype), queries, 1, 0), of_values

        return plan.of_keys.visit(side.visits, step, carry)

    empty = jnp.zeros(keys.shape, jnp.float32), jnp.zeros(values.shape, jnp.float32)
    of_keys, of_values = lax.fori_loop(0, operands.query.shape[1], of_head, empty)
    d_key[...] = (of_keys * plan.scale).astype(d_key.dtype)
    d_value[...] = of_values.astype(d_value.dtype)


attend_tiles.defvjp(_forward, _backward)
