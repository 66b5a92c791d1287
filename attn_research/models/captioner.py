"""Show, Attend and Tell: an image as annotations of its regions, and a recurrent captioner.

Xu et al. 2015, section 3. One batch: images [B, H, W, C] -> `encode` -> memory, (c_0, h_0) ->
`decode` with the caption's ids [B, T] -> logits [B, T, V]. Search calls `step` instead, for K
hypotheses of each image. What differs between soft, hard and no attention is the field `regions`.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import linen as nn

from attn_research.layers import contracts
from attn_research.layers.contracts import Capture
from attn_research.layers.dense import Dense
from attn_research.layers.recurrent import LSTMState, LSTMUnit
from attn_research.layers.regions import MeanRegions, Read, SoftRegions
from attn_research.layers.remat import Remat
from attn_research.layers.steps import scan_steps
from attn_research.types import Array, Float, Int, PyTree


class Captioned(NamedTuple):
    """Logits of each next word, the weights of its regions, and of hard attention the choices.

    `log_probs` and `entropy` are those of `layers.regions.Read`; `baseline` is of the reward.
    """

    logits: Float[Array, "B T V"]
    weights: Float[Array, "B T S"] | None
    log_probs: Float[Array, "B T"] | None = None
    entropy: Float[Array, "B T"] | None = None
    baseline: Float[Array, ""] | None = None


class Captioner(nn.Module):
    """Encoder of regions and LSTM decoder, with attention between them.

        a = encoder(image) + positions   c_0, h_0 = tanh(W mean(a)), each with its own W
        ẑ_t = σ(w_β h_{t-1}) · read(h_{t-1}, a)   c_t, h_t = LSTM([E y_{t-1}; ẑ_t])
        p(y_t) = softmax(L_o (E y_{t-1} + L_h h_t + L_z ẑ_t))

    Equations 1 to 7 and section 4.2.1. `encoder` makes feature maps [B, h, w, D] of images, each
    place of which is a region. Ours are the learned positions, since a small encoder does not tell
    where a region is, and the gate of every kind of `regions`.
    """

    vocab_size: int
    encoder: nn.Module
    regions: SoftRegions | MeanRegions
    hidden_dim: int
    embedding_dim: int
    _: dataclasses.KW_ONLY
    dropout: float = 0.0
    remat: Remat = "none"

    def setup(self):
        hidden, width = self.hidden_dim, self.embedding_dim
        self.embedding = nn.Embed(self.vocab_size, width)
        self.initial_cell, self.initial_hidden = Dense(hidden), Dense(hidden)
        self.unit = LSTMUnit(hidden)
        self.context = Dense(4 * hidden, use_bias=False)
        self.gate = Dense(1)
        self.from_state, self.from_context = Dense(width), Dense(width, use_bias=False)
        self.vocabulary = Dense(self.vocab_size)
        self.drop = nn.Dropout(self.dropout)

    @nn.compact
    def annotate(self, images: Float[Array, "B H W C"]) -> Float[Array, "B S D"]:
        """The annotations of the regions, row by row."""
        maps = rearrange(self.encoder(images), "b h w d -> b (h w) d")
        positions = self.param("positions", nn.initializers.normal(0.02), maps.shape[1:])
        return maps + positions[None]

    def encode(self, images: Float[Array, "B H W C"]) -> contracts.Encoded:
        """The memory of the regions and the state before the first word, [B, 1, D]."""
        annotations = self.annotate(images)
        mean = jnp.mean(annotations, axis=1, keepdims=True)
        state = LSTMState(*map(jnp.tanh, (self.initial_cell(mean), self.initial_hidden(mean))))
        return contracts.Encoded(self.regions.project(annotations), state)

    def decode(
        self,
        encoded: contracts.Encoded,
        previous: Int[Array, "B T"],
        choices: Int[Array, "B T"] | None = None,
        *,
        train: bool = False,
    ) -> Captioned:
        """The logits of each next word, given the true words before it; `previous` has BOS first.

        `choices` are the regions that hard attention takes, drawn or the likeliest where None.
        """
        embedded = self.embedding(previous)

        def advance(model, memory, state, step):
            step = jax.tree.map(lambda x: x[:, None], step)
            state, hidden, read = model._advance(memory, state, *step, train=train)
            return state, jax.tree.map(lambda x: x[:, 0], (hidden, read))

        _, (states, read) = scan_steps(
            advance,
            self,
            encoded.state,
            (self.unit.project(embedded), choices),
            encoded.memory,
            rngs=("sample",),
            policy=self.remat,
        )
        logits = self._logits(embedded, states, read.context, train)
        baseline = None if read.log_probs is None else self.regions.baseline
        return Captioned(logits, *read[1:], baseline)

    def __call__(
        self,
        images: Float[Array, "B H W C"],
        previous: Int[Array, "B T"],
        choices: Int[Array, "B T"] | None = None,
        *,
        train: bool = False,
    ) -> Captioned:
        """`encode`, then `decode`."""
        return self.decode(self.encode(images), previous, choices, train=train)

    def step(
        self, memory: PyTree, state: LSTMState, previous: Int[Array, "B K"], *,
        capture: Capture = None,
    ) -> contracts.StepOutput:  # fmt: skip
        """One word of K hypotheses of each image. Weights are None unless captured."""
        embedded = self.embedding(previous)
        after, hidden, read = self._advance(memory, state, self.unit.project(embedded))
        logits = self._logits(embedded, hidden, read.context)
        return contracts.StepOutput(logits, after, read.weights if capture else None)

    def _advance(
        self, memory: PyTree, state: LSTMState, projected: Array, choices: Array | None = None, *,
        train: bool = False,
    ) -> tuple[LSTMState, Array, Read]:  # fmt: skip
        """The state after a word, h_t, and what was read, whose context is ẑ_t."""
        read = self.regions(state.hidden, memory, choices, train=train)
        read = read._replace(context=nn.sigmoid(self.gate(state.hidden)) * read.context)
        after, hidden = self.unit(state, projected + self.context(read.context))
        return after, hidden, read

    def _logits(self, embedded, states, contexts, train=False):
        hidden = embedded + self.from_state(states) + self.from_context(contexts)
        return self.vocabulary(self.drop(hidden, deterministic=not train))
