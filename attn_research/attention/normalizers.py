"""Normalizers of scores to weights, `normalizer(scores, allowed, k_pos)`, along the last axis.

`allowed` and `k_pos`, the positions of the keys as masks get them, broadcast to the scores. Weights
are exactly 0 where `allowed` is false, whatever the score there, and all 0 in a row that is false
throughout. Keys that are not allowed have no part in the weights of those that are.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.rng import hash_words
from attn_research.trees import pytree
from attn_research.types import Array, ArrayLike, Bool, Float, Int, Key, UInt, wide_dtype

Scores = Float[Array, "*B N T S"]
Allowed = Bool[ArrayLike, "*#B #N #T #S"]
KeyPositions = Int[ArrayLike, "*#B 1 #T S"]


@pytree
@dataclasses.dataclass(frozen=True)
class Softmax:
    """exp(scores) over its sum, where allowed. A row of nothing but -inf has weights 0 too."""

    def __call__(self, scores: Scores, allowed: Allowed, k_pos: KeyPositions) -> Scores:
        return _softmax(scores, allowed)

    def of_queries(self, index: Int[ArrayLike, "T"]) -> "Softmax":
        return self

    def factor(self, k_pos: KeyPositions) -> None:
        return None


softmax = Softmax()


@jax.custom_jvp
def _softmax(scores, allowed):
    # The maximum is finite in every row, and masked scores are gone before the exponential.
    lowest = jnp.finfo(scores.dtype).min
    masked = jnp.where(allowed, scores, lowest)
    row_max = jnp.max(masked, axis=-1, keepdims=True, initial=lowest)
    exponentials = jnp.exp(jnp.where(allowed, scores - row_max, lowest))
    total = exponentials.sum(axis=-1, keepdims=True)
    return jnp.where(allowed, exponentials / jnp.where(total == 0, 1, total), 0)


# Autodiff would keep the exponentials, their sums and which of those are 0 beside the weights.
@_softmax.defjvp
def _softmax_tangent(primals, tangents):
    weights, allowed = _softmax(*primals), primals[1]
    # Neither the tangent of a masked score nor the cotangent of a masked weight reaches others,
    # so no step is NaN, forward or backward.
    tangent = jnp.where(allowed, tangents[0], 0)
    common = jnp.sum(weights * tangent, axis=-1, keepdims=True)
    return weights, jnp.where(allowed, weights * (tangent - common), 0)


@pytree
@dataclasses.dataclass(frozen=True)
class Gaussian:
    """The weights of `inner` times exp(-(s - p_t)² / 2σ²), of each query's center p_t.

    Luong, Pham, Manning 2015, section 3.2, where σ = D / 2. The weights are not normalized again,
    so a row sums to less than before. Centers are in the unit of positions, one for each query of
    the call; gradients reach them. ValueError where they do not fit the scores.
    """

    center: Float[ArrayLike, "*B T"] | Any
    deviation: float = dataclasses.field(metadata={"static": True})
    inner: Callable[..., Array] = softmax

    def __post_init__(self) -> None:
        if not self.deviation > 0:
            raise ValueError(f"Gaussian(deviation={self.deviation}): give a positive deviation")

    def __call__(self, scores: Scores, allowed: Allowed, k_pos: KeyPositions) -> Scores:
        needed = (*scores.shape[:-3], scores.shape[-2])
        if self.center.shape != needed:
            raise ValueError(f"Gaussian(center) has shape {self.center.shape}: give {needed}")
        return self.inner(scores, allowed, k_pos) * self._bell(k_pos).astype(scores.dtype)

    def of_queries(self, index: Int[ArrayLike, "T"]) -> "Gaussian":
        center = jnp.take(self.center, index, axis=-1, mode="clip")
        return dataclasses.replace(self, center=center, inner=self.inner.of_queries(index))

    def factor(self, k_pos: KeyPositions) -> Float[Array, "*B 1 T S"]:
        within = self.inner.factor(k_pos)
        return self._bell(k_pos) if within is None else within * self._bell(k_pos)

    def _bell(self, k_pos: ArrayLike) -> Array:
        center = jnp.asarray(self.center, wide_dtype(self.center))[..., None, :, None]
        distance = jnp.asarray(k_pos, center.dtype) - center
        return jnp.exp(-0.5 * (distance / self.deviation) ** 2)


def in_tiles(normalizer: Callable[..., Array]) -> bool:
    """Whether tiles can be normalized one after another, knowing no more of a row than its sum.

    The weights are then those of a softmax, or of a function of their own score (`pointwise`),
    times `normalizer.factor(k_pos)` where that is not None; `of_queries` is as that of masks.
    """
    inner = getattr(normalizer, "inner", None)
    return hasattr(normalizer, "factor") and (inner is None or in_tiles(inner))


def pointwise(normalizer: Callable[..., Array]) -> Any | None:
    """The normalizer whose weights depend on their own score alone, by `weigh`; None if none is.

    `slope(weights)` gives their derivatives by the scores.
    """
    inner = getattr(normalizer, "inner", None)
    return (
        pointwise(inner)
        if inner is not None
        else normalizer
        if hasattr(normalizer, "weigh")
        else None
    )


@pytree
@dataclasses.dataclass(frozen=True)
class Dropout:
    """Sets a weight to 0 with probability `rate` and divides the others by 1 - rate.

    Srivastava et al. 2014, on the weights as in Vaswani et al. 2017.
    """

    rate: float = dataclasses.field(metadata={"static": True})
    key: Key[Array, ""] | Any

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise ValueError(f"Dropout(rate={self.rate}): give a rate in [0, 1)")

    def __call__(self, weights: Float[Array, "*B N T S"]) -> Float[Array, "*B N T S"]:
        rows = self.rows(weights.shape[:-1])
        return weights * self.factor(rows, jnp.arange(weights.shape[-1]))

    def rows(self, shape: tuple[int, ...]) -> UInt[Array, "*B N T 2"]:
        """Two random words for every row, [*B, N, T]: the only draws, linear in length."""
        return jax.random.bits(self.key, (*shape, 2), jnp.uint32)

    def factor(
        self, rows: UInt[Array, "*B N T 2"], index: Int[ArrayLike, "*_ S"]
    ) -> Float[Array, "*B N T S"]:
        """0 or 1 / (1 - rate), by the words of the row and the index of the key alone.

        Every implementation, whichever keys it takes at a time, thus drops the same weights.
        """
        index = jnp.asarray(index)
        index = index.reshape((1,) * (rows.ndim - index.ndim) + index.shape)
        return self.factor_of(rows[..., :1], rows[..., 1:], index)

    def factor_of(
        self, first: UInt[Array, "..."], second: UInt[Array, "..."], index: Int[Array, "..."]
    ) -> Float[Array, "..."]:
        """The factor, from the two words of a row as separate arrays."""
        word = hash_words(first, second, index.astype(jnp.uint32))
        keep = word >= np.uint32(min(round(self.rate * 2**32), 2**32 - 1))
        return jnp.where(keep, np.float32(1 / (1 - self.rate)), np.float32(0))
