"""Attention of a tile of queries to all keys, after another: a program that JAX can differentiate.

It has the values of `online_softmax` in as little memory, and is the source of all derivatives that
are not the gradients of first order, for which that has a backward pass. All tiles are visited.
"""

import jax
import jax.numpy as jnp
from jax import lax

from attn_research.attention.backends.xla_flash.online_softmax import Outputs, score_tile
from attn_research.attention.backends.xla_flash.plan import Plan
from attn_research.attention.backends.xla_flash.runs import Runs
from attn_research.attention.backends.xla_flash.terms import (
    Constants,
    Operands,
    TileBounds,
    to_rows,
)
from attn_research.types import Array

SCORES = 2**22  # at a time


def attend(plan: Plan, operands: Operands, constants: Constants) -> Outputs:
    """The outputs of `online_softmax.forward`."""
    rows = to_rows(operands, constants)
    query, key, value = operands.query, operands.key, operands.value
    *lead, group, num_queries, _ = query.shape
    num_keys, lowest = key.shape[-2], float(jnp.finfo(query.dtype).min)
    most = SCORES // (query.size // (num_queries * query.shape[-1]) * num_keys)
    sizes = [n for n in range(1, num_queries + 1) if num_queries % n == 0]
    tile_q = max((n for n in sizes if n <= most), default=1)

    @jax.checkpoint
    def of_tile(start: Array) -> Outputs:
        bounds = TileBounds(Runs((start,), tile_q), Runs((0,), num_keys))
        tile = lax.dynamic_slice_in_dim(query, start, tile_q, -2)
        scores = score_tile(plan, operands.score, bounds)(
            tile.reshape(*lead, group * tile_q, -1), key
        ).reshape(*lead, group, tile_q, num_keys)
        bias = plan.terms.bias(operands.bias, operands.bias_arrays, rows, bounds)
        scores = scores if bias is None else scores + bias
        allowed = jnp.broadcast_to(plan.terms.allowed(rows, bounds), scores.shape)
        row_max = lax.stop_gradient(jnp.where(allowed, scores, lowest).max(axis=-1))
        # The difference is 0 where not allowed, so that no derivative of it overflows.
        if plan.terms.pointwise is not None:
            row_max, row_sum = jnp.zeros_like(row_max), jnp.ones_like(row_max)
            probs = plan.terms.pointwise.weigh(jnp.where(allowed, scores, 0))
        else:
            probs = jnp.exp(jnp.where(allowed, scores - row_max[..., None], 0))
        probs = jnp.where(allowed, probs, 0)
        if plan.terms.pointwise is None:
            row_sum = probs.sum(axis=-1)
        attends = row_sum > 0
        for factor in (
            plan.terms.factor(operands.normalizer, rows, bounds),
            plan.terms.dropout(rows, bounds),
        ):
            probs = probs if factor is None else probs * factor
        context = jnp.einsum("...gts,...sh->...gth", probs, value)
        context = context / jnp.where(attends, row_sum, 1)[..., None]
        return Outputs(context, jnp.where(attends, row_max, 0), row_sum)

    def untiled(array: Array) -> Array:
        """[tiles, *R, G, tile, ...] as [*R, G, T, ...]."""
        array = jnp.moveaxis(array, 0, len(lead) + 1)
        return array.reshape(*lead, group, num_queries, *array.shape[len(lead) + 3 :])

    starts = jnp.arange(0, num_queries, tile_q, dtype=jnp.int32)
    return jax.tree.map(untiled, lax.map(of_tile, starts))
