"""Losses as sums and weights, never means: whoever adds them up divides once."""

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


# The most scores, words times vocabulary, that a loss holds at once unless told otherwise.
MAX_SCORES = 2**26


def vocabulary_loss(
    score: Callable[[Float[Array, "W D"]], Float[Array, "W V"]],
    states: Float[Array, "*B D"],
    targets: Int[Array, "*B"],
    valid: Bool[Array, "*B"],
    label_smoothing: float = 0.0,
    chunk: int | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """`cross_entropy` of `score(states)`, of `chunk` words at a time, the others' scores forgotten.

    The backward pass scores each chunk again, so that memory is that of one. None takes all words
    at once while there are at most `MAX_SCORES` scores, else as many as give that number.
    """
    states = states.reshape(-1, states.shape[-1])
    targets, valid = targets.reshape(-1), valid.reshape(-1)
    num_words = len(states)
    if chunk is None:
        vocab_size = jax.eval_shape(score, states[:1]).shape[-1]
        chunk = max(1, MAX_SCORES // vocab_size)
    if num_words <= chunk:
        return cross_entropy(score(states), targets, valid, label_smoothing)

    @jax.checkpoint
    def add(total, part):
        states, targets, valid = part
        return total + cross_entropy(score(states), targets, valid, label_smoothing)[0], None

    def cut(x):
        filled = jnp.pad(x, [(0, -num_words % chunk)] + [(0, 0)] * (x.ndim - 1))
        return filled.reshape(-1, chunk, *x.shape[1:])

    parts = jax.tree.map(cut, (states, targets, valid))
    total, _ = jax.lax.scan(add, jnp.float32(0), parts)
    return total, jnp.sum(valid, dtype=jnp.float32)


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
