"""The dense reference: every option, with the whole [*B, N, T, S] matrix of scores.

It defines what is correct; the other implementations are tested for equality with it.
"""

import jax.numpy as jnp
from einops import rearrange

from attn_research.attention.call import Attended, AttentionCall, captured
from attn_research.attention.positions import grid


def unsupported(call: AttentionCall) -> None:
    """The reason not to support a call: there is none, for the reference supports every call."""


def attend(call: AttentionCall) -> Attended:
    """Scores, biases, masks, normalizes, drops and weighs, in this order; see `api.attend`."""
    query, value = call.query, call.value
    scores = call.score(query, call.key)
    num_queries, num_keys = call.lengths
    positions = call.at
    q_pos, k_pos = grid(
        jnp.arange(num_queries) if positions.query is None else positions.query,
        jnp.arange(num_keys) if positions.key is None else positions.key,
        rank=scores.ndim,
    )
    if call.bias is not None:
        scores = scores + (call.bias(q_pos, k_pos) if callable(call.bias) else call.bias)
    weights = call.normalizer(scores, call.mask(q_pos, k_pos), k_pos)
    kept = weights if call.dropout is None else call.dropout(weights)
    # The group joins the rows: one plain product for each key head, forward and backward.
    rows = rearrange(kept, "... (k g) t s -> ... k (g t) s", k=value.shape[-2])
    columns = rearrange(value, "... s k h -> ... k s h").astype(rows.dtype)
    context = jnp.matmul(rows, columns).astype(value.dtype)
    context = rearrange(context, "... k (g t) h -> ... t (k g) h", t=num_queries)
    return Attended(context, captured(weights, call.capture))
