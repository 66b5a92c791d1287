"""Losses as sums and weights, never means: the training step divides once."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from attn_research.attention.backends.divided import num_parts, split_tokens
from attn_research.derivatives import with_backward
from attn_research.loops import vary_as
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

    def total(states: Array, targets: Array, valid: Array) -> tuple[Array, Array]:
        states = states.reshape(-1, states.shape[-1])
        flat = targets.reshape(-1), valid.reshape(-1)
        return _by_chunk(logits_fn, states, *flat, label_smoothing, chunk)

    parts = num_parts()
    if parts == 1 or states.ndim != 3 or states.shape[1] % parts:
        return total(states, targets, valid)
    # A chunk has tokens of each part, so that devices share the work as they share the tokens.
    totals = jax.vmap(total)(*(split_tokens(each) for each in (states, targets, valid)))
    return jax.tree.map(jnp.sum, totals)


def _by_chunk(
    logits_fn: Callable[[Array], Array],
    states: Float[Array, "W D"],
    targets: Int[Array, "W"],
    valid: Bool[Array, "W"],
    label_smoothing: float,
    chunk: int | None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
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


def _chunked(
    logits_fn: Callable[..., Array],
    states: Float[Array, "chunks W D"],
    weights: tuple[Array, ...],
    labels: tuple[Array, Array],
    smoothing: float,
) -> Float[Array, ""]:
    """The sum of the losses of all states; `weights` are the arrays of `logits_fn`."""

    def sum_of_losses(operands: tuple, labels: tuple) -> Array:
        states, weights = operands

        @jax.checkpoint
        def losses_of(states: Array, weights: tuple, targets: Array, valid: Array) -> Array:
            losses = _cross_entropy(logits_fn(states, *weights), targets, smoothing)
            return jnp.sum(jnp.where(valid, losses, 0.0))

        def accumulate(total: Array, chunk: tuple) -> tuple[Array, None]:
            states, (targets, valid) = chunk

            def add_chunk(total: Array) -> Array:
                return total + losses_of(states, weights, targets, valid)

            return lax.cond(jnp.any(valid), add_chunk, lambda total: total, total), None

        zero = vary_as(jnp.float32(0), operands, labels)
        return lax.scan(accumulate, zero, (states, labels))[0]

    def with_gradient(operands: tuple, labels: tuple) -> tuple[Array, tuple]:
        states, weights = operands

        def accumulate(sums: tuple, chunk: tuple) -> tuple[tuple, Array]:
            states, (targets, valid) = chunk

            def add_chunk(sums: tuple) -> tuple[tuple, Array]:
                logits, pullback = jax.vjp(logits_fn, states, *weights)
                losses, log_normalizer = _losses(logits, targets, smoothing)
                one = valid.astype(jnp.float32)
                d_logits = _logits_gradient(logits, targets, smoothing, log_normalizer, one)
                d_states, *d_weights = pullback(d_logits)
                total = sums[0] + jnp.sum(jnp.where(valid, losses, 0.0))
                return (total, *map(jnp.add, sums[1:], d_weights)), d_states

            def skip_chunk(sums: tuple) -> tuple[tuple, Array]:
                return sums, vary_as(jnp.zeros_like(states), states)

            return lax.cond(jnp.any(valid), add_chunk, skip_chunk, sums)

        zeros = (vary_as(jnp.zeros_like(each), each) for each in weights)
        sums = vary_as(jnp.float32(0), operands, labels), *zeros
        (total, *d_weights), d_states = lax.scan(accumulate, sums, (states, labels))
        return total, (d_states, tuple(d_weights))

    def backward(operands: tuple, labels: tuple, gradients: tuple, cotangent: Array) -> tuple:
        return jax.tree.map(lambda x: (x * cotangent).astype(x.dtype), gradients)

    total = with_backward(sum_of_losses, sum_of_losses, backward, with_gradient)
    return total((states, weights), labels)


def _cross_entropy(
    logits: Float[Array, "W V"], targets: Int[Array, "W"], smoothing: float
) -> Float[Array, "W"]:
    """Cross entropy of each target.

    Autodiff would keep exp(logits) beside the logits; the backward pass here needs only what the
    forward pass has anyway, and passes once over an array that is most of a step's memory.
    """

    def forward(logits: Array, targets: Array) -> tuple[Array, Array]:
        return _losses(logits, targets, smoothing)

    def backward(logits: Array, targets: Array, saved: tuple, cotangents: tuple) -> Array:
        gradient, _ = cotangents  # nothing is made of the log normalizer
        return _logits_gradient(logits, targets, smoothing, saved[1], gradient)

    return with_backward(forward, forward, backward)(logits, targets)[0]


def _losses(logits: Array, targets: Array, smoothing: float) -> tuple[Array, Array]:
    """Losses, and the log of the normalizer of each softmax."""
    wide = logits.astype(jnp.float32)
    log_normalizer = jax.nn.logsumexp(wide, axis=-1)
    chosen = jnp.take_along_axis(wide, targets[:, None], axis=-1)[:, 0]
    expected = (1 - smoothing) * chosen + smoothing * jnp.mean(wide, axis=-1)
    return log_normalizer - expected, log_normalizer


def _logits_gradient(
    logits: Array, targets: Array, smoothing: float, log_normalizer: Array, gradient: Array
) -> Array:
    vocab_size = logits.shape[-1]
    probabilities = jnp.exp(logits.astype(jnp.float32) - log_normalizer[:, None])
    hit = jnp.arange(vocab_size)[None] == targets[:, None]
    wanted = (1 - smoothing) * hit + smoothing / vocab_size
    return ((probabilities - wanted) * gradient[:, None]).astype(logits.dtype)
