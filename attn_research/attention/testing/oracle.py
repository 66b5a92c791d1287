"""Attention in float64 NumPy with its gradients: what every implementation must equal.

It shares nothing with them, nor with the dense reference. Arrays have exactly one batch axis. A
score is a function of one head: queries q [B, T, H], keys k [B, S, Hk] and its parameter, an array,
a scalar or None, give scores [B, T, S]. It may return a pair instead, of the scores and a function
from their cotangent to the gradients of q, k and the parameter. Where it does not, the gradients
are central differences, for which a score must depend on its own query and key alone, and on where
they stand. A normalizer of scores [B, N, T, S] and of which are allowed gives weights, or weights
and a function from their cotangent to that of the scores, in the same way.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from attn_research.types import Bool, Float

Gradients = dict[str, Any]
STEP = 1e-5  # of central differences: their error is about 1e-10


def dot(q, k, _):
    def pull(ds):
        return np.einsum("bts,bsh->bth", ds, k), np.einsum("bts,bth->bsh", ds, q), None

    return np.einsum("bth,bsh->bts", q, k), pull


def scaled_dot(q, k, _):
    scores, pull = dot(q, k, None)
    scale = 1 / np.sqrt(q.shape[-1])
    return scores * scale, lambda ds: pull(ds * scale)


def general(q, k, weight):
    """`weight` is [H, Hk]."""

    def pull(ds):
        return (
            np.einsum("bts,ij,bsj->bti", ds, weight, k),
            np.einsum("bts,bti,ij->bsj", ds, q, weight),
            np.einsum("bts,bti,bsj->ij", ds, q, k),
        )

    return np.einsum("bti,ij,bsj->bts", q, weight, k), pull


def additive(q, k, vector):
    """`vector` is [H]."""
    hidden = np.tanh(q[:, :, None] + k[:, None])  # [B, T, S, H]

    def pull(ds):
        before_tanh = np.einsum("bts,h,btsh->btsh", ds, vector, 1 - hidden**2)
        return before_tanh.sum(2), before_tanh.sum(1), np.einsum("bts,btsh->h", ds, hidden)

    return hidden @ vector, pull


def location(q, k, weight):
    """`weight` is [H, S_max]; keys from S_max on score -inf."""
    within = weight[:, : k.shape[1]]
    beyond = k.shape[1] - within.shape[-1]
    scores = np.pad(q @ within, [(0, 0), (0, 0), (0, beyond)], constant_values=-np.inf)

    def pull(ds):
        ds = ds[..., : within.shape[-1]]
        d_weight = np.zeros_like(weight)
        d_weight[:, : within.shape[-1]] = np.einsum("bts,bth->hs", ds, q)
        return ds @ within.T, np.zeros_like(k), d_weight

    return scores, pull


def differentiate(score, q, k, parameter):
    """The scores of a head, and the function from their cotangent to gradients by differences."""

    def partial(index, name):
        """The derivative of every score by one entry of its query, its key or the parameter."""
        sides = []
        for step in (STEP, -STEP):
            moved = {"q": q, "k": k, "parameter": parameter}
            moved[name] = np.array(moved[name], np.float64)
            moved[name][index] += step
            sides.append(_result_of(score(*moved.values())))
        with np.errstate(invalid="ignore"):  # -inf less -inf
            difference = (sides[0] - sides[1]) / (2 * STEP)
        return np.where(np.isfinite(difference), difference, 0)

    def pull(ds):
        # A score depends on its own query and key alone: one entry of all queries moves at a time.
        dq = [(ds * partial((..., h), "q")).sum(2) for h in range(q.shape[-1])]
        dk = [(ds * partial((..., h), "k")).sum(1) for h in range(k.shape[-1])]
        d_parameter = None
        if parameter is not None:
            entries = [(ds * partial(i, "parameter")).sum() for i in np.ndindex(parameter.shape)]
            d_parameter = np.reshape(entries, parameter.shape)
        return np.stack(dq, -1), np.stack(dk, -1), d_parameter

    return _result_of(score(q, k, parameter)), pull


def _result_of(result):
    return result[0] if isinstance(result, tuple) else result


def _score_of_heads(score, q, k, parameters):
    """Scores [B, N, T, S] of a parameter for each head, and their gradients, heads likewise."""
    of_heads = []
    for head, parameter in enumerate(parameters):
        operands = q[:, :, head], k[:, :, head], parameter
        result = score(*operands)
        of_heads.append(result if isinstance(result, tuple) else differentiate(score, *operands))

    def pull(ds):
        dq, dk, d_parameters = zip(
            *(pull(ds[:, head]) for head, (_, pull) in enumerate(of_heads)), strict=True
        )
        return np.stack(dq, 2), np.stack(dk, 2), d_parameters

    return np.stack([scores for scores, _ in of_heads], 1), pull


def softmax(scores, allowed):
    scores = np.where(allowed, scores, -np.inf)
    row_max = scores.max(-1, keepdims=True, initial=-np.finfo(float).max)
    exponentials = np.exp(scores - row_max)
    total = exponentials.sum(-1, keepdims=True)
    weights = exponentials / np.where(total == 0, 1, total)
    return weights, _sharing(weights)


def _sharing(share):
    """The cotangent of scores whose weights keep their sum, of each key's share in a change."""

    def pull(d_weights):
        total = share.sum(-1, keepdims=True)
        mean = (share * d_weights).sum(-1, keepdims=True) / np.where(total == 0, 1, total)
        return share * (d_weights - mean)

    return pull


def _of_threshold(power):
    """Weights max(scores / n - τ, 0)^n that sum to 1; τ is found by bisection."""

    def normalize(scores, allowed):
        scores = np.where(allowed, scores / power, -np.inf)
        high = scores.max(-1, keepdims=True, initial=-np.finfo(float).max)
        low = high - 1
        for _ in range(60):
            middle = low + (high - low) / 2
            over = (np.maximum(scores - middle, 0) ** power).sum(-1, keepdims=True) >= 1
            low, high = np.where(over, middle, low), np.where(over, high, middle)
        weights = np.maximum(scores - low, 0) ** power
        return weights, _sharing(np.where(weights > 0, weights ** (1 - 1 / power), 0))

    return normalize


sparsemax, entmax15 = _of_threshold(1), _of_threshold(2)


def sigmoid(scores, allowed):
    weights = np.where(allowed, 1 / (1 + np.exp(-scores)), 0)
    return weights, lambda d_weights: weights * (1 - weights) * d_weights


def differentiate_rows(normalizer, scores, allowed):
    """The weights of scores, and the function from their cotangent to theirs by differences."""

    def pull(d_weights):
        d_scores = np.empty_like(scores)
        for key in range(scores.shape[-1]):
            step = STEP * (np.arange(scores.shape[-1]) == key)
            high, low = (_result_of(normalizer(scores + each, allowed)) for each in (step, -step))
            d_scores[..., key] = (d_weights * (high - low)).sum(-1) / (2 * STEP)
        return d_scores

    return _result_of(normalizer(scores, allowed)), pull


def attend(
    query: Float[np.ndarray, "B T N H"],
    key: Float[np.ndarray, "B S K Hk"],
    value: Float[np.ndarray, "B S K Hv"],
    *,
    score: Callable[..., Any],
    parameter: Float[np.ndarray, "..."] | None = None,
    per_head: bool = False,
    allowed: Bool[np.ndarray, "#B #N #T #S"] | bool = True,
    bias: Float[np.ndarray, "#B #N #T #S"] | None = None,
    center: Float[np.ndarray, "B T"] | None = None,
    deviation: float = 1.0,
    factors: Float[np.ndarray, "#B #N #T #S"] | float = 1.0,
    normalizer: Callable[..., Any] = softmax,
) -> tuple[Float[np.ndarray, "B T N Hv"], Float[np.ndarray, "B N T S"], Callable[..., Gradients]]:
    """Context, weights, and a function from their cotangents to the gradients by name.

    `parameter` belongs to the score; it begins with a head axis where it is `per_head`, and else
    all heads share it. `center` [B, T] puts a Gaussian on the weights after the normalizer;
    `factors` multiply the weights of the context and not those returned, as dropout does.
    """
    num_heads, group = query.shape[2], query.shape[2] // key.shape[2]
    q, k, v = query, np.repeat(key, group, axis=2), np.repeat(value, group, axis=2)

    parameters = list(parameter) if per_head else [parameter] * num_heads
    scores, pull_score = _score_of_heads(score, q, k, parameters)
    scores = scores if bias is None else scores + bias
    result = normalizer(scores, allowed)
    if not isinstance(result, tuple):
        result = differentiate_rows(normalizer, scores, allowed)
    probs, pull_normalizer = result
    gauss, offset = 1.0, 0.0
    if center is not None:
        offset = np.arange(k.shape[1]) - center[:, None, :, None]  # [B, 1, T, S]
        gauss = np.exp(-(offset**2) / (2 * deviation**2))
    weights = probs * gauss
    kept = weights * factors
    context = np.einsum("bnts,bsnh->btnh", kept, v)

    def pull(d_context, d_weights):
        d_weights = d_weights + factors * np.einsum("btnh,bsnh->bnts", d_context, v)
        d_scores = pull_normalizer(d_weights * gauss)
        dq, dk, d_parameters = pull_score(d_scores)
        dv = np.einsum("bnts,btnh->bsnh", kept, d_context)
        gradients = {"query": dq, "key": _sum_groups(dk, group), "value": _sum_groups(dv, group)}
        if parameter is not None:
            stacked = np.stack(d_parameters)
            gradients["parameter"] = stacked if per_head else stacked.sum(0)
        if bias is not None:
            ones = tuple(axis for axis, size in enumerate(bias.shape) if size == 1)
            gradients["bias"] = d_scores.sum(ones, keepdims=True)
        if center is not None:
            gradients["center"] = (d_weights * weights * offset / deviation**2).sum((1, 3))
        return gradients

    return context, weights, pull


def _sum_groups(array, group):
    batch, length, heads, width = array.shape
    return array.reshape(batch, length, heads // group, group, width).sum(3)
