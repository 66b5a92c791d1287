"""Flash attention over tiles: online softmax, and a backward pass that recomputes the weights.

Milakov and Gimelshein 2018 keep the row maximum and the sum of exponentials of the keys so far;
Rabe and Staats 2021 and Dao et al. 2022 recompute the weights of a tile in the backward pass, from
the log-sum-exp of each query, so that no T x S array is ever whole in memory.

Heads stand first: a row r is a batch element and a key head, with the G query heads that attend to
it. A few rows at a time go through a loop over tiles of queries, in the backward pass of keys, and
each of those through the tiles that the mask leaves to it; full tiles are computed without a mask.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from attn_research.attention.backends.tiles.numerics import EMPTY_LOG_SUM
from attn_research.attention.backends.xla_flash.plan import Plan
from attn_research.attention.backends.xla_flash.terms import Constants, TileBounds
from attn_research.attention.scores import Dot
from attn_research.types import Array, Float, PyTree


class Differentiable(NamedTuple):
    """Inputs that gradients reach. Arrays of the score are [N, ...], of the normalizer [B, ...]."""

    query: Float[Array, "R G T H"]
    key: Float[Array, "R S H"]
    value: Float[Array, "R S Hv"]
    score: Callable[..., Array]
    bias: PyTree
    normalizer: Callable[..., Array]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def attend_tiles(
    plan: Plan, operands: Differentiable, constants: Constants
) -> tuple[Float[Array, "R G T Hv"], Float[Array, "R G T"]]:
    """The context, and the log-sum-exp of the scores of each query."""
    query, key, value = operands.query, operands.key, operands.value
    num_rows, group, num_queries, width = query.shape
    rows, (tile_q, tile_k) = plan.forward.rows, plan.tile
    lowest = jnp.finfo(query.dtype).min

    def of_rows(row: Array) -> tuple[Array, Array]:
        def of_query_tile(index: Array) -> tuple[Array, Array]:
            start = index * tile_q
            tile = lax.dynamic_slice(query, (row, 0, start, 0), (rows, group, tile_q, width))
            tile = tile.reshape(rows, group * tile_q, width)

            def step(masked: bool, index: Array, carry: tuple) -> tuple:
                row_max, row_sum, context = carry
                bounds = TileBounds(row, start, index * tile_k, rows, tile_q, tile_k)
                keys, values = (_rows(array, bounds) for array in (key, value))
                scores = _score(plan, operands.score, bounds)(tile, keys)

                # Product, maximum and exponential follow one another without a reshape between
                # them, so that XLA fuses them into one loop.
                def to_scores(array: Array) -> Array:
                    array = jnp.broadcast_to(array, (rows, group, tile_q, tile_k))
                    return array.reshape(scores.shape)

                bias = plan.terms.bias(operands.bias, constants, bounds)
                scores = scores if bias is None else scores + to_scores(bias)
                if masked:
                    allowed = to_scores(plan.terms.allowed(constants, bounds))
                    scores = jnp.where(allowed, scores, -jnp.inf)
                # The maximum is finite, so that nothing here is NaN, whatever is masked.
                new_max = jnp.maximum(row_max, scores.max(axis=-1))
                probs = jnp.exp(scores - new_max[..., None])
                rescale = jnp.exp(row_max - new_max)
                row_sum = row_sum * rescale + probs.sum(axis=-1)
                for factor in (
                    plan.terms.factor(operands.normalizer, constants, bounds),
                    plan.terms.dropout(constants, bounds),
                ):
                    probs = probs if factor is None else probs * to_scores(factor)
                product = jnp.einsum("uxs,ush->uxh", probs, values)
                return new_max, row_sum, context * rescale[..., None] + product

            empty = jnp.zeros((rows, group * tile_q), query.dtype)
            context = jnp.zeros((*empty.shape, value.shape[-1]), query.dtype)
            carry = jnp.full_like(empty, lowest), empty, context
            row_max, row_sum, context = plan.forward.visit(index, step, carry)
            attends = row_sum > 0
            log_sum = jnp.where(
                attends, row_max + jnp.log(jnp.where(attends, row_sum, 1)), EMPTY_LOG_SUM
            )
            return context / jnp.where(attends, row_sum, 1)[..., None], log_sum

        return lax.map(of_query_tile, jnp.arange(num_queries // tile_q))

    # [steps, tiles, rows, G x tile, ...]
    context, log_sum = lax.map(of_rows, jnp.arange(0, num_rows, rows))
    return tuple(
        jnp.moveaxis(each.reshape(*each.shape[:3], group, tile_q, *each.shape[4:]), 1, 3).reshape(
            num_rows, group, num_queries, *each.shape[4:]
        )
        for each in (context, log_sum)
    )


def _forward(plan: Plan, operands: Differentiable, constants: Constants) -> tuple:
    context, log_sum = attend_tiles(plan, operands, constants)
    return (context, log_sum), (operands, constants, context, log_sum)


class SharedGradients(NamedTuple):
    """The gradients that every tile adds to."""

    score: Callable[..., Array]
    bias: PyTree
    normalizer: Callable[..., Array]


class Queries(NamedTuple):
    """The inputs of the backward pass for the queries of a tile, X = G x tile_q."""

    query: Float[Array, "U X H"]
    d_context: Float[Array, "U X Hv"]
    log_sum: Float[Array, "U X"]
    delta: Float[Array, "U X"]


def _backward(plan: Plan, residuals: tuple, cotangents: tuple) -> tuple[Differentiable, None]:
    operands, constants, context, log_sum = residuals
    d_context, d_log_sum = cotangents
    num_rows, group, num_queries, width = operands.query.shape
    num_keys = operands.key.shape[1]
    rows, (tile_q, tile_k) = plan.backward.rows, plan.tile
    # The delta of Dao et al. 2022, rowsum(dO · O), less the cotangent of the log-sum-exp.
    delta = (d_context * context).sum(axis=-1) - d_log_sum
    every = Queries(operands.query, d_context, log_sum, delta)

    def of_rows(shared: SharedGradients, row: Array) -> tuple[SharedGradients, tuple]:
        def of_key_tile(carry: tuple, index: Array) -> tuple[tuple, tuple]:
            start = index * tile_k
            bounds = TileBounds(row, 0, start, rows, tile_q, tile_k)
            keys, values = _rows(operands.key, bounds), _rows(operands.value, bounds)
            keys_transposed = jnp.swapaxes(keys, 1, 2)

            def step(masked: bool, index: Array, carry: tuple) -> tuple:
                d_query, d_key, d_value, shared = carry
                start_q = index * tile_q

                def tile_of(array: Array) -> Array:
                    size = (rows, group, tile_q, *array.shape[3:])
                    tile = lax.dynamic_slice(array, (row, 0, start_q, 0)[: array.ndim], size)
                    return tile.reshape(rows, group * tile_q, *array.shape[3:])

                d_tile, d_keys, d_values, shared = _tile_gradients(
                    plan,
                    operands,
                    constants,
                    bounds._replace(query=start_q),
                    shared,
                    masked=masked,
                    tile=jax.tree.map(tile_of, every),
                    keys=keys,
                    values=values,
                    keys_transposed=keys_transposed,
                )
                d_tile = d_tile.reshape(rows, width, group, tile_q)
                d_tile = d_tile + lax.dynamic_slice(d_query, (0, 0, 0, start_q), d_tile.shape)
                d_query = lax.dynamic_update_slice(d_query, d_tile, (0, 0, 0, start_q))
                return d_query, d_key + d_keys, d_value + d_values, shared

            d_query, shared = carry
            empty = d_query, jnp.zeros_like(keys), jnp.zeros_like(values), shared
            d_query, d_key, d_value, shared = plan.backward.visit(index, step, empty)
            return (d_query, shared), (d_key, d_value)

        empty = jnp.zeros((rows, width, group, num_queries), operands.query.dtype), shared
        (d_query, shared), of_tiles = lax.scan(of_key_tile, empty, jnp.arange(num_keys // tile_k))
        return shared, (d_query, *of_tiles)

    empty = jax.tree.map(
        jnp.zeros_like, SharedGradients(operands.score, operands.bias, operands.normalizer)
    )
    shared, (d_query, d_key, d_value) = lax.scan(of_rows, empty, jnp.arange(0, num_rows, rows))
    d_query = d_query.reshape(num_rows, width, group, num_queries)
    # [steps, tiles, rows, tile, width]
    d_key, d_value = (
        jnp.moveaxis(d, 1, 2).reshape(num_rows, num_keys, -1) for d in (d_key, d_value)
    )
    return Differentiable(jnp.moveaxis(d_query, 1, 3), d_key, d_value, *shared), None


def _tile_gradients(
    plan: Plan,
    operands: Differentiable,
    constants: Constants,
    bounds: TileBounds,
    shared: SharedGradients,
    *,
    masked: bool,
    tile: Queries,
    keys: Float[Array, "U tile_k H"],
    values: Float[Array, "U tile_k Hv"],
    keys_transposed: Float[Array, "U H tile_k"],
) -> tuple[
    Float[Array, "U H X"],
    Float[Array, "U tile_k H"],
    Float[Array, "U tile_k Hv"],
    SharedGradients,
]:
    """The gradients that a tile adds to its queries (transposed), keys, values, and all else.

    Scores are [U, tile_k, X] here, so that no product of theirs needs them transposed.
    """
    group, terms = plan.terms.group, plan.terms
    by_head = bounds.rows, group, bounds.queries

    def transposed(array: Array) -> Array:
        array = jnp.broadcast_to(array, (*by_head, bounds.keys))
        return jnp.moveaxis(array, 3, 1).reshape(bounds.rows, bounds.keys, -1)

    if isinstance(operands.score, Dot):
        scores = jnp.einsum("ush,uxh->usx", keys, tile.query)
    else:
        scores, score_vjp = jax.vjp(
            lambda score, query, key: jnp.swapaxes(_score(plan, score, bounds)(query, key), 1, 2),
            operands.score, tile.query, keys,
        )  # fmt: skip
    bias = terms.bias(operands.bias, constants, bounds)
    if bias is not None:
        bias, bias_vjp = jax.vjp(transposed, bias)
        scores = scores + bias
    scores = scores - tile.log_sum[:, None]
    if masked:
        allowed = transposed(terms.allowed(constants, bounds))
        scores = jnp.where(allowed, scores, -jnp.inf)
    probs = jnp.exp(scores)

    def where_allowed(gradient: Array) -> Array:
        # Masked values may be so large that the gradients of their weights overflow.
        return jnp.where(allowed, gradient, 0) if masked else gradient

    weights, d_probs = probs, jnp.einsum("ush,uxh->usx", values, tile.d_context)
    drop = terms.dropout(constants, bounds)
    if drop is not None:
        drop = transposed(drop)
        weights, d_probs = weights * drop, d_probs * drop
    factor, factor_vjp = jax.vjp(
        lambda normalizer: terms.factor(normalizer, constants, bounds), operands.normalizer
    )
    if factor is not None:
        factor, transpose_vjp = jax.vjp(transposed, factor)
        (d_normalizer,) = factor_vjp(*transpose_vjp(where_allowed(probs * d_probs)))
        shared = shared._replace(normalizer=_add(shared.normalizer, d_normalizer))
        weights, d_probs = weights * factor, d_probs * factor
    d_scores = where_allowed(probs * (d_probs - tile.delta[:, None]))
    if bias is not None:
        (d_bias,) = bias_vjp(d_scores)
        d_bias = terms.add_to_bias(shared.bias, d_bias, operands.bias, constants, bounds)
        shared = shared._replace(bias=d_bias)
    d_values = jnp.einsum("usx,uxh->ush", weights, tile.d_context)
    if isinstance(operands.score, Dot):
        d_keys = jnp.einsum("usx,uxh->ush", d_scores, tile.query)
        return jnp.einsum("uhs,usx->uhx", keys_transposed, d_scores), d_keys, d_values, shared
    d_score, d_query, d_keys = score_vjp(d_scores)
    shared = shared._replace(score=_add(shared.score, d_score))
    return jnp.swapaxes(d_query, 1, 2), d_keys, d_values, shared


def _add(total: PyTree, more: PyTree) -> PyTree:
    return jax.tree.map(jnp.add, total, more)


def _rows(array: Float[Array, "R S H"], bounds: TileBounds) -> Float[Array, "U tile_k H"]:
    size = bounds.rows, bounds.keys, array.shape[2]
    return lax.dynamic_slice(array, (bounds.row, bounds.key, 0), size)


def _score(
    plan: Plan, score: Callable[..., Array], bounds: TileBounds
) -> Callable[[Float[Array, "U X H"], Float[Array, "U tile_k H"]], Array]:
    """The score function of the heads in those rows, [U, X, tile_k]."""
    if isinstance(score, Dot):
        return functools.partial(jnp.einsum, "uxh,ush->uxs")
    heads = plan.terms.heads(bounds)

    def of_rows(query: Array, key: Array) -> Array:
        of_heads = jax.tree.map(lambda array: array[heads], score)
        query = query.reshape(bounds.rows, plan.terms.group, bounds.queries, -1)
        query, key = jnp.moveaxis(query, 1, 2), key[:, :, None]
        scores = jax.vmap(lambda score, *arrays: score(*arrays))(of_heads, query, key)
        return scores.reshape(bounds.rows, -1, bounds.keys)

    return of_rows


attend_tiles.defvjp(_forward, _backward)
