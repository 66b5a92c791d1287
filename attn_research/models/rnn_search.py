"""RNNencdec and RNNsearch: a sentence as one vector, or as annotations to attend to.

Bahdanau, Cho, Bengio 2014, sections 2.1 and 3, appendix A. The two differ in one field: without
`attention` the context of every word is the encoder's last state; with it, the context is what
attention, additive in the paper, reads from a bidirectional encoder. That is the paper's
comparison.

One batch: source ids [B, S] -> `encode` -> memory, s_0 -> `decode` with the target ids [B, T] ->
logits [B, T, V]. Search calls `step` instead, for K hypotheses of each sentence.
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
from attn_research.layers.readout import Readout
from attn_research.layers.recurrent import GatedUnit, Recurrence
from attn_research.layers.remat import Remat
from attn_research.layers.steps import scan_steps
from attn_research.types import Array, Bool, Float, Int, PyTree

normal = nn.initializers.normal


class State(NamedTuple):
    """The decoder's state between two words: s_i, and the number of words before."""

    hidden: Float[Array, "B K D"]
    position: Int[Array, "B K"]


class RNNSearch(EncoderDecoder):
    """Encoder and decoder of gated recurrent units, with attention between them, or without.

    Sizes in the paper: hidden n = 1000, embedding m = 620, maxout l = 500; its attention is
    `MemoryAttention(make_scoring("additive", features=1000))`. `init_scale` widens the paper's
    normal initialization, which takes days of training to leave.

    The other options are not in the paper. `tied` shares one matrix among source embedding, target
    embedding and, transposed, W_o. `word_dropout` drops whole embeddings of previous words, so that
    more must be read from the source. `conditional` is the decoder of Sennrich et al. 2017, with a
    unit before attention and a unit after it:

        s'_i = GRU_1(s_{i-1}, y_{i-1})   c_i = attend(s'_i, h)   s_i = GRU_2(s'_i, c_i)
    """

    source_vocab: int
    target_vocab: int
    hidden_dim: int
    embedding_dim: int
    maxout_dim: int
    attention: MemoryAttention | None
    _: dataclasses.KW_ONLY
    embedding_dropout: float = 0.0
    annotation_dropout: float = 0.0
    output_dropout: float = 0.0
    init_scale: float = 1.0
    tied: bool = False
    word_dropout: float = 0.0
    conditional: bool = False
    remat: Remat = "none"
    tensor_rules: ClassVar = (
        ("embedding/embedding$", ("tensor", None)),
        ("(vocabulary|input_.|scoring/key|scoring/query)/kernel$", (None, "tensor")),
        ("(vocabulary|input_.|scoring/query)/bias$|scoring/vector$", ("tensor",)),
    )

    @property
    def alignment(self) -> contracts.AlignmentSpec | None:
        # The weights of a step come from the state before the word that it predicts.
        return None if self.attention is None else contracts.AlignmentSpec("predicted")

    def setup(self):
        if self.tied and not (
            self.source_vocab == self.target_vocab and self.embedding_dim == self.maxout_dim
        ):
            raise ValueError(
                f"tied words need one vocabulary, not {self.source_vocab} and {self.target_vocab}, "
                f"and maxout {self.maxout_dim} as wide as embedding {self.embedding_dim}"
            )
        hidden, width = self.hidden_dim, self.embedding_dim
        init = normal(0.01 * self.init_scale)
        self.source_embedding = nn.Embed(self.source_vocab, width, embedding_init=init)
        if not self.tied:
            self.target_embedding = nn.Embed(self.target_vocab, width, embedding_init=init)
        self.forward = Recurrence(GatedUnit(hidden, init))
        if self.attention is not None:
            self.backward = Recurrence(GatedUnit(hidden, init), reverse=True)
        self.initial = Dense(hidden, kernel_init=init)
        self.unit = GatedUnit(hidden, init)
        if self.conditional:
            self.second_unit = GatedUnit(hidden, init)
        else:
            self.context = Dense(3 * hidden, use_bias=False, kernel_init=init)
        self.readout = Readout(
            self.maxout_dim,
            self.target_vocab,
            dropout=self.output_dropout,
            kernel_init=init,
            tied=self.tied,
        )
        self.drop_embedding = nn.Dropout(self.embedding_dropout)
        self.drop_word = nn.Dropout(self.word_dropout, broadcast_dims=(-1,))
        self.drop_annotation = nn.Dropout(self.annotation_dropout)

    def logits(self, states: Float[Array, "*B T D"]) -> Float[Array, "*B T V"]:
        """W_o t_i."""
        return self.readout.logits(states, self.source_embedding if self.tied else None)

    def step(
        self, memory: PyTree, state: State, previous: Int[Array, "B K"], *, capture: Capture = None
    ) -> contracts.StepOutput:
        embedded = self._embed(previous, train=False)
        after, hidden, context, weights = self._advance(
            memory, state, self.unit.project(embedded), capture
        )
        return contracts.StepOutput(
            self.logits(self.readout(hidden, embedded, context)), after, weights
        )

    def _encode(
        self, source: Int[Array, "B S"], valid: Bool[Array, "B S"], options: contracts.Pass
    ):
        fixed = not options.train
        embedded = self.drop_embedding(self.source_embedding(source), deterministic=fixed)
        annotations, last = self.forward(embedded, valid)
        if self.attention is None:
            memory = self.drop_annotation(last[:, None], deterministic=fixed)
        else:
            backward, last = self.backward(embedded, valid)
            annotations = jnp.concatenate([annotations, backward], axis=-1)
            annotations = self.drop_annotation(annotations, deterministic=fixed)
            memory = self.attention.project(annotations, valid)
        hidden = jnp.tanh(self.initial(last))[:, None]
        return contracts.Encoded(memory, State(hidden, jnp.zeros(hidden.shape[:2], jnp.int32)))

    def _decode_states(
        self, encoded: contracts.Encoded, previous: Int[Array, "B T"], options: contracts.Pass
    ):
        """The maxout units t_i of every next word."""
        embedded = self._embed(previous, options.train)

        def advance(model, memory, hidden, step):
            projected, position = (x[:, None] for x in step)
            after, *outputs = model._advance(
                memory, State(hidden, position), projected, options.capture
            )
            return after.hidden, jax.tree.map(lambda x: x[:, 0], tuple(outputs))

        projected = self.unit.project(embedded)
        positions = jnp.broadcast_to(jnp.arange(previous.shape[1]), previous.shape)
        _, (states, contexts, weights) = scan_steps(
            advance,
            self,
            encoded.state.hidden,
            (projected, encoded.state.position + positions),
            encoded.memory,
            policy=self.remat,
        )
        return contracts.Hidden(
            self.readout(states, embedded, contexts, train=options.train), weights
        )

    def _embed(self, ids, train):
        embedding = self.source_embedding if self.tied else self.target_embedding
        embedded = self.drop_embedding(embedding(ids), deterministic=not train)
        return self.drop_word(embedded, deterministic=not train)

    def _advance(self, memory, state, projected, capture):
        """From s_{i-1} to s_i: the next state, then the state to be read out, c_i, and weights."""
        hidden, position = state
        if self.conditional:
            hidden, _ = self.unit(hidden, projected)
        if self.attention is None:
            context, weights = jnp.broadcast_to(memory, hidden.shape), None
        else:
            context, weights = self.attention(hidden, memory, positions=position, capture=capture)
        if self.conditional:
            after, _ = self.second_unit(hidden, self.second_unit.project(context))
            hidden = after
        else:
            after, _ = self.unit(hidden, projected + self.context(context))
        return State(after, position + 1), hidden, context, weights
