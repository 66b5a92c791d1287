"""Stacked LSTMs, one reading and one writing, with any attention between their top layers.

Luong, Pham, Manning 2015. One batch: source ids [B, S] -> `encode`: L layers, their last states
start the decoder's L layers -> `decode`: the top state h_t looks at the top annotations, and
h̃_t = tanh(W_c [c_t; h_t]) is read out -> logits [B, T, V]. With `feed`, h̃_{t-1} is part of the
next input, so that a look knows of the looks before; without, all T looks are one call.
"""

from typing import ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from attn_research.layers.attention import MemoryAttention
from attn_research.layers.contracts import Encoded, EncoderDecoder, Hidden
from attn_research.layers.recurrent import LSTMState, LSTMUnit, Recurrence, symmetric_uniform
from attn_research.layers.remat import Remat, remat
from attn_research.types import Array, Bool, Float, Int, PyTree


class State(NamedTuple):
    """A decoder between two words: its layers, h̃, and how many words came before."""

    layers: tuple[LSTMState, ...]
    attentional: Float[Array, "B K D"]
    position: Int[Array, "B K"]


class StackedSeq2Seq(EncoderDecoder):
    """Encoder and decoder of `num_layers` LSTM layers each; `attention` None is the base system.

    Sizes in the paper: 4 layers, hidden and embedding 1000, dropout 0.2. `reverse` reads the source
    from its end; annotations keep the place of their word. Dropout is on the input of every layer
    and on what is read out, not between steps (Zaremba, Sutskever, Vinyals 2014).
    """

    source_vocab: int
    target_vocab: int
    hidden: int
    embedding: int
    num_layers: int
    attention: MemoryAttention | None = None
    reverse: bool = False
    feed: bool = False
    dropout: float = 0.0
    init_limit: float = 0.1
    remat: Remat = "none"
    tensor_rules: ClassVar = (
        ("embedding/embedding$", ("tensor", None)),
        ("(vocabulary|scoring/key|scoring/query)/kernel$", (None, "tensor")),
    )

    def setup(self):
        init = symmetric_uniform(self.init_limit)
        self.source_embedding = nn.Embed(self.source_vocab, self.embedding, embedding_init=init)
        self.target_embedding = nn.Embed(self.target_vocab, self.embedding, embedding_init=init)
        layers = range(self.num_layers)
        self.encoder = [Recurrence(LSTMUnit(self.hidden, init), self.reverse) for _ in layers]
        self.decoder = [Recurrence(LSTMUnit(self.hidden, init)) for _ in layers]
        if self.attention is not None:
            self.combine = nn.Dense(self.hidden, use_bias=False, kernel_init=init)
        self.vocabulary = nn.Dense(self.target_vocab, use_bias=False, kernel_init=init)
        self.drop = nn.Dropout(self.dropout)

    def encode(
        self, source: Int[Array, "B S"], valid: Bool[Array, "B S"], train: bool = False
    ) -> Encoded:
        """Reads the source. `valid` is true at words, the end symbol included."""
        annotations, lasts = self.source_embedding(source), []
        for layer in self.encoder:
            annotations, last = layer(self._drop(annotations, train), valid)
            lasts.append(last)
        layers = jax.tree.map(lambda x: x[:, None], tuple(lasts))
        memory = None if self.attention is None else self.attention.project(annotations, valid)
        nothing = jnp.zeros((source.shape[0], 1, self.hidden), annotations.dtype)
        return Encoded(memory, State(layers, nothing, jnp.zeros(nothing.shape[:2], jnp.int32)))

    def decode_states(
        self,
        encoded: Encoded,
        previous: Int[Array, "B T"],
        train: bool = False,
        capture: Literal["all"] | None = None,
    ) -> Hidden:
        """What every next word is scored by, h̃_t, given the true ones before it."""
        memory, state, _ = encoded
        words = self.target_embedding(previous)
        if self.feed:

            def advance(model, state, word):
                after, weights = model._advance(memory, state, word[:, None], train, capture)
                return after, jax.tree.map(lambda x: x[:, 0], (after.attentional, weights))

            loop = nn.scan(
                remat(advance, self.remat),
                variable_broadcast="params",
                split_rngs={"params": False, "dropout": True},
                in_axes=1,
                out_axes=1,
            )
            attentional, weights = loop(self, state, words)[1]
        else:
            top, everywhere = words, jnp.ones(previous.shape, bool)
            for layer, start in zip(self.decoder, state.layers, strict=True):
                start = jax.tree.map(lambda x: x[:, 0], start)
                top, _ = layer(self._drop(top, train), everywhere, start)
            positions = jnp.broadcast_to(jnp.arange(previous.shape[1]), previous.shape)
            attentional, weights = self._look(memory, top, positions, capture)
        return Hidden(self._drop(attentional, train), weights)

    def score_words(self, states: Float[Array, "*B T D"]) -> Float[Array, "*B T V"]:
        """Logits: W_s h̃_t."""
        return self.vocabulary(states)

    def step(
        self, memory: PyTree, state: State, previous: Int[Array, "B K"]
    ) -> tuple[Float[Array, "B K V"], State, Float[Array, "B K S"] | None]:
        """One word of K hypotheses a sentence: logits, next state, and where each looked."""
        words = self.target_embedding(previous)
        after, weights = self._advance(memory, state, words, train=False, capture="all")
        return self.score_words(after.attentional), after, weights

    def _drop(self, inputs, train):
        return self.drop(inputs, deterministic=not train)

    def _advance(self, memory, state, words, train, capture):
        """From y_{t-1} to h̃_t: through the layers, then the look of the top one."""
        if self.feed:
            words = jnp.concatenate([words, state.attentional], axis=-1)
        layers = []
        for layer, before in zip(self.decoder, state.layers, strict=True):
            after, words = layer.unit(before, layer.unit.project(self._drop(words, train)))
            layers.append(after)
        attentional, weights = self._look(memory, words, state.position, capture)
        return State(tuple(layers), attentional, state.position + 1), weights

    def _look(self, memory, states, positions, capture):
        """h̃ of each top state, or the state itself where there is nothing to look at."""
        if self.attention is None:
            return states, None
        context, weights = self.attention(states, memory, positions, capture)
        return jnp.tanh(self.combine(jnp.concatenate([context, states], axis=-1))), weights
