"""Sampling from next-token distributions."""

import dataclasses

import jax
import jax.numpy as jnp

from attn_research.rng import per_example_key
from attn_research.types import Array, Float, Int, Key


def keep_top_k(logits: Float[Array, "*B V"], k: int) -> Float[Array, "*B V"]:
    """Logits of the `k` most probable tokens, -inf for all others. Fan et al. 2018, section 5.

    Tokens as probable as the k-th are kept too. ValueError for no token.
    """
    if k < 1:
        raise ValueError(f"top_k {k}: give 1 or more")
    least = jax.lax.top_k(logits, min(k, logits.shape[-1]))[0][..., -1:]
    return jnp.where(logits >= least, logits, -jnp.inf)


def keep_top_p(logits: Float[Array, "*B V"], p: float) -> Float[Array, "*B V"]:
    """Logits of the nucleus, -inf for all others: the fewest tokens of a probability of `p`.

    Holtzman et al. 2019, section 3.1. Tokens as probable as the last of them are kept too.
    ValueError where p is not above 0 and at most 1.
    """
    if not 0 < p <= 1:
        raise ValueError(f"top_p {p}: give a probability, above 0 and at most 1")
    ordered = -jnp.sort(-logits, axis=-1)
    probabilities = jax.nn.softmax(ordered, axis=-1)
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    least = jnp.min(jnp.where(before < p, ordered, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(logits >= least, logits, -jnp.inf)


@dataclasses.dataclass(frozen=True)
class Sampling:
    """The distribution that tokens are drawn from, that of logits / `temperature`.

    Of the `top_k` most probable tokens, unless it is 0, those of the nucleus `top_p` count. At a
    temperature of 0 the most probable token is taken: greedy search. ValueError for a temperature
    below 0, and as in `keep_top_k` and `keep_top_p`.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self):
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature {self.temperature}: give a number from 0 on")
        if self.top_k < 0:
            raise ValueError(f"top_k {self.top_k}: give 1 or more, or 0 for all tokens")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p {self.top_p}: give a probability, above 0 and at most 1")

    def draw(self, logits: Float[Array, "B V"], keys: Key[Array, "B"]) -> Int[Array, "B"]:
        """A token of each row, which depends on its logits and its key alone."""
        if self.temperature == 0:
            return logits.argmax(axis=-1).astype(jnp.int32)
        logits = logits.astype(jnp.float32) / self.temperature
        if self.top_k:
            logits = keep_top_k(logits, self.top_k)
        if self.top_p < 1:
            logits = keep_top_p(logits, self.top_p)
        draw = jax.vmap(lambda key, row: jax.random.categorical(per_example_key(key), row))
        return draw(keys, logits).astype(jnp.int32)


GREEDY = Sampling()
