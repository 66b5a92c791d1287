"""Beam search, and greedy search as its width of one, in one compiled loop.

The search sees a function `step(state, tokens) -> (logits, state, extras)` over K hypotheses of
each of B sentences, and no model: whatever a step needs besides its state stands in the closure,
once per sentence. A sentence's result depends on nothing but that sentence.

A part of a state that has methods `spread(beam_size)` and `choose(parents)` says itself what it
means that one hypothesis becomes several, and that each goes on from another's place; of all else
the leaves are repeated and moved.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from attn_research.types import Array, Bool, Float, Int, PyTree

Step = Callable[[PyTree, Int[Array, "B K"]], tuple[Float[Array, "B K V"], PyTree, PyTree]]


class Vocabulary(NamedTuple):
    """The ids a search must know; those in `forbidden` are never produced."""

    pad: int
    bos: int
    eos: int
    forbidden: tuple[int, ...] = ()


class Hypotheses(NamedTuple):
    """K hypotheses a sentence, best first by `scores`.

    `tokens` end with the end symbol and are padded from there on; `lengths` count it.
    `log_probs` is the model's log probability of the tokens and `scores` the same over the length
    penalty, both -inf for a place in the beam that no finished hypothesis took. `extras` are those
    of each step, along the winning path.
    """

    tokens: Int[Array, "B K T"]
    lengths: Int[Array, "B K"]
    log_probs: Float[Array, "B K"]
    scores: Float[Array, "B K"]
    extras: PyTree


class _Beam(NamedTuple):
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
    """((K + length) / (K + 1)) ** alpha, where K is the offset.

    With 5 it is equation 14 of Wu et al. 2016, as used by Vaswani et al. 2017; with 0 and an alpha
    of 1 scores are means over tokens.
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
) -> Hypotheses:
    """The `beam_size` best token sequences found for each sentence.

    `state` has leaves [B, 1, ...]; `step` is called with leaves [B, K, ...]. A hypothesis of a
    sentence has at most `limits` tokens, its last one then the end symbol, and never more than
    `max_length`, which is T of the result. Finished hypotheses stay in the beam and compete, at
    log probability over `length_penalty`, with those still growing. A sentence is settled when all
    have finished, or when no growing one can overtake the best finished one.
    """
    if beam_size < 1 or max_length < 1:
        raise ValueError(f"beam_size {beam_size} and max_length {max_length} must be positive")
    penalty = functools.partial(length_penalty, alpha=alpha, offset=offset)
    batch_size = limits.shape[0]
    limits = jnp.clip(limits, 1, max_length)[:, None]
    shape = batch_size, beam_size
    state = spread(state, beam_size)
    first = jnp.full(shape, vocabulary.bos, jnp.int32)
    extras = jax.eval_shape(step, state, first)[2]
    beam = _Beam(
        time=jnp.int32(0),
        state=state,
        last=first,
        # All places hold the same empty hypothesis: only the first counts.
        log_probs=jnp.broadcast_to(jnp.where(jnp.arange(beam_size) == 0, 0.0, -jnp.inf), shape),
        lengths=jnp.zeros(shape, jnp.int32),
        finished=jnp.zeros(shape, bool),
        tokens=jnp.full((max_length, *shape), vocabulary.pad, jnp.int32),
        parents=jnp.broadcast_to(jnp.arange(beam_size), (max_length, *shape)),
        extras=jax.tree.map(lambda x: jnp.zeros((max_length, *x.shape), x.dtype), extras),
    )

    def grow(beam: _Beam) -> _Beam:
        logits, state, extras = step(beam.state, beam.last)
        log_probs, tokens = _best_words(logits.astype(jnp.float32), beam, limits, vocabulary)
        lengths = beam.lengths + ~beam.finished
        totals = beam.log_probs[..., None] + log_probs
        scores = totals / penalty(lengths)[..., None]
        chosen = jax.lax.top_k(scores.reshape(batch_size, -1), beam_size)[1]
        parent = chosen // tokens.shape[-1]
        token = jnp.take_along_axis(tokens.reshape(batch_size, -1), chosen, axis=1)
        of_parent = functools.partial(_take, parent)

        def write(history, now):
            return jax.lax.dynamic_update_index_in_dim(history, now, beam.time, axis=0)

        finished = of_parent(beam.finished) | (token == vocabulary.eos)
        log_probs = jnp.take_along_axis(totals.reshape(batch_size, -1), chosen, axis=1)
        lengths = of_parent(lengths)
        best = jnp.max(
            jnp.where(finished, log_probs / penalty(lengths), -jnp.inf),
            axis=1,
            keepdims=True,
        )
        # A growing hypothesis can lose probability but gain length, at most up to the limit.
        beaten = ~finished & (log_probs / penalty(limits) <= best)
        settled = jnp.all(finished | beaten, axis=1, keepdims=True)
        return _Beam(
            time=beam.time + 1,
            state=choose(state, parent),
            last=token,
            log_probs=jnp.where(settled & ~finished, -jnp.inf, log_probs),
            lengths=lengths,
            finished=finished | settled,
            tokens=write(beam.tokens, token),
            parents=write(beam.parents, parent),
            extras=jax.tree.map(write, beam.extras, extras),
        )

    def unsettled(beam: _Beam):
        return (beam.time < max_length) & ~jnp.all(beam.finished)

    beam = jax.lax.while_loop(unsettled, grow, beam)
    return _trace_back(beam, penalty)


def _best_words(logits, beam, limits, vocabulary):
    """Of every hypothesis the next words that can be among the K best: log probabilities, ids.

    A hypothesis can give no more than K of the K best, so all but that many are left out at once.
    A finished one only pads.
    """
    ids = jnp.arange(logits.shape[-1])[None, None]
    never = jnp.isin(ids, jnp.array([vocabulary.pad, vocabulary.bos, *vocabulary.forbidden]))
    must_end = (beam.time >= limits - 1)[..., None]
    banned = never | (must_end & (ids != vocabulary.eos))
    count = min(beam.last.shape[1], logits.shape[-1])
    best, words = top_words(jnp.where(banned, -jnp.inf, logits), count)
    best = best - jax.nn.logsumexp(logits, axis=-1, keepdims=True)
    padding = jnp.where(jnp.arange(count)[None, None] == 0, 0.0, -jnp.inf)
    finished = beam.finished[..., None]
    return jnp.where(finished, padding, best), jnp.where(finished, vocabulary.pad, words)


def top_words(
    logits: Float[Array, "*B V"], count: int
) -> tuple[Float[Array, "*B count"], Int[Array, "*B count"]]:
    """`jax.lax.top_k`, by way of the blocks with the highest maxima, among which all `count` are.

    A sort of the whole would cost more than the maxima of blocks, which are found in one pass.
    """
    vocab_size = logits.shape[-1]
    width = max(1, math.isqrt(vocab_size // count))
    num_blocks = -(-vocab_size // width)
    if num_blocks <= count:
        best, words = jax.lax.top_k(logits, count)
        return best, words
    empty = [(0, 0)] * (logits.ndim - 1) + [(0, num_blocks * width - vocab_size)]
    blocks = jnp.pad(logits, empty, constant_values=-jnp.inf)
    blocks = blocks.reshape(*logits.shape[:-1], num_blocks, width)
    # In the order of the words, so that among equals the first is taken, as by `top_k`.
    kept = jnp.sort(jax.lax.top_k(blocks.max(axis=-1), count)[1], axis=-1)
    words = kept[..., None] * width + jnp.arange(width).reshape(*(1,) * logits.ndim, -1)
    words = jnp.minimum(words, vocab_size - 1).reshape(*logits.shape[:-1], count * width)
    values = jnp.take_along_axis(blocks, kept[..., None], axis=-2)
    best, places = jax.lax.top_k(values.reshape(words.shape), count)
    return best, jnp.take_along_axis(words, places, axis=-1)


def _take(parents, x):
    """x[b, parents[b, k], ...], for all b and k."""
    return jnp.take_along_axis(x, parents.reshape(*parents.shape, *(1,) * (x.ndim - 2)), axis=1)


def _knows_itself(part):
    return hasattr(part, "spread")


def spread(state: PyTree, beam_size: int) -> PyTree:
    """The state of one hypothesis a sentence, for each of several."""

    def of(part):
        return part.spread(beam_size) if _knows_itself(part) else jnp.repeat(part, beam_size, 1)

    return jax.tree.map(of, state, is_leaf=_knows_itself)


def choose(state: PyTree, parents: Int[Array, "B K"]) -> PyTree:
    """The state of hypotheses that go on from those in the places of their parents."""

    def of(part):
        return part.choose(parents) if _knows_itself(part) else _take(parents, part)

    return jax.tree.map(of, state, is_leaf=_knows_itself)


def _trace_back(beam: _Beam, penalty: Callable[[Array], Array]) -> Hypotheses:
    """Follows the parents of the last beam back to the first step."""
    scores = beam.log_probs / penalty(jnp.maximum(beam.lengths, 1))
    order = jnp.argsort(-scores, axis=1)

    def back(place, now):
        tokens, parents, extras = now
        parent = jnp.take_along_axis(parents, place, axis=1)

        # A token stands at the place it was chosen for; extras at the place that was extended.
        of_parent = functools.partial(_take, parent)
        return parent, (_take(place, tokens), jax.tree.map(of_parent, extras))

    history = beam.tokens, beam.parents, beam.extras
    _, (tokens, extras) = jax.lax.scan(back, order, history, reverse=True)
    ranked = [jnp.take_along_axis(x, order, axis=1) for x in (beam.lengths, beam.log_probs, scores)]
    return Hypotheses(
        jnp.moveaxis(tokens, 0, 2),
        *ranked,
        jax.tree.map(lambda x: jnp.moveaxis(x, 0, 2), extras),
    )
