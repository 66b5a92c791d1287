"""Attention in float64 NumPy with gradients derived by hand: what every implementation must equal.

It shares nothing with them, nor with the dense reference. Arrays have exactly one batch axis. A
score takes q [B, T, N, H], k [B, S, N, Hk] and its parameter with a head axis, and answers with
scores [B, N, T, S] and a function from their cotangent to the gradients of the three.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from attn_research.types import Bool, Float

Gradients = dict[str, np.ndarray]


def dot(q, k, _):
    scores = np.einsum("btnh,bsnh->bnts", q, k)

    def pull(ds):
        return np.einsum("bnts,bsnh->btnh", ds, k), np.einsum("bnts,btnh->bsnh", ds, q), None

    return scores, pull


def scaled_dot(q, k, _):
    scores, pull = dot(q, k, None)
    scale = 1 / np.sqrt(q.shape[-1])
    return scores * scale, lambda ds: pull(ds * scale)


def general(q, k, weight):
    """`weight` is [N, H, Hk]."""
    scores = np.einsum("btni,nij,bsnj->bnts", q, weight, k)

    def pull(ds):
        return (
            np.einsum("bnts,nij,bsnj->btni", ds, weight, k),
            np.einsum("bnts,btni,nij->bsnj", ds, q, weight),
            np.einsum("bnts,btni,bsnj->nij", ds, q, k),
        )

    return scores, pull


def additive(q, k, vector):
    """`vector` is [N, H]."""
    hidden = np.tanh(q[:, :, None] + k[:, None])  # [B, T, S, N, H]
    scores = np.einsum("btsnh,nh->bnts", hidden, vector)

    def pull(ds):
        before_tanh = np.einsum("bnts,nh,btsnh->btsnh", ds, vector, 1 - hidden**2)
        return before_tanh.sum(2), before_tanh.sum(1), np.einsum("bnts,btsnh->nh", ds, hidden)

    return scores, pull


def location(q, k, weight):
    """`weight` is [N, H, S_max]; keys from S_max on score -inf."""
    reached = weight[..., : k.shape[1]]
    beyond = k.shape[1] - reached.shape[-1]
    scores = np.einsum("btnh,nhs->bnts", q, reached)
    scores = np.pad(scores, [(0, 0)] * 3 + [(0, beyond)], constant_values=-np.inf)

    def pull(ds):
        ds = ds[..., : reached.shape[-1]]
        d_weight = np.zeros_like(weight)
        d_weight[..., : reached.shape[-1]] = np.einsum("bnts,btnh->nhs", ds, q)
        return np.einsum("bnts,nhs->btnh", ds, reached), np.zeros_like(k), d_weight

    return scores, pull


def softmax(scores, allowed):
    scores = np.where(allowed, scores, -np.inf)
    highest = scores.max(-1, keepdims=True, initial=-np.finfo(float).max)
    parts = np.exp(scores - highest)
    total = parts.sum(-1, keepdims=True)
    return parts / np.where(total == 0, 1, total)


def attend(
    query: Float[np.ndarray, "B T N H"],
    key: Float[np.ndarray, "B S K Hk"],
    value: Float[np.ndarray, "B S K Hv"],
    *,
    score: Callable[..., Any],
    parameter: np.ndarray | None = None,
    allowed: Bool[np.ndarray, "#B #N #T #S"] | bool = True,
    bias: Float[np.ndarray, "#B #N #T #S"] | None = None,
    center: Float[np.ndarray, "B T"] | None = None,
    deviation: float = 1.0,
    factors: Float[np.ndarray, "#B #N #T #S"] | float = 1.0,
) -> tuple[Float[np.ndarray, "B T N Hv"], Float[np.ndarray, "B N T S"], Callable[..., Gradients]]:
    """Context, weights, and a function from their cotangents to the gradients by name.

    `parameter` belongs to the score, with or without a head axis of its own. `center` [B, T] puts a
    Gaussian on the weights after the softmax; `factors` multiply what weighs and not what is shown,
    as dropout does.
    """
    key_heads = key.shape[2]
    groups = query.shape[2] // key_heads
    q, k, v = query, np.repeat(key, groups, axis=2), np.repeat(value, groups, axis=2)
    ranks = {general: 2, additive: 1, location: 2}
    shared = parameter is not None and parameter.ndim == ranks[score]
    per_head = np.stack([parameter] * q.shape[2]) if shared else parameter

    scores, pull_score = score(q, k, per_head)
    shares = softmax(scores if bias is None else scores + bias, allowed)
    gauss, offset = 1.0, 0.0
    if center is not None:
        offset = np.arange(k.shape[1]) - center[:, None, :, None]  # [B, 1, T, S]
        gauss = np.exp(-(offset**2) / (2 * deviation**2))
    weights = shares * gauss
    kept = weights * factors
    context = np.einsum("bnts,bsnh->btnh", kept, v)

    def pull(d_context, d_weights):
        d_weights = d_weights + factors * np.einsum("btnh,bsnh->bnts", d_context, v)
        d_shares = d_weights * gauss
        d_scores = shares * (d_shares - (shares * d_shares).sum(-1, keepdims=True))
        dq, dk, d_parameter = pull_score(d_scores)
        dv = np.einsum("bnts,btnh->bsnh", kept, d_context)
        gradients = {"query": dq, "key": _sum_groups(dk, groups), "value": _sum_groups(dv, groups)}
        if parameter is not None:
            gradients["parameter"] = d_parameter.sum(0) if shared else d_parameter
        if bias is not None:
            ones = tuple(axis for axis, size in enumerate(bias.shape) if size == 1)
            gradients["bias"] = d_scores.sum(ones, keepdims=True)
        if center is not None:
            gradients["center"] = (d_weights * weights * offset / deviation**2).sum((1, 3))
        return gradients

    return context, weights, pull


def _sum_groups(array, groups):
    batch, length, heads, width = array.shape
    return array.reshape(batch, length, heads // groups, groups, width).sum(3)
