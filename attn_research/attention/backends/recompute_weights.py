"""Captured weights recomputed from the log-sum-exp, for implementations that never store them."""

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.attention.backends.capabilities import pad_end
from attn_research.attention.call import AttentionCall, Capture
from attn_research.attention.masks import grid
from attn_research.attention.scores import Pairwise
from attn_research.types import Array, Float


def recompute_weights(
    call: AttentionCall, pair: Pairwise, log_sum: Float[Array, "*B N T"]
) -> Float[Array, "*B heads rows S"] | None:
    """The weights that `call.capture` requests, and no others; None where it requests none.

    `pair` is the pairwise form of the score with its operands, `log_sum` the log-sum-exp of the
    scores of each query.
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
        log_sum = log_sum[..., heads, :][..., rows]
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
    logits = jnp.where(mask(q_pos, k_pos), scores - log_sum[..., None], -jnp.inf)
    factor = normalizer.factor(k_pos)
    weights = jnp.exp(logits) if factor is None else jnp.exp(logits) * factor
    # Keys past those of the pairwise form have weight 0.
    return pad_end(weights, {weights.ndim - 1: call.lengths[1] - num_keys})
