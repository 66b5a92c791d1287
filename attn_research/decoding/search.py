"""Beam search, and greedy search as its width of one, in one compiled loop.

The search sees a function `step(state, tokens) -> (logits, state, extras)` over K hypotheses of
each of B sentences, and no model: whatever a step needs besides its state stands in the closure,
once per sentence. A sentence's result depends on nothing but that sentence.
"""

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


def length_penalty(lengths: Int[Array, "*B"], alpha: float) -> Float[Array, "*B"]:
    """((5 + length) / 6) ** alpha: Wu et al. 2016, equation 14, as used by Vaswani et al. 2017."""
    return ((5.0 + lengths) / 6.0) ** alpha


def beam_search(
    step: Step,
    state: PyTree,
    limits: Int[Array, "B"],
    *,
    max_length: int,
    beam_size: int,
    vocabulary: Vocabulary,
    alpha: float = 0.0,
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
    batch_size = limits.shape[0]
    limits = jnp.clip(limits, 1, max_length)[:, None]
    shape = batch_size, beam_size
    state = jax.tree.map(lambda x: jnp.broadcast_to(x, (*shape, *x.shape[2:])), state)
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
        log_probs = _allowed(
            jax.nn.log_softmax(logits.astype(jnp.float32)), beam, limits, vocabulary
        )
        lengths = beam.lengths + ~beam.finished
        totals = beam.log_probs[..., None] + log_probs
        scores = totals / length_penalty(lengths, alpha)[..., None]
        chosen = jax.lax.top_k(scores.reshape(batch_size, -1), beam_size)[1]
        parent, token = jnp.divmod(chosen, logits.shape[-1])

        def of_parent(x):
            return jnp.take_along_axis(x, parent.reshape(*shape, *(1,) * (x.ndim - 2)), axis=1)

        def write(history, now):
            return jax.lax.dynamic_update_index_in_dim(history, now, beam.time, axis=0)

        finished = of_parent(beam.finished) | (token == vocabulary.eos)
        log_probs = jnp.take_along_axis(totals.reshape(batch_size, -1), chosen, axis=1)
        lengths = of_parent(lengths)
        best = jnp.max(
            jnp.where(finished, log_probs / length_penalty(lengths, alpha), -jnp.inf),
            axis=1,
            keepdims=True,
        )
        # A growing hypothesis can lose probability but gain length, at most up to the limit.
        beaten = ~finished & (log_probs / length_penalty(limits, alpha) <= best)
        settled = jnp.all(finished | beaten, axis=1, keepdims=True)
        return _Beam(
            time=beam.time + 1,
            state=jax.tree.map(of_parent, state),
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
    return _trace_back(beam, vocabulary, alpha)


def _allowed(log_probs, beam, limits, vocabulary):
    """Log probabilities with -inf at what may not come next; a finished hypothesis only pads."""
    ids = jnp.arange(log_probs.shape[-1])[None, None]
    never = jnp.isin(ids, jnp.array([vocabulary.pad, vocabulary.bos, *vocabulary.forbidden]))
    must_end = (beam.time >= limits - 1)[..., None]
    banned = never | (must_end & (ids != vocabulary.eos))
    growing = jnp.where(banned, -jnp.inf, log_probs)
    padding = jnp.where(ids == vocabulary.pad, 0.0, -jnp.inf)
    return jnp.where(beam.finished[..., None], padding, growing)


def _trace_back(beam: _Beam, vocabulary: Vocabulary, alpha: float) -> Hypotheses:
    """Follows the parents of the last beam back to the first step."""
    scores = beam.log_probs / length_penalty(jnp.maximum(beam.lengths, 1), alpha)
    order = jnp.argsort(-scores, axis=1)

    def back(place, now):
        tokens, parents, extras = now
        parent = jnp.take_along_axis(parents, place, axis=1)

        def take(x, index):
            return jnp.take_along_axis(x, index.reshape(*index.shape, *(1,) * (x.ndim - 2)), axis=1)

        # A token stands at the place it was chosen for; extras at the place that was extended.
        return parent, (take(tokens, place), jax.tree.map(lambda x: take(x, parent), extras))

    history = beam.tokens, beam.parents, beam.extras
    _, (tokens, extras) = jax.lax.scan(back, order, history, reverse=True)
    ranked = [jnp.take_along_axis(x, order, axis=1) for x in (beam.lengths, beam.log_probs, scores)]
    return Hypotheses(
        jnp.moveaxis(tokens, 0, 2),
        *ranked,
        jax.tree.map(lambda x: jnp.moveaxis(x, 0, 2), extras),
    )
