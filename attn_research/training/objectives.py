"""Losses as sums and weights, never means: whoever adds them up divides once."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from attn_research.types import Array, Bool, Float, Int


def cross_entropy(
    logits: Float[Array, "*B V"],
    targets: Int[Array, "*B"],
    valid: Bool[Array, "*B"],
    label_smoothing: float = 0.0,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Negative log likelihood in nats, summed over the valid targets, and how many there are.

    With smoothing ε the target has probability 1 - ε, and ε is spread evenly over the vocabulary
    (Szegedy et al. 2015, section 7).
    """
    flat = logits.reshape(-1, logits.shape[-1])
    losses = _cross_entropy(flat, targets.reshape(-1), label_smoothing)
    keep = valid.reshape(-1)
    return jnp.sum(jnp.where(keep, losses, 0.0)), jnp.sum(keep, dtype=jnp.float32)


def mixed_cross_entropy(
    logits: Float[Array, "B V"],
    targets: Int[Array, "B"],
    others: Int[Array, "B"],
    share: Float[Array, "B"],
    valid: Bool[Array, "B"],
    label_smoothing: float = 0.0,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """`cross_entropy` of examples with two targets, the first one of probability `share`.

    Zhang et al. 2018, section 2; Yun et al. 2019, equation 1.
    """
    first, second = (_cross_entropy(logits, each, label_smoothing) for each in (targets, others))
    losses = share * first + (1 - share) * second
    return jnp.sum(jnp.where(valid, losses, 0.0)), jnp.sum(valid, dtype=jnp.float32)


# The scores, words times vocabulary, that a loss holds at once unless told otherwise: on a CPU what
# its caches hold, elsewhere what a large product needs to be fast. Fewer words than `MIN_WORDS`
# would not pay for adding up the gradient of the weights.
MAX_SCORES = {"cpu": 2**21}
MAX_SCORES_ELSEWHERE = 2**26
MIN_WORDS = 256


def chunked_cross_entropy(
    score: Callable[[Float[Array, "W D"]], Float[Array, "W V"]],
    states: Float[Array, "*B D"],
    targets: Int[Array, "*B"],
    valid: Bool[Array, "*B"],
    label_smoothing: float = 0.0,
    chunk: int | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """`cross_entropy` of `score(states)`, of `chunk` words at a time, the others' scores forgotten.

    Where a gradient is asked for, it is computed with the loss, so that no word is scored twice and
    memory is that of one chunk. The valid words go first, and chunks without any are skipped. None
    takes a number of words that is fast; words that are no more are scored without a loop.
    """
    states = states.reshape(-1, states.shape[-1])
    targets, valid = targets.reshape(-1), valid.reshape(-1)
    num_words = len(states)
    if chunk is None:
        vocab_size = jax.eval_shape(score, states[:1]).shape[-1]
        most = MAX_SCORES.get(jax.default_backend(), MAX_SCORES_ELSEWHERE)
        chunk = max(MIN_WORDS, most // vocab_size)
    if num_words <= chunk:
        return cross_entropy(score(states), targets, valid, label_smoothing)
    order = jnp.argsort(~valid, stable=True)

    def cut(x):
        x = jnp.asarray(x).at[order].get(unique_indices=True)
        filled = jnp.pad(x, [(0, -num_words % chunk)] + [(0, 0)] * (x.ndim - 1))
        return filled.reshape(-1, chunk, *x.shape[1:])

    states, targets, valid = jax.tree.map(cut, (states, targets, valid))
    score, weights = jax.closure_convert(score, states[0])
    total = _chunked(score, states, tuple(weights), targets, valid, label_smoothing)
    return total, jnp.sum(valid, dtype=jnp.float32)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _chunked(score, states, weights, targets, valid, smoothing):
    """The sum of the losses of states [chunks, W, D]; `weights` is what `score` depends on."""

    def add(total, part):
        states, targets, valid = part

        def more(total):
            losses = _cross_entropy(score(states, *weights), targets, smoothing)
            return total + jnp.sum(jnp.where(valid, losses, 0.0))

        return jax.lax.cond(jnp.any(valid), more, lambda total: total, total), None

    return jax.lax.scan(add, jnp.float32(0), (states, targets, valid))[0]


def _chunked_forward(score, states, weights, targets, valid, smoothing):
    def add(sums, part):
        states, targets, valid = part

        def more(sums):
            logits, pull = jax.vjp(score, states, *weights)
            losses, saved = _forward(logits, targets, smoothing)
            of_logits = _backward(saved, valid.astype(jnp.float32))[0]
            of_states, *of_weights = pull(of_logits)
            total = sums[0] + jnp.sum(jnp.where(valid, losses, 0.0))
            return (total, *map(jnp.add, sums[1:], of_weights)), of_states

        def none(sums):
            return sums, jnp.zeros_like(states)

        return jax.lax.cond(jnp.any(valid), more, none, sums)

    zeros = (jnp.float32(0), *map(jnp.zeros_like, weights))
    (total, *of_weights), of_states = jax.lax.scan(add, zeros, (states, targets, valid))
    return total, (of_states, tuple(of_weights))


def _chunked_backward(score, saved, gradient):
    scaled = jax.tree.map(lambda x: (x * gradient).astype(x.dtype), saved)
    return *scaled, None, None, None


_chunked.defvjp(_chunked_forward, _chunked_backward)


# Autodiff would keep exp(logits) beside the logits; this gradient needs only what the forward pass
# has anyway, and makes one pass over an array that is most of a step's memory.
@jax.custom_vjp
def _cross_entropy(logits, targets, smoothing):
    return _forward(logits, targets, smoothing)[0]


def _forward(logits, targets, smoothing):
    wide = logits.astype(jnp.float32)
    log_normalizer = jax.nn.logsumexp(wide, axis=-1)
    chosen = jnp.take_along_axis(wide, targets[:, None], axis=-1)[:, 0]
    expected = (1 - smoothing) * chosen + smoothing * jnp.mean(wide, axis=-1)
    return log_normalizer - expected, (logits, targets, smoothing, log_normalizer)


def _backward(saved, gradient):
    logits, targets, smoothing, log_normalizer = saved
    vocab_size = logits.shape[-1]
    probabilities = jnp.exp(logits.astype(jnp.float32) - log_normalizer[:, None])
    hit = jnp.arange(vocab_size)[None] == targets[:, None]
    wanted = (1 - smoothing) * hit + smoothing / vocab_size
    return ((probabilities - wanted) * gradient[:, None]).astype(logits.dtype), None, None


_cross_entropy.defvjp(_forward, _backward)
