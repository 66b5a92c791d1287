"""Sampling from next-token distributions, and the continuation of a prompt by any of these."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from attn_research.rng import per_example_key
from attn_research.types import Array, Float, Int, Key, PyTree

# (state, the token of each text) -> (logits of the next one, the state after it).
Step = Callable[[PyTree, Int[Array, "B"]], tuple[Float[Array, "B V"], PyTree]]
# (logits, key) -> tokens.
Choose = Callable[[Float[Array, "B V"], Key[Array, ""]], Int[Array, "B"]]


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


def sample(
    logits: Float[Array, "B V"],
    key: Key[Array, ""],
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> Int[Array, "B"]:
    """Tokens drawn from the distribution of logits / temperature; the most probable at 0.

    Of the `top_k` most probable tokens, unless it is 0, those of the nucleus `top_p` count. What is
    drawn for a row does not depend on the others.
    """
    if temperature == 0:
        return logits.argmax(axis=-1).astype(jnp.int32)
    logits = logits.astype(jnp.float32) / temperature
    if top_k:
        logits = keep_top_k(logits, top_k)
    if top_p < 1:
        logits = keep_top_p(logits, top_p)
    return jax.random.categorical(per_example_key(key), logits).astype(jnp.int32)


def generate(
    step: Step,
    state: PyTree,
    prompt: Int[Array, "B T"],
    *,
    num_tokens: int,
    choose: Choose,
    key: Key[Array, ""],
) -> Int[Array, "B num_tokens"]:
    """The continuation of a prompt by `num_tokens` tokens, each chosen after those before it.

    `step` is called once for each token of the prompt and each but the last of the continuation,
    so `state` needs room for all of these. Token n is chosen with a key of its own.
    """

    def read(state, token):
        return step(state, token)[1], None

    def extend(carry, number):
        state, last = carry
        logits, state = step(state, last)
        token = choose(logits, jax.random.fold_in(key, number))
        return (state, token), token

    state, _ = jax.lax.scan(read, state, prompt[:, :-1].T)
    (_, _), tokens = jax.lax.scan(extend, (state, prompt[:, -1]), jnp.arange(num_tokens))
    return tokens.T
