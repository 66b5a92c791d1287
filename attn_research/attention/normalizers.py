"""How the look is shared out: `normalizer(scores, allowed, k_pos)` weighs along the last axis.

`allowed` and `k_pos`, the positions of the keys as masks get them, broadcast to the scores. Weights
are exactly 0 where `allowed` is false, whatever the score there, and all 0 in a row that is false
throughout. Keys that are not allowed have no part in the weights of those that are.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from attn_research.types import Array, ArrayLike, Bool, Float, Int, Key


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Softmax:
    """exp(scores) over its sum, where allowed. A row of nothing but -inf shares nothing either."""

    def __call__(
        self,
        scores: Float[Array, "*B N T S"],
        allowed: Bool[ArrayLike, "*#B #N #T #S"],
        k_pos: Int[ArrayLike, "*#B 1 #T S"],
    ) -> Float[Array, "*B N T S"]:
        # The highest is finite in every row, what is masked is gone before the exponential, and the
        # last line keeps cotangents of masked weights out: no step is NaN, forward or backward.
        lowest = jnp.finfo(scores.dtype).min
        highest = jnp.max(scores, axis=-1, keepdims=True, initial=lowest, where=allowed)
        above = scores - jax.lax.stop_gradient(highest)
        parts = jnp.exp(jnp.where(allowed, above, -jnp.inf))
        total = parts.sum(axis=-1, keepdims=True)
        return jnp.where(allowed, parts / jnp.where(total == 0, 1, total), 0)


softmax = Softmax()


@jax.tree_util.register_dataclass
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

    def __call__(
        self,
        scores: Float[Array, "*B N T S"],
        allowed: Bool[ArrayLike, "*#B #N #T #S"],
        k_pos: Int[ArrayLike, "*#B 1 #T S"],
    ) -> Float[Array, "*B N T S"]:
        needed = (*scores.shape[:-3], scores.shape[-2])
        if self.center.shape != needed:
            raise ValueError(f"Gaussian(center) has shape {self.center.shape}: give {needed}")
        center = jnp.asarray(self.center, scores.dtype)[..., None, :, None]
        factor = jnp.exp(-0.5 * ((k_pos - center) / self.deviation) ** 2)
        return self.inner(scores, allowed, k_pos) * factor


@jax.tree_util.register_dataclass
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
        keep = jax.random.bernoulli(self.key, 1 - self.rate, weights.shape)
        return jnp.where(keep, weights / (1 - self.rate), 0.0)
