"""Beam search over a next-token function, in one compiled loop; a beam of one is greedy search.

The function is `step(state, tokens) -> (logits, state, extras)` over K hypotheses of each of B
sentences. The search knows no model: what a step needs besides its state is in the closure of the
function. The result of a sentence does not depend on the rest of the batch.

The leaves of a state are repeated for the hypotheses of a beam, and moved when hypotheses continue
others. A part of a state with methods `spread(beam_size)` and `choose(parents)` does both its own
way, as key-value caches do.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from attn_research.loops import vary_as
from attn_research.types import Array, Bool, Float, Int, PyTree

Step = Callable[[PyTree, Int[Array, "B K"]], tuple[Float[Array, "B K V"], PyTree, PyTree]]


class Vocabulary(NamedTuple):
    """Special tokens of a vocabulary. Those in `forbidden` are never produced."""

    pad: int
    bos: int
    eos: int
    forbidden: tuple[int, ...] = ()


class Hypotheses(NamedTuple):
    """The K best hypotheses of each sentence, sorted by `scores`, where K is `n_best`.

    `tokens` end with the end symbol and are padded after it; `lengths` count it. `log_probs` are
    the model's log probabilities of the tokens, `scores` the same divided by the length penalty,
    both -inf where a beam has fewer finished hypotheses. `extras` are those of each step along the
    path of the hypothesis, zero after its end.
    """

    tokens: Int[Array, "B K T"]
    lengths: Int[Array, "B K"]
    log_probs: Float[Array, "B K"]
    scores: Float[Array, "B K"]
    extras: PyTree


class _Beam(NamedTuple):
    """The hypotheses between two steps, and the tokens and parents of all steps so far."""

    time: Int[Array, ""]
    state: PyTree
    last: Int[Array, "B K"]
    log_probs: Float[Array, "B K"]
    lengths: Int[Array, "B K"]
    finished: Bool[Array, "B K"]
    tokens: Int[Array, "T B K"]
    parents: Int[Array, "T B K"]
    extras: PyTree


def length_penalty(
    lengths: Int[Array, "*B"], alpha: float, offset: float = 5.0
) -> Float[Array, "*B"]:
    """Length penalty ((K + length) / (K + 1)) ** alpha, where K is the offset.

    Wu et al. 2016, equation 14, has K = 5, as Vaswani et al. 2017. With K = 0 and an alpha of 1
    scores are means over tokens.
    """
    return ((offset + lengths) / (offset + 1.0)) ** alpha


def beam_search(
    step: Step,
    state: PyTree,
    limits: Int[Array, "B"],
    *,
    max_length: int,
    beam_size: int,
    vocabulary: Vocabulary,
    alpha: float = 0.0,
    offset: float = 5.0,
    n_best: int | None = None,
    first: Int[Array, "B"] | None = None,
) -> Hypotheses:
    """Beam search: the `n_best` best token sequences of a beam of `beam_size` for each sentence.

    `state` has leaves [B, 1, ...]; `step` is called with leaves [B, K, ...]. A hypothesis has at
    most `limits` tokens, the last of them the end symbol, and at most `max_length`, which is T of
    the result. Finished hypotheses stay in the beam and compete with unfinished ones by log
    probability over `length_penalty`. The search of a sentence ends when all of its hypotheses have
    finished, or when no unfinished one can be among the `n_best`; None is the whole beam. Fewer are
    found sooner. `first` is the token that each sentence goes on from, `vocabulary.bos` where None.
    """
    n_best = beam_size if n_best is None else n_best
    if beam_size < 1 or max_length < 1:
        raise ValueError(f"beam_size {beam_size} and max_length {max_length} must be positive")
    if not 1 <= n_best <= beam_size:
        raise ValueError(f"n_best {n_best}: give 1 to beam_size, {beam_size}")
    penalty = functools.partial(length_penalty, alpha=alpha, offset=offset)
    batch_size = limits.shape[0]
    limits = jnp.clip(limits, 1, max_length)[:, None]
    shape = batch_size, beam_size
    state = spread(state, beam_size)
    first = jnp.full(batch_size, vocabulary.bos, jnp.int32) if first is None else first
    first = jnp.broadcast_to(first[:, None], shape)
    step_jaxpr, shapes = jax.make_jaxpr(step, return_shape=True)(state, first)
    beam = _Beam(
        time=jnp.int32(0),
        state=state,
        last=first,
        # All beam indices hold the same empty hypothesis: only the first counts.
        log_probs=jnp.broadcast_to(jnp.where(jnp.arange(beam_size) == 0, 0.0, -jnp.inf), shape),
        lengths=jnp.zeros(shape, jnp.int32),
        finished=jnp.zeros(shape, bool),
        tokens=jnp.full((max_length, *shape), vocabulary.pad, jnp.int32),
        parents=jnp.broadcast_to(jnp.arange(beam_size), (max_length, *shape)),
        extras=jax.tree.map(lambda x: jnp.zeros((max_length, *x.shape), x.dtype), shapes[2]),
    )
    beam = vary_as(beam, limits, step_jaxpr.out_avals)

    def extend(beam: _Beam) -> _Beam:
        logits, state, extras = step(beam.state, beam.last)
        log_probs, tokens = _best_tokens(logits.astype(jnp.float32), beam, limits, vocabulary)
        lengths = beam.lengths + ~beam.finished
        totals = beam.log_probs[..., None] + log_probs
        scores = totals / penalty(lengths)[..., None]
        chosen = jax.lax.top_k(scores.reshape(batch_size, -1), beam_size)[1]
        parent = chosen // tokens.shape[-1]
        token = jnp.take_along_axis(tokens.reshape(batch_size, -1), chosen, axis=1)
        take_parent = functools.partial(_take, parent)

        def write(history, values):
            return jax.lax.dynamic_update_index_in_dim(history, values, beam.time, axis=0)

        finished = take_parent(beam.finished) | (token == vocabulary.eos)
        log_probs = jnp.take_along_axis(totals.reshape(batch_size, -1), chosen, axis=1)
        lengths = take_parent(lengths)
        ended_scores = jnp.where(finished, log_probs / penalty(lengths), -jnp.inf)
        least = jax.lax.top_k(ended_scores, n_best)[0][:, -1:]
        # An unfinished hypothesis can only lose probability and gain length, up to its limit.
        beaten = ~finished & (log_probs / penalty(limits) <= least)
        ended = jnp.all(finished | beaten, axis=1, keepdims=True)
        return _Beam(
            time=beam.time + 1,
            state=choose(state, parent),
            last=token,
            log_probs=jnp.where(ended & ~finished, -jnp.inf, log_probs),
            lengths=lengths,
            finished=finished | ended,
            tokens=write(beam.tokens, token),
            parents=write(beam.parents, parent),
            extras=jax.tree.map(write, beam.extras, extras),
        )

    def unfinished(beam: _Beam):
        return (beam.time < max_length) & ~jnp.all(beam.finished)

    beam = jax.lax.while_loop(unfinished, extend, beam)
    return jax.tree.map(lambda x: x[:, :n_best], _trace_back(beam, penalty))


def _best_tokens(logits, beam, limits, vocabulary):
    """Log probabilities and ids of the K best next tokens of each hypothesis.

    No more than K of one hypothesis can be among the K best of all. A finished hypothesis has only
    padding, at no cost.
    """
    ids = jnp.arange(logits.shape[-1])[None, None]
    never = jnp.isin(ids, jnp.array([vocabulary.pad, vocabulary.bos, *vocabulary.forbidden]))
    at_limit = (beam.time >= limits - 1)[..., None]
    banned = never | (at_limit & (ids != vocabulary.eos))
    count = min(beam.last.shape[1], logits.shape[-1])
    best, tokens = top_tokens(jnp.where(banned, -jnp.inf, logits), count)
    best = best - jax.nn.logsumexp(logits, axis=-1, keepdims=True)
    padding = jnp.where(jnp.arange(count)[None, None] == 0, 0.0, -jnp.inf)
    finished = beam.finished[..., None]
    return jnp.where(finished, padding, best), jnp.where(finished, vocabulary.pad, tokens)


def top_tokens(
    logits: Float[Array, "*B V"], count: int
) -> tuple[Float[Array, "*B count"], Int[Array, "*B count"]]:
    """`jax.lax.top_k`, found within the `count` blocks of the vocabulary with the highest maxima.

    Maxima of blocks take one pass, which costs less than to sort the whole vocabulary.
    """
    vocab_size = logits.shape[-1]
    width = max(1, math.isqrt(vocab_size // count))
    num_blocks = -(-vocab_size // width)
    if num_blocks <= count:
        best, tokens = jax.lax.top_k(logits, count)
        return best, tokens
    padding = [(0, 0)] * (logits.ndim - 1) + [(0, num_blocks * width - vocab_size)]
    blocks = jnp.pad(logits, padding, constant_values=-jnp.inf)
    blocks = blocks.reshape(*logits.shape[:-1], num_blocks, width)
    # In the order of ids, so that the first of equal ones is taken, as by `top_k`.
    kept = jnp.sort(jax.lax.top_k(blocks.max(axis=-1), count)[1], axis=-1)
    tokens = kept[..., None] * width + jnp.arange(width).reshape(*(1,) * logits.ndim, -1)
    tokens = jnp.minimum(tokens, vocab_size - 1).reshape(*logits.shape[:-1], count * width)
    values = jnp.take_along_axis(blocks, kept[..., None], axis=-2)
    best, indices = jax.lax.top_k(values.reshape(tokens.shape), count)
    return best, jnp.take_along_axis(tokens, indices, axis=-1)


def _take(parents, x):
    """x[b, parents[b, k], ...], for all b and k."""
    return jnp.take_along_axis(x, parents.reshape(*parents.shape, *(1,) * (x.ndim - 2)), axis=1)


def _has_methods(part):
    return hasattr(part, "spread") and hasattr(part, "choose")


def spread(state: PyTree, beam_size: int) -> PyTree:
    """The state of one hypothesis per sentence, repeated for each of several."""

    def spread_part(part):
        return part.spread(beam_size) if _has_methods(part) else jnp.repeat(part, beam_size, 1)

    return jax.tree.map(spread_part, state, is_leaf=_has_methods)


def choose(state: PyTree, parents: Int[Array, "B K"]) -> PyTree:
    """The state of hypotheses that continue their parents, given by beam index."""

    def choose_part(part):
        return part.choose(parents) if _has_methods(part) else _take(parents, part)

    return jax.tree.map(choose_part, state, is_leaf=_has_methods)


def _trace_back(beam: _Beam, penalty: Callable[[Array], Array]) -> Hypotheses:
    """The token sequences of the last beam, read from parent to parent back to the first step."""
    scores = beam.log_probs / penalty(jnp.maximum(beam.lengths, 1))
    order = jnp.argsort(-scores, axis=1)

    def previous(index, step):
        tokens, parents, extras = step
        parent = jnp.take_along_axis(parents, index, axis=1)

        # A token has the beam index of its hypothesis, extras have that of the parent.
        take_parent = functools.partial(_take, parent)
        return parent, (_take(index, tokens), jax.tree.map(take_parent, extras))

    history = beam.tokens, beam.parents, beam.extras
    _, (tokens, extras) = jax.lax.scan(previous, vary_as(order, history), history, reverse=True)
    ranked = [jnp.take_along_axis(x, order, axis=1) for x in (beam.lengths, beam.log_probs, scores)]
    written = jnp.arange(len(beam.tokens))[None, None] < ranked[0][..., None]

    def by_hypothesis(x: Array) -> Array:
        """[T, B, K, ...] as [B, K, T, ...], zero after the end, where the batch decides."""
        x = jnp.moveaxis(x, 0, 2)
        return jnp.where(written.reshape(*written.shape, *(1,) * (x.ndim - 3)), x, 0)

    return Hypotheses(jnp.moveaxis(tokens, 0, 2), *ranked, jax.tree.map(by_hypothesis, extras))
