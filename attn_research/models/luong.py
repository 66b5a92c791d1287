"""Stacked LSTMs, an encoder and a decoder, with attention between their top layers.

Luong, Pham, Manning 2015. One batch: source ids [B, S] -> `encode`: L layers, whose last states
start the decoder's L layers -> `decode`: the top state h_t attends to the top annotations, and
h̃_t = tanh(W_c [c_t; h_t]) is read out -> logits [B, T, V]. With `input_feeding`, h̃_{t-1} is part
of the next input, so that attention knows what was attended to before; without, attention at all T
positions is one call.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from attn_research.layers import contracts
from attn_research.layers.attention import MemoryAttention
from attn_research.layers.contracts import Capture, EncoderDecoder
from attn_research.layers.dense import Dense
from attn_research.layers.recurrent import LSTMState, LSTMUnit, Recurrence, symmetric_uniform
from attn_research.layers.remat import Remat
from attn_research.layers.steps import scan_steps
from attn_research.types import Array, Bool, Float, Int, PyTree


class State(NamedTuple):
    """The decoder's state between two words: its layers, h̃, and the number of words before."""

    layers: tuple[LSTMState, ...]
    attentional: Float[Array, "B K D"]
    position: Int[Array, "B K"]


class LuongSeq2Seq(EncoderDecoder):
    """Encoder and decoder of `num_layers` LSTM layers each; `attention` None is the base system.

    Sizes in the paper: 4 layers, hidden and embedding 1000, dropout 0.2. `reverse` reads the source
    from its end; annotations keep the order of the words. Dropout is on the input of every layer
    and on what is read out, not between steps (Zaremba, Sutskever, Vinyals 2014).
    """

    source_vocab: int
    target_vocab: int
    hidden_dim: int
    embedding_dim: int
    num_layers: int
    _: dataclasses.KW_ONLY
    attention: MemoryAttention | None = None
    reverse: bool = False
    input_feeding: bool = False
    dropout: float = 0.0
    init_limit: float = 0.1
    remat: Remat = "none"
    tensor_rules: ClassVar = (
        ("embedding/embedding$", ("tensor", None)),
        ("(vocabulary|scoring/key|scoring/query)/kernel$", (None, "tensor")),
    )

    @property
    def alignment(self) -> contracts.AlignmentSpec | None:
        if self.attention is None:
            return None
        # Footnote 14. The current state knows the word before, not the one to come; attention by
        # location alone is trained to point to the one to come.
        return contracts.AlignmentSpec(
            "predicted" if self.attention.scoring.by_location else "input"
        )

    def setup(self):
        init = symmetric_uniform(self.init_limit)
        hidden, width = self.hidden_dim, self.embedding_dim
        self.source_embedding = nn.Embed(self.source_vocab, width, embedding_init=init)
        self.target_embedding = nn.Embed(self.target_vocab, width, embedding_init=init)
        layers = range(self.num_layers)
        self.encoder = [Recurrence(LSTMUnit(hidden, init), reverse=self.reverse) for _ in layers]
        self.decoder = [Recurrence(LSTMUnit(hidden, init)) for _ in layers]
        if self.attention is not None:
            self.combine = Dense(hidden, use_bias=False, kernel_init=init)
        self.vocabulary = Dense(self.target_vocab, use_bias=False, kernel_init=init)
        self.drop = nn.Dropout(self.dropout)

    def logits(self, states: Float[Array, "*B T D"]) -> Float[Array, "*B T V"]:
        """W_s h̃_t."""
        return self.vocabulary(states)

    def step(
        self, memory: PyTree, state: State, previous: Int[Array, "B K"], *, capture: Capture = None
    ) -> contracts.StepOutput:
        embedded = self.target_embedding(previous)
        after, weights = self._advance(memory, state, embedded, contracts.Pass(capture=capture))
        return contracts.StepOutput(self.logits(after.attentional), after, weights)

    def _encode(
        self, source: Int[Array, "B S"], valid: Bool[Array, "B S"], options: contracts.Pass
    ):
        annotations, lasts = self.source_embedding(source), []
        for layer in self.encoder:
            annotations, last = layer(self._drop(annotations, options), valid)
            lasts.append(last)
        layers = jax.tree.map(lambda x: x[:, None], tuple(lasts))
        memory = None if self.attention is None else self.attention.project(annotations, valid)
        zeros = jnp.zeros((source.shape[0], 1, self.hidden_dim), annotations.dtype)
        return contracts.Encoded(
            memory, State(layers, zeros, jnp.zeros(zeros.shape[:2], jnp.int32))
        )

    def _decode_states(
        self, encoded: contracts.Encoded, previous: Int[Array, "B T"], options: contracts.Pass
    ):
        """h̃_t for every next word."""
        memory, state, _ = encoded
        embedded = self.target_embedding(previous)
        positions = jnp.broadcast_to(jnp.arange(previous.shape[1]), previous.shape)
        if self.input_feeding:

            def advance(model, memory, before, step):
                word, position = (x[:, None] for x in step)
                after, weights = model._advance(memory, State(*before, position), word, options)
                output = after.attentional, weights
                return (after.layers, after.attentional), jax.tree.map(lambda x: x[:, 0], output)

            _, (attentional, weights) = scan_steps(
                advance,
                self,
                (state.layers, state.attentional),
                (embedded, state.position + positions),
                memory,
                rngs=("dropout",),
                policy=self.remat,
            )
        else:
            top, valid = embedded, jnp.ones(previous.shape, bool)
            for layer, start in zip(self.decoder, state.layers, strict=True):
                start = jax.tree.map(lambda x: x[:, 0], start)
                top, _ = layer(self._drop(top, options), valid, start)
            attentional, weights = self._attend(memory, top, positions, options.capture)
        return contracts.Hidden(self._drop(attentional, options), weights)

    def _drop(self, inputs, options):
        return self.drop(inputs, deterministic=not options.train)

    def _advance(self, memory, state, inputs, options):
        """From y_{t-1} to h̃_t: the layers, then attention of the top state."""
        if self.input_feeding:
            inputs = jnp.concatenate([inputs, state.attentional], axis=-1)
        layers = []
        for layer, before in zip(self.decoder, state.layers, strict=True):
            projected = layer.unit.project(self._drop(inputs, options))
            after, inputs = layer.unit(before, projected)
            layers.append(after)
        attentional, weights = self._attend(memory, inputs, state.position, options.capture)
        return State(tuple(layers), attentional, state.position + 1), weights

    def _attend(self, memory, states, positions, capture):
        """h̃ of each top state, or the state itself where there is no attention."""
        if self.attention is None:
            return states, None
        context, weights = self.attention(states, memory, positions=positions, capture=capture)
        return jnp.tanh(self.combine(jnp.concatenate([context, states], axis=-1))), weights
