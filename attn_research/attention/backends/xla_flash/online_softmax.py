"""Online softmax over tiles, the forward pass of flash attention.

Milakov and Gimelshein 2018 keep the row maximum and the sum of exponentials of the keys so far.
They are not joined to a log-sum-exp, which has no digits left for the sum where the maximum is
large.

A block of rows *R at a time, which are batch elements and key heads with the G query heads that
attend to each, goes through a loop over tiles of queries, and each of those through the tiles of
keys that the mask leaves to it, in steps of a few; a step of full tiles alone has no mask.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

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
from attn_research.types import Array, Float


class Outputs(NamedTuple):
    """The context; the maximum of the scores of each query, and the sum of exp(score - maximum).

    A query that attends to no key has 0 in all three. No gradient reaches the maximum. Where the
    normalizer is pointwise they are 0 and 1.
    """

    context: Float[Array, "*R G T Hv"]
    row_max: Float[Array, "*R G T"]
    row_sum: Float[Array, "*R G T"]


def forward(plan: Plan, operands: Operands, constants: Constants) -> Outputs:
    """The context, and what the backward pass needs of each query."""
    query, value = operands.query, operands.value
    shape = jax.ShapeDtypeStruct(query.shape[:-1], query.dtype)
    context = jax.ShapeDtypeStruct((*shape.shape, value.shape[-1]), query.dtype)
    like = Rows(Outputs(context, shape, shape), None, None)
    rows, block = to_rows(operands, constants), functools.partial(_forward_of_block, plan)
    return map_blocks(block, rows, like, plan.forward.blocks).by_head


def _forward_of_block(plan: Plan, rows: Rows) -> Rows:
    query, key, value = (rows.by_head[name] for name in ("query", "key", "value"))
    *lead, group, num_queries, _ = query.shape
    tile_q, tile_k = plan.tile
    lowest = float(jnp.finfo(query.dtype).min)
    found = visits_of_block(rows.by_batch["kinds"], by_key=False)

    def of_query_tile(index: Array) -> Outputs:
        queries = Runs((index * tile_q,), tile_q)
        tile = queries.take(query, -2).reshape(*lead, group * tile_q, -1)

        def step(masked: bool, tiles: Array, carry: tuple) -> tuple:
            row_max, row_sum, context = carry
            bounds = TileBounds(queries, runs_of_tiles(tiles, tile_k))
            keys, values = (bounds.key.take(array, -2) for array in (key, value))
            scores = score_tile(plan, rows.by_head["score"], bounds)(tile, keys)

            # Product, maximum and exponential follow one another without a reshape between them,
            # so that XLA fuses them into one loop.
            def to_scores(array: Array) -> Array:
                array = jnp.broadcast_to(array, (*lead, group, tile_q, bounds.key.length))
                return array.reshape(scores.shape)

            bias = plan.terms.bias(rows.by_head["bias"], rows.shared["bias_arrays"], rows, bounds)
            scores = scores if bias is None else scores + to_scores(bias)
            if masked:
                # Finite, and so far below the first maximum that the exponential is 0.
                allowed = to_scores(plan.terms.allowed(rows, bounds))
                scores = jnp.where(allowed, scores, lowest)
            if plan.terms.pointwise is not None:  # neither a maximum nor a sum
                new_max, probs, rescale = row_max, plan.terms.pointwise.weigh(scores), row_sum
                probs = jnp.where(allowed, probs, 0) if masked else probs
            else:
                new_max = jnp.maximum(row_max, scores.max(axis=-1))
                probs = jnp.exp(scores - new_max[..., None])
                rescale = jnp.exp(row_max - new_max)
                row_sum = row_sum * rescale + probs.sum(axis=-1)
            for factor in (
                plan.terms.factor(rows.by_batch["normalizer"], rows, bounds),
                plan.terms.dropout(rows, bounds),
            ):
                probs = probs if factor is None else probs * to_scores(factor)
            product = jnp.einsum("...xs,...sh->...xh", probs, values)
            return new_max, row_sum, context * rescale[..., None] + product

        empty = jnp.zeros((*lead, group * tile_q), query.dtype)
        context = jnp.zeros((*empty.shape, value.shape[-1]), query.dtype)
        start = (jnp.full_like(empty, lowest / 2), empty)
        start = start if plan.terms.pointwise is None else (empty, jnp.ones_like(empty))
        carry = vary_as((*start, context), rows)
        row_max, row_sum, context = plan.forward.visit(index, step, carry, found)
        attends = row_sum > 0
        context = context / jnp.where(attends, row_sum, 1)[..., None]
        return Outputs(context, jnp.where(attends, row_max, 0), row_sum)

    def untiled(array: Array) -> Array:
        """[tiles, *R, G x tile, ...] as [*R, G, T, ...]."""
        rest = array.shape[len(lead) + 2 :]
        array = array.reshape(-1, *lead, group, tile_q, *rest)
        array = jnp.moveaxis(array, 0, len(lead) + 1)
        return array.reshape(*lead, group, num_queries, *rest)

    tiles = vary_as(jnp.arange(num_queries // tile_q, dtype=jnp.int32), rows)
    return Rows(jax.tree.map(untiled, lax.map(of_query_tile, tiles)), None, None)


def score_tile(
    plan: Plan, score: Callable[..., Array], bounds: TileBounds
) -> Callable[[Float[Array, "*R X H"], Float[Array, "*R tile_k H"]], Array]:
    """The score function of the rows of a tile, [*R, X, tile_k]."""
    if isinstance(score, Dot):
        return functools.partial(jnp.einsum, "...xh,...sh->...xs")

    def of_row(score: Callable[..., Array], query: Array, key: Array) -> Array:
        return score(query, key)

    def of_rows(query: Array, key: Array) -> Array:
        *lead, _, width = query.shape
        query = query.reshape(*lead, plan.terms.group, bounds.query.length, width)
        query, key = jnp.swapaxes(query, -3, -2), key[..., :, None, :]
        function = of_row
        for _ in lead:
            function = jax.vmap(function)
        return function(score, query, key).reshape(*lead, -1, key.shape[-3])

    return of_rows
