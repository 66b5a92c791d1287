"""Attention in float64 NumPy with gradients derived by hand; it knows nothing of the package.

Arrays have exactly one batch axis: query [B, T, N, H], key [B, S, K, Hk], value [B, S, K, Hv].
"""

import numpy as np


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


def softmax(scores, allowed):
    scores = np.where(allowed, scores, -np.inf)
    highest = scores.max(-1, keepdims=True, initial=-np.finfo(float).max)
    parts = np.exp(scores - highest)
    total = parts.sum(-1, keepdims=True)
    return parts / np.where(total == 0, 1, total)


def attend(query, key, value, *, score, parameter=None, allowed=True, bias=None, factors=1.0):
    """Context, weights, and a function from their cotangents to the gradients by name.

    `parameter` belongs to the score, with or without a head axis of its own; `factors` multiply
    the weights after the softmax, as dropout does.
    """
    key_heads = key.shape[2]
    groups = query.shape[2] // key_heads
    q, k, v = query, np.repeat(key, groups, axis=2), np.repeat(value, groups, axis=2)
    shared = parameter is not None and parameter.ndim == {general: 2, additive: 1}[score]
    per_head = np.stack([parameter] * q.shape[2]) if shared else parameter

    scores, pull_score = score(q, k, per_head)
    weights = softmax(scores if bias is None else scores + bias, allowed)
    kept = weights * factors
    context = np.einsum("bnts,bsnh->btnh", kept, v)

    def pull(d_context, d_weights):
        d_weights = d_weights + factors * np.einsum("btnh,bsnh->bnts", d_context, v)
        d_scores = weights * (d_weights - (weights * d_weights).sum(-1, keepdims=True))
        dq, dk, d_parameter = pull_score(d_scores)
        dv = np.einsum("bnts,btnh->bsnh", kept, d_context)
        gradients = {"query": dq, "key": _sum_groups(dk, groups), "value": _sum_groups(dv, groups)}
        if parameter is not None:
            gradients["parameter"] = d_parameter.sum(0) if shared else d_parameter
        if bias is not None:
            ones = tuple(axis for axis, size in enumerate(bias.shape) if size == 1)
            gradients["bias"] = d_scores.sum(ones, keepdims=True)
        return gradients

    return context, weights, pull


def _sum_groups(array, groups):
    batch, length, heads, width = array.shape
    return array.reshape(batch, length, heads // groups, groups, width).sum(3)
