"""Poolings of the states of a sequence into one vector, or none.

A pooling is called as `pool(states, capture=...) -> Pooled`; without parameters it is a function.
"""

from typing import NamedTuple

import jax.numpy as jnp
from einops import rearrange
from flax import linen as nn

from attn_research.attention import Dot, Padding, attend
from attn_research.layers.contracts import Capture
from attn_research.layers.dense import Dense
from attn_research.layers.scoring import lecun_normal
from attn_research.types import Array, Bool, Float


class States(NamedTuple):
    """The states of a bidirectional layer, the last one of both directions, and where words are."""

    each: Float[Array, "B S D"]
    last: Float[Array, "B D"]
    valid: Bool[Array, "B S"]


class Pooled(NamedTuple):
    """The vector of a sequence, with weights of attention [B, rows, S] where captured.

    The vectors are [B, S, D] where nothing is pooled. `redundancy` [B] is that of the rows of
    attention, in poolings that have them.
    """

    vector: Float[Array, "B *S D"]
    weights: Float[Array, "B T S"] | None = None
    redundancy: Float[Array, "B"] | None = None


def each_state(states: States, *, capture: Capture = None) -> Pooled:
    """No pooling: each state by itself, for labels of words."""
    return Pooled(states.each)


def last_states(states: States, *, capture: Capture = None) -> Pooled:
    """The last state of each direction."""
    return Pooled(states.last)


def mean_pooling(states: States, *, capture: Capture = None) -> Pooled:
    """The mean of the states; zeros where there are none."""
    return Pooled(mean_of_texts(states.each, states.valid[:, None])[:, 0])


def mean_of_texts(
    states: Float[Array, "B T D"], texts: Bool[Array, "B E T"]
) -> Float[Array, "B E D"]:
    """The mean of the states of each text of a row, which is true at its tokens; 0 of none."""
    # States of no text have no part in the sums, whatever they are: 0 times NaN is NaN.
    states = jnp.where(jnp.any(texts, axis=1)[:, :, None], states, 0)
    total = jnp.einsum("bet,btd->bed", texts.astype(states.dtype), states)
    count = jnp.sum(texts, axis=-1, keepdims=True).astype(states.dtype)
    return total / jnp.maximum(count, 1)


def max_pooling(states: States, *, capture: Capture = None) -> Pooled:
    """The largest of each component of the states; zeros where there are none."""
    lowest = jnp.finfo(states.each.dtype).min
    largest = jnp.max(jnp.where(states.valid[:, :, None], states.each, lowest), axis=1)
    return Pooled(jnp.where(jnp.any(states.valid, axis=1, keepdims=True), largest, 0))


class SelfAttentionPooling(nn.Module):
    """Structured self-attention: r weighted means of the states, side by side [B, r D].

        A = softmax(W_s2 tanh(W_s1 Hᵀ))   M = A H

    Lin et al. 2017, section 2.1: H are the states, a softmax is over the words, W_s1 is [d_a, D]
    with d_a = `features`, W_s2 [r, d_a] with r = `num_rows`. A row of W_s2 is a query, its keys are
    tanh(W_s1 h), their score is the dot product; that is the additive score of 2014 of a state 0,
    with that row for its vector, and tanh is computed once for all rows.
    """

    num_rows: int
    features: int
    kernel_init: nn.initializers.Initializer = lecun_normal
    implementation: str | None = None

    @nn.compact
    def __call__(self, states: States, *, capture: Capture = None) -> Pooled:
        key = Dense(self.features, use_bias=False, kernel_init=self.kernel_init, name="key")
        keys = jnp.tanh(key(states.each))
        init, shape = nn.initializers.normal(self.features**-0.5), (self.num_rows, self.features)
        queries = self.param("queries", init, shape).astype(keys.dtype)
        context, weights = attend(
            jnp.broadcast_to(queries, (len(keys), *shape))[:, :, None],
            keys[:, :, None],
            states.each[:, :, None],
            score=Dot(),
            mask=Padding(states.valid),
            # `init` sees a few words, which may be too few for an implementation.
            implementation=None if self.is_initializing() else self.implementation,
            capture="all",  # the penalty needs them
        )
        rows = weights[:, 0]
        return Pooled(
            rearrange(context, "b r 1 d -> b (r d)"),
            None if capture is None else rows,
            redundancy(rows),
        )


def redundancy(weights: Float[Array, "*B T S"]) -> Float[Array, "*B"]:
    """‖A Aᵀ - I‖²_F of rows of attention A; 0 where each attends to one word of its own.

    Lin et al. 2017, section 2.2.
    """
    overlap = jnp.einsum("...ts,...us->...tu", weights, weights)
    identity = jnp.eye(weights.shape[-2]).reshape((1,) * (weights.ndim - 2) + overlap.shape[-2:])
    return jnp.sum((overlap - identity) ** 2, axis=(-2, -1))
