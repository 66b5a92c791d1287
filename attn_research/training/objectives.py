"""Losses as sums and weights, never means: the training step divides once."""

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
    """Cross entropy in nats, summed over the valid targets, and the number of valid targets.

    With label smoothing ε the target has probability 1 - ε, and ε is spread evenly over the
    vocabulary (Szegedy et al. 2015, section 7).
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
    *,
    label_smoothing: float = 0.0,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Cross entropy of examples with two targets, of probabilities `share` and 1 - `share`.

    Zhang et al. 2018, section 2; Yun et al. 2019, equation 1.
    """
    first, second = (_cross_entropy(logits, each, label_smoothing) for each in (targets, others))
    losses = share * first + (1 - share) * second
    return jnp.sum(jnp.where(valid, losses, 0.0)), jnp.sum(valid, dtype=jnp.float32)


# The default size of a chunk in logits, targets times vocabulary: on a CPU what fits its caches,
# elsewhere what makes a matrix product large enough to be fast. With fewer targets than
# `MIN_TARGETS` the accumulation of the weights' gradient would dominate.
MAX_LOGITS = {"cpu": 2**21}
MAX_LOGITS_ELSEWHERE = 2**26
MIN_TARGETS = 256


def chunked_cross_entropy(
    logits_fn: Callable[[Float[Array, "W D"]], Float[Array, "W V"]],
    states: Float[Array, "*B D"],
    targets: Int[Array, "*B"],
    valid: Bool[Array, "*B"],
    *,
    label_smoothing: float = 0.0,
    chunk: int | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """`cross_entropy` of `logits_fn(states)`, with the logits of `chunk` targets at a time.

    The gradient is computed together with the loss, so that logits are computed once and memory is
    that of one chunk. Valid targets go first, and chunks without any are skipped. None is a chunk
    that is fast; a single chunk needs no loop.
    """
    states = states.reshape(-1, states.shape[-1])
    targets, valid = targets.reshape(-1), valid.reshape(-1)
    num_targets = len(states)
    if chunk is None:
        vocab_size = jax.eval_shape(logits_fn, states[:1]).shape[-1]
        most = MAX_LOGITS.get(jax.default_backend(), MAX_LOGITS_ELSEWHERE)
        chunk = max(MIN_TARGETS, most // vocab_size)
    if num_targets <= chunk:
        return cross_entropy(logits_fn(states), targets, valid, label_smoothing)
    order = jnp.argsort(~valid, stable=True)

    def to_chunks(x):
        x = jnp.asarray(x).at[order].get(unique_indices=True)
        padded = jnp.pad(x, [(0, -num_targets % chunk)] + [(0, 0)] * (x.ndim - 1))
        return padded.reshape(-1, chunk, *x.shape[1:])

    states, targets, valid = jax.tree.map(to_chunks, (states, targets, valid))
    logits_fn, weights = jax.closure_convert(logits_fn, states[0])
    total = _chunked(logits_fn, states, tuple(weights), (targets, valid), label_smoothing)
    return total, jnp.sum(valid, dtype=jnp.float32)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _chunked(logits_fn, states, weights, labels, smoothing):
    """The sum of the losses of states [chunks, W, D]; `weights` are the arrays of `logits_fn`."""

    def accumulate(total, chunk):
        states, (targets, valid) = chunk

        def add_chunk(total):
            losses = _cross_entropy(logits_fn(states, *weights), targets, smoothing)
            return total + jnp.sum(jnp.where(valid, losses, 0.0))

        return jax.lax.cond(jnp.any(valid), add_chunk, lambda total: total, total), None

    return jax.lax.scan(accumulate, jnp.float32(0), (states, labels))[0]


def _chunked_forward(logits_fn, states, weights, labels, smoothing):
    def accumulate(sums, chunk):
        states, (targets, valid) = chunk

        def add_chunk(sums):
            logits, pullback = jax.vjp(logits_fn, states, *weights)
            losses, saved = _forward(logits, targets, smoothing)
            logits_gradient = _backward(saved, valid.astype(jnp.float32))[0]
            states_gradient, *weights_gradient = pullback(logits_gradient)
            total = sums[0] + jnp.sum(jnp.where(valid, losses, 0.0))
            return (total, *map(jnp.add, sums[1:], weights_gradient)), states_gradient

        def skip_chunk(sums):
            return sums, jnp.zeros_like(states)

        return jax.lax.cond(jnp.any(valid), add_chunk, skip_chunk, sums)

    zeros = (jnp.float32(0), *map(jnp.zeros_like, weights))
    (total, *weights_gradient), states_gradient = jax.lax.scan(accumulate, zeros, (states, labels))
    return total, (states_gradient, tuple(weights_gradient))


def _chunked_backward(logits_fn, saved, gradient):
    scaled = jax.tree.map(lambda x: (x * gradient).astype(x.dtype), saved)
    return *scaled, None, None


_chunked.defvjp(_chunked_forward, _chunked_backward)


# Autodiff would keep exp(logits) beside the logits; this gradient needs only what the forward pass
# has anyway, and passes once over an array that is most of a step's memory.
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
