"""Attention over tiles in memory linear in length: online softmax, and its own backward pass.

Milakov and Gimelshein 2018 keep the highest score and the sum of exponentials of the keys so far;
Rabe and Staats 2021 and Dao et al. 2022 compute the weights of a tile anew in the backward pass,
from the log-sum-exp of each query, so that no T x S array is ever whole in memory.

Heads stand first: a row r is a batch element and a key head, with the G query heads that look at
it. A few rows at a time go through a loop over tiles of queries, backward of keys, and each of
those through the tiles that the mask leaves to it, without the mask where it allows them all.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from attn_research.attention.backends.xla_flash.plan import Plan
from attn_research.attention.backends.xla_flash.terms import Place
from attn_research.attention.scores import Dot
from attn_research.types import Array, Float, PyTree

# The log-sum-exp of a query that sees nothing: any score less this has the exponential 0.
NOWHERE = float(np.finfo(np.float32).max)


class Learned(NamedTuple):
    """What gradients reach. Arrays of the score are [N, ...], of the normalizer [B, ...]."""

    query: Float[Array, "R G T H"]
    key: Float[Array, "R S H"]
    value: Float[Array, "R S Hv"]
    score: Callable[..., Array]
    bias: PyTree
    normalizer: Callable[..., Array]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def attend_tiles(
    plan: Plan, learned: Learned, given: PyTree
) -> tuple[Float[Array, "R G T Hv"], Float[Array, "R G T"]]:
    """The context, and the log-sum-exp of the scores of each query."""
    query, key, value = learned.query, learned.key, learned.value
    num_rows, group, num_queries, width = query.shape
    rows, (tile_q, tile_k) = plan.forward.rows, plan.tile
    lowest = jnp.finfo(query.dtype).min

    def of_rows(row: Array) -> tuple[Array, Array]:
        def of_queries(number: Array) -> tuple[Array, Array]:
            start = number * tile_q
            tile = lax.dynamic_slice(query, (row, 0, start, 0), (rows, group, tile_q, width))
            tile = tile.reshape(rows, group * tile_q, width)

            def look(masked: bool, number: Array, carry: tuple) -> tuple:
                highest, total, context = carry
                place = Place(row, start, number * tile_k, rows, tile_q, tile_k)
                keys, values = (_rows(array, place) for array in (key, value))
                scores = _score(plan, learned.score, place)(tile, keys)

                # Nothing stands between product, highest and exponential where nothing must: so
                # XLA makes them one loop.
                def merged(array: Array) -> Array:
                    array = jnp.broadcast_to(array, (rows, group, tile_q, tile_k))
                    return array.reshape(scores.shape)

                bias = plan.terms.bias(learned.bias, given, place)
                scores = scores if bias is None else scores + merged(bias)
                if masked:
                    allowed = merged(plan.terms.allowed(given, place))
                    scores = jnp.where(allowed, scores, -jnp.inf)
                # The highest is finite, so that nothing here is NaN, whatever is masked.
                top = jnp.maximum(highest, scores.max(axis=-1))
                shares = jnp.exp(scores - top[..., None])
                shrink = jnp.exp(highest - top)
                total = total * shrink + shares.sum(axis=-1)
                for factor in (
                    plan.terms.factor(learned.normalizer, given, place),
                    plan.terms.dropout(given, place),
                ):
                    shares = shares if factor is None else shares * merged(factor)
                seen = jnp.einsum("uxs,ush->uxh", shares, values)
                return top, total, context * shrink[..., None] + seen

            empty = jnp.zeros((rows, group * tile_q), query.dtype)
            context = jnp.zeros((*empty.shape, value.shape[-1]), query.dtype)
            carry = jnp.full_like(empty, lowest), empty, context
            highest, total, context = plan.forward.visit(number, look, carry)
            sees = total > 0
            log_sum = jnp.where(sees, highest + jnp.log(jnp.where(sees, total, 1)), NOWHERE)
            return context / jnp.where(sees, total, 1)[..., None], log_sum

        return lax.map(of_queries, jnp.arange(num_queries // tile_q))

    # [steps, tiles, rows, G x tile, ...]
    context, log_sum = lax.map(of_rows, jnp.arange(0, num_rows, rows))
    return tuple(
        jnp.moveaxis(each.reshape(*each.shape[:3], group, tile_q, *each.shape[4:]), 1, 3).reshape(
            num_rows, group, num_queries, *each.shape[4:]
        )
        for each in (context, log_sum)
    )


def _forward(plan: Plan, learned: Learned, given: PyTree) -> tuple:
    context, log_sum = attend_tiles(plan, learned, given)
    return (context, log_sum), (learned, given, context, log_sum)


class Shared(NamedTuple):
    """Gradients that all tiles add to."""

    score: Callable[..., Array]
    bias: PyTree
    normalizer: Callable[..., Array]


class Queries(NamedTuple):
    """What the backward pass reads of the queries of a tile, X = G x tile_q."""

    query: Float[Array, "U X H"]
    d_context: Float[Array, "U X Hv"]
    log_sum: Float[Array, "U X"]
    mean: Float[Array, "U X"]


def _backward(plan: Plan, residuals: tuple, cotangents: tuple) -> tuple[Learned, None]:
    learned, given, context, log_sum = residuals
    d_context, d_log_sum = cotangents
    num_rows, group, num_queries, width = learned.query.shape
    num_keys = learned.key.shape[1]
    rows, (tile_q, tile_k) = plan.backward.rows, plan.tile
    # A higher score takes from all weights of its query what it does not keep.
    mean = (d_context * context).sum(axis=-1) - d_log_sum
    every = Queries(learned.query, d_context, log_sum, mean)

    def of_rows(shared: Shared, row: Array) -> tuple[Shared, tuple]:
        def of_keys(carry: tuple, number: Array) -> tuple[tuple, tuple]:
            start = number * tile_k
            place = Place(row, 0, start, rows, tile_q, tile_k)
            keys, values = _rows(learned.key, place), _rows(learned.value, place)
            keys_turned = jnp.swapaxes(keys, 1, 2)

            def look(masked: bool, number: Array, carry: tuple) -> tuple:
                d_query, d_key, d_value, shared = carry
                at = number * tile_q

                def tile_of(array: Array) -> Array:
                    size = (rows, group, tile_q, *array.shape[3:])
                    tile = lax.dynamic_slice(array, (row, 0, at, 0)[: array.ndim], size)
                    return tile.reshape(rows, group * tile_q, *array.shape[3:])

                d_tile, d_keys, d_values, shared = _tile_gradients(
                    plan, learned, given, place._replace(query=at), masked, shared,
                    jax.tree.map(tile_of, every), keys, values, keys_turned,
                )  # fmt: skip
                d_tile = d_tile.reshape(rows, width, group, tile_q)
                d_tile = d_tile + lax.dynamic_slice(d_query, (0, 0, 0, at), d_tile.shape)
                d_query = lax.dynamic_update_slice(d_query, d_tile, (0, 0, 0, at))
                return d_query, d_key + d_keys, d_value + d_values, shared

            d_query, shared = carry
            empty = d_query, jnp.zeros_like(keys), jnp.zeros_like(values), shared
            d_query, d_key, d_value, shared = plan.backward.visit(number, look, empty)
            return (d_query, shared), (d_key, d_value)

        empty = jnp.zeros((rows, width, group, num_queries), learned.query.dtype), shared
        (d_query, shared), of_tiles = lax.scan(of_keys, empty, jnp.arange(num_keys // tile_k))
        return shared, (d_query, *of_tiles)

    empty = jax.tree.map(jnp.zeros_like, Shared(learned.score, learned.bias, learned.normalizer))
    shared, (d_query, d_key, d_value) = lax.scan(of_rows, empty, jnp.arange(0, num_rows, rows))
    d_query = d_query.reshape(num_rows, width, group, num_queries)
    # [steps, tiles, rows, tile, width]
    d_key, d_value = (
        jnp.moveaxis(d, 1, 2).reshape(num_rows, num_keys, -1) for d in (d_key, d_value)
    )
    return Learned(jnp.moveaxis(d_query, 1, 3), d_key, d_value, *shared), None


def _tile_gradients(
    plan: Plan,
    learned: Learned,
    given: PyTree,
    place: Place,
    masked: bool,
    shared: Shared,
    tile: Queries,
    keys: Float[Array, "U tile_k H"],
    values: Float[Array, "U tile_k Hv"],
    keys_turned: Float[Array, "U H tile_k"],
) -> tuple[Float[Array, "U H X"], Float[Array, "U tile_k H"], Float[Array, "U tile_k Hv"], Shared]:
    """What a tile adds to the gradients of its queries (turned), keys, values, and all else.

    Scores are [U, tile_k, X] here: so no product of theirs needs them transposed.
    """
    group, terms = plan.terms.group, plan.terms
    by_head = place.rows, group, place.queries

    def turned(array: Array) -> Array:
        array = jnp.broadcast_to(array, (*by_head, place.keys))
        return jnp.moveaxis(array, 3, 1).reshape(place.rows, place.keys, -1)

    if isinstance(learned.score, Dot):
        scores = jnp.einsum("ush,uxh->usx", keys, tile.query)
    else:
        scores, pull_score = jax.vjp(
            lambda score, query, key: jnp.swapaxes(_score(plan, score, place)(query, key), 1, 2),
            learned.score, tile.query, keys,
        )  # fmt: skip
    bias = terms.bias(learned.bias, given, place)
    if bias is not None:
        bias, pull_bias = jax.vjp(turned, bias)
        scores = scores + bias
    scores = scores - tile.log_sum[:, None]
    if masked:
        allowed = turned(terms.allowed(given, place))
        scores = jnp.where(allowed, scores, -jnp.inf)
    shares = jnp.exp(scores)

    def seen(gradient: Array) -> Array:
        # Masked values may be so large that the gradients of their weights overflow.
        return jnp.where(allowed, gradient, 0) if masked else gradient

    weights, d_shares = shares, jnp.einsum("ush,uxh->usx", values, tile.d_context)
    drop = terms.dropout(given, place)
    if drop is not None:
        drop = turned(drop)
        weights, d_shares = weights * drop, d_shares * drop
    factor, pull_factor = jax.vjp(
        lambda normalizer: terms.factor(normalizer, given, place), learned.normalizer
    )
    if factor is not None:
        factor, pull_turned = jax.vjp(turned, factor)
        (d_normalizer,) = pull_factor(*pull_turned(seen(shares * d_shares)))
        shared = shared._replace(normalizer=_add(shared.normalizer, d_normalizer))
        weights, d_shares = weights * factor, d_shares * factor
    d_scores = seen(shares * (d_shares - tile.mean[:, None]))
    if bias is not None:
        (d_bias,) = pull_bias(d_scores)
        d_bias = terms.add_to_bias(shared.bias, d_bias, learned.bias, given, place)
        shared = shared._replace(bias=d_bias)
    d_values = jnp.einsum("usx,uxh->ush", weights, tile.d_context)
    if isinstance(learned.score, Dot):
        d_keys = jnp.einsum("usx,uxh->ush", d_scores, tile.query)
        return jnp.einsum("uhs,usx->uhx", keys_turned, d_scores), d_keys, d_values, shared
    d_score, d_query, d_keys = pull_score(d_scores)
    shared = shared._replace(score=_add(shared.score, d_score))
    return jnp.swapaxes(d_query, 1, 2), d_keys, d_values, shared


def _add(total: PyTree, more: PyTree) -> PyTree:
    return jax.tree.map(jnp.add, total, more)


def _rows(array: Float[Array, "R S H"], place: Place) -> Float[Array, "U tile_k H"]:
    size = place.rows, place.keys, array.shape[2]
    return lax.dynamic_slice(array, (place.row, place.key, 0), size)


def _score(
    plan: Plan, score: Callable[..., Array], place: Place
) -> Callable[[Float[Array, "U X H"], Float[Array, "U tile_k H"]], Array]:
    """The score of the heads in those rows, [U, X, tile_k]."""
    if isinstance(score, Dot):
        return functools.partial(jnp.einsum, "uxh,ush->uxs")
    heads = plan.terms.heads(place)

    def of_rows(query: Array, key: Array) -> Array:
        of_heads = jax.tree.map(lambda array: array[heads], score)
        query = query.reshape(place.rows, plan.terms.group, place.queries, -1)
        query, key = jnp.moveaxis(query, 1, 2), key[:, :, None]
        scores = jax.vmap(lambda score, *arrays: score(*arrays))(of_heads, query, key)
        return scores.reshape(place.rows, -1, place.keys)

    return of_rows


attend_tiles.defvjp(_forward, _backward)
