"""How the look is shared out: `normalizer(scores, allowed)` gives weights over the last axis.

`allowed` broadcasts to the scores. Weights are exactly 0 where it is false, whatever the score
there, and all 0 in a row that is false throughout.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from attn_research.types import Array, ArrayLike, Bool, Float, Key


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Softmax:
    """exp(scores) over its sum, where allowed. A row of nothing but -inf shares nothing either."""

    def __call__(
        self, scores: Float[Array, "*B N T S"], allowed: Bool[ArrayLike, "*#B #N #T #S"]
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
