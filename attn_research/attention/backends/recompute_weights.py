"""Weights asked for where no implementation stored them: computed anew from the log-sum-exp."""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.attention.backends.reference import Capture
from attn_research.attention.masks import Mask, Positions, grid
from attn_research.types import Array, Float


def rebuilt_weights(
    score: Callable[..., Array],
    query: Float[Array, "*B T N H"],
    key: Float[Array, "*B S K H"],
    log_sum: Float[Array, "*B N T"],
    mask: Mask,
    bias: Array | Callable[..., Array] | None,
    normalizer: Callable[..., Array],
    positions: Positions,
    capture: Literal["all"] | Capture,
) -> Float[Array, "*B heads rows S"]:
    """The weights asked for, and no others, from the log-sum-exp of their queries."""
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
    if bias is not None:
        bias = bias(q_pos, k_pos) if callable(bias) else bias[..., :num_keys]
        if isinstance(capture, Capture):
            bias = bias.reshape((1,) * (scores.ndim - bias.ndim) + bias.shape)
            bias = bias if bias.shape[-3] == 1 else bias[..., heads, :, :]
            bias = bias if bias.shape[-2] in (1, len(rows)) else bias[..., rows, :]
        scores = scores + bias
    shares = jnp.where(mask(q_pos, k_pos), scores - log_sum[..., None], -jnp.inf)
    factor = normalizer.factor(k_pos)
    return jnp.exp(shares) if factor is None else jnp.exp(shares) * factor
