"""Captured weights, recomputed where an implementation never stores them."""

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.attention.backends.capabilities import pad_end
from attn_research.attention.call import AttentionCall, Capture
from attn_research.attention.normalizers import pointwise
from attn_research.attention.positions import grid
from attn_research.attention.scores import Pairwise
from attn_research.types import Array, Float


def recompute_weights(
    call: AttentionCall,
    pair: Pairwise,
    row_max: Float[Array, "*B N T"],
    row_sum: Float[Array, "*B N T"],
) -> Float[Array, "*B heads rows S"] | None:
    """The weights that `call.capture` requests, and no others; None where it requests none.

    `pair` is the pairwise form of the score with its operands. The sum is that of the exponentials
    of a query's scores less `row_max`, which need not be their maximum.
    """
    if call.capture is None:
        return None
    score, query, key = pair
    mask, normalizer, positions, capture = call.mask, call.normalizer, call.at, call.capture
    *_, num_queries, num_heads, _ = query.shape
    num_keys, group = key.shape[-3], num_heads // key.shape[-2]
    q_pos = jnp.arange(num_queries) if positions.query is None else positions.query
    k_pos = jnp.arange(num_keys) if positions.key is None else positions.key[..., :num_keys]
    if isinstance(capture, Capture):
        heads, rows = (np.array(chosen, np.int32) for chosen in (capture.heads, capture.rows))
        query = query[..., rows, :, :][..., heads, :]
        key = key[..., heads // group, :]
        row_max, row_sum = (x[..., heads, :][..., rows] for x in (row_max, row_sum))
        score = jax.tree.map(lambda array: array[heads], score)
        q_pos = q_pos[..., rows]
        mask, normalizer = mask.of_queries(rows), normalizer.of_queries(rows)
    q_pos, k_pos = grid(q_pos, k_pos, rank=query.ndim)
    scores = score(query, key)
    bias = call.bias
    if bias is not None:
        bias = bias(q_pos, k_pos) if callable(bias) else bias[..., :num_keys]
        if isinstance(capture, Capture):
            bias = bias.reshape((1,) * (scores.ndim - bias.ndim) + bias.shape)
            bias = bias if bias.shape[-3] == 1 else bias[..., heads, :, :]
            bias = bias if bias.shape[-2] in (1, len(rows)) else bias[..., rows, :]
        scores = scores + bias
    allowed = mask(q_pos, k_pos)
    if (of_each := pointwise(normalizer)) is not None:
        weights = of_each.weigh(jnp.where(allowed, scores, 0))
    else:
        weights = jnp.exp(jnp.where(allowed, scores - row_max[..., None], 0))
    weights = jnp.where(allowed, weights / jnp.where(row_sum > 0, row_sum, 1)[..., None], 0)
    factor = normalizer.factor(k_pos)
    weights = weights if factor is None else weights * factor
    # Keys past those of the pairwise form have weight 0.
    return pad_end(weights, {weights.ndim - 1: call.lengths[1] - num_keys})
