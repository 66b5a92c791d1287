"""Normalizers with exact zeros, and one without a sum: sparsemax, 1.5-entmax, sigmoid, top-k.

As those in `normalizers` they give 0 where a key is not allowed, and a row of zeros where none is.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from attn_research.attention.normalizers import Allowed, KeyPositions, Scores, softmax
from attn_research.trees import pytree
from attn_research.types import Array, ArrayLike, Int


@pytree
@dataclasses.dataclass(frozen=True)
class Sparsemax:
    """The distribution nearest to the scores: max(scores - τ, 0), of a τ with which it sums to 1.

    Martins, Astudillo 2016, section 2, algorithm 1. It needs all scores of a row at once.
    """

    def __call__(self, scores: Scores, allowed: Allowed, k_pos: KeyPositions) -> Scores:
        return _sparsemax(scores, allowed)


@pytree
@dataclasses.dataclass(frozen=True)
class Entmax15:
    """1.5-entmax: max(scores / 2 - τ, 0)², of a τ with which it sums to 1.

    Peters, Niculae, Martins 2019, section 3 and algorithm 2: between softmax and sparsemax. It
    needs all scores of a row at once.
    """

    def __call__(self, scores: Scores, allowed: Allowed, k_pos: KeyPositions) -> Scores:
        return _entmax15(scores, allowed)


sparsemax, entmax15 = Sparsemax(), Entmax15()


@pytree
@dataclasses.dataclass(frozen=True)
class Sigmoid:
    """σ(score + bias), of each key for itself: a row sums to no particular number.

    Ramapuram et al. 2024, section 3, where the bias is -log S for S keys.
    """

    bias: float = dataclasses.field(default=0.0, metadata={"static": True})

    def __call__(self, scores: Scores, allowed: Allowed, k_pos: KeyPositions) -> Scores:
        return jnp.where(allowed, self.weigh(jnp.where(allowed, scores, 0)), 0)

    def weigh(self, scores: Array) -> Array:
        """The weights of scores that are allowed."""
        return jax.nn.sigmoid(scores + self.bias)

    def slope(self, weights: Array) -> Array:
        """The derivative of weights by their scores."""
        return weights * (1 - weights)

    def of_queries(self, index: Int[ArrayLike, "T"]) -> "Sigmoid":
        return self

    def factor(self, k_pos: KeyPositions) -> None:
        return None


@pytree
@dataclasses.dataclass(frozen=True)
class TopK:
    """The weights of `inner` over the `count` keys of the highest scores, 0 for all others.

    Gupta et al. 2021, section 3.1. Keys whose score is that of the last of them are kept too. It
    needs all scores of a row at once; no gradient reaches the choice.
    """

    count: int = dataclasses.field(metadata={"static": True})
    inner: Callable[..., Array] = softmax

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"TopK(count={self.count}): give 1 or more")

    def __call__(self, scores: Scores, allowed: Allowed, k_pos: KeyPositions) -> Scores:
        lowest = jnp.finfo(scores.dtype).min
        ranked = lax.stop_gradient(jnp.where(allowed, scores, lowest))
        count = min(self.count, scores.shape[-1])
        least = lax.top_k(ranked, count)[0][..., -1:]
        return self.inner(
            scores, jnp.broadcast_to(allowed, scores.shape) & (ranked >= least), k_pos
        )


def _ranked(scores: Array, allowed: ArrayLike) -> tuple[Array, Array, Array]:
    """Scores less the highest of their row, the same in falling order, and which of them count.

    None is below -4, which is past where both normalizers end; a score of -inf does not count.
    """
    counts = allowed & (scores > -jnp.inf)
    lowest = jnp.finfo(scores.dtype).min
    row_max = jnp.max(jnp.where(counts, scores, lowest), axis=-1, keepdims=True, initial=lowest)
    shifted = jnp.where(counts, jnp.maximum(jnp.where(counts, scores, 0) - row_max, -4), -4)
    return shifted, -jnp.sort(-shifted, axis=-1), counts


@jax.custom_jvp
def _sparsemax(scores, allowed):
    shifted, ordered, counts = _ranked(scores, allowed)
    ranks = jnp.arange(1, scores.shape[-1] + 1, dtype=scores.dtype)
    ranks = ranks.reshape((1,) * (scores.ndim - 1) + (-1,))
    sums = jnp.cumsum(ordered, axis=-1)
    support = jnp.sum(1 + ranks * ordered > sums, axis=-1, keepdims=True)
    threshold = (jnp.take_along_axis(sums, support - 1, axis=-1) - 1) / support
    return jnp.where(counts, jnp.maximum(shifted - threshold, 0), 0)


@_sparsemax.defjvp
def _sparsemax_tangent(primals, tangents):
    weights = _sparsemax(*primals)
    return weights, _centered((weights > 0).astype(weights.dtype), tangents[0])


@jax.custom_jvp
def _entmax15(scores, allowed):
    shifted, ordered, counts = _ranked(scores, allowed)
    shifted, ordered = shifted / 2, ordered / 2
    ranks = jnp.arange(1, scores.shape[-1] + 1, dtype=scores.dtype)
    ranks = ranks.reshape((1,) * (scores.ndim - 1) + (-1,))
    mean, mean_of_squares = (jnp.cumsum(x, axis=-1) / ranks for x in (ordered, ordered**2))
    spread = ranks * (mean_of_squares - mean**2)
    thresholds = mean - jnp.sqrt(jnp.maximum((1 - spread) / ranks, 0))
    support = jnp.sum(thresholds <= ordered, axis=-1, keepdims=True)
    threshold = jnp.take_along_axis(thresholds, support - 1, axis=-1)
    return jnp.where(counts, jnp.maximum(shifted - threshold, 0) ** 2, 0)


@_entmax15.defjvp
def _entmax15_tangent(primals, tangents):
    weights = _entmax15(*primals)
    # The root has no derivative at 0, where its own is not needed.
    inside = weights > 0
    return weights, _centered(
        jnp.where(inside, jnp.sqrt(jnp.where(inside, weights, 1)), 0), tangents[0]
    )


def _centered(share, tangent):
    """The tangent times each key's share, less the mean by share: the weights keep their sum."""
    tangent = jnp.where(share > 0, tangent, 0)
    total = share.sum(axis=-1, keepdims=True)
    mean = (share * tangent).sum(axis=-1, keepdims=True) / jnp.where(total > 0, total, 1)
    return share * (tangent - mean)
