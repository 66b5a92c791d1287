"""RNNencdec and RNNsearch: a sentence as one vector, or as annotations to look at.

Bahdanau, Cho, Bengio 2014, sections 2.1 and 3, appendix A. The two differ in one field: without
`attention` the context is the encoder's last state, for every word; with it, it is what attention,
additive in the paper, reads from a bidirectional encoder. That is the paper's comparison.

One batch: source ids [B, S] -> `encode` -> memory, s_0 -> `decode` with the target ids [B, T] ->
logits [B, T, V]. Decoding calls `step` instead, for K hypotheses of each sentence.
"""

from typing import ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from attn_research.layers.attention import MemoryAttention
from attn_research.layers.readout import Readout
from attn_research.layers.contracts import Encoded, EncoderDecoder, Hidden
from attn_research.layers.recurrent import GatedUnit, Recurrence
from attn_research.layers.remat import Remat, remat
from attn_research.types import Array, Bool, Float, Int, PyTree

normal = nn.initializers.normal


class State(NamedTuple):
    """A decoder between two words: s_i, and how many words came before."""

    hidden: Float[Array, "B K D"]
    position: Int[Array, "B K"]


class Seq2Seq(EncoderDecoder):
    """Encoder and decoder of gated units, and what looks from one to the other, or None.

    Sizes in the paper: hidden n = 1000, embedding m = 620, maxout l = 500; its attention is
    `MemoryAttention(AdditiveScoring(1000))`.
    `init_scale` widens the paper's normal initialization, which takes days to grow out of. The
    other fields that follow are not in the paper. `tied` takes one matrix for source words, target
    words and, transposed, W_o. `word_dropout` hides whole words that come before, so that more must
    be read from the source. `conditional` is the decoder of Sennrich et al. 2017: one
    unit takes in the last word, its state looks, a second unit takes in the context, and its state
    is read out:

        s'_i = GRU_1(s_{i-1}, y_{i-1})   c_i = attend(s'_i, h)   s_i = GRU_2(s'_i, c_i)
    """

    source_vocab: int
    target_vocab: int
    hidden: int
    embedding: int
    maxout: int
    attention: MemoryAttention | None
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

    def setup(self):
        if self.tied and not (
            self.source_vocab == self.target_vocab and self.embedding == self.maxout
        ):
            raise ValueError(
                f"tied words need one vocabulary, not {self.source_vocab} and {self.target_vocab}, "
                f"and maxout {self.maxout} as wide as embedding {self.embedding}"
            )
        init = normal(0.01 * self.init_scale)
        self.source_embedding = nn.Embed(self.source_vocab, self.embedding, embedding_init=init)
        if not self.tied:
            self.target_embedding = nn.Embed(self.target_vocab, self.embedding, embedding_init=init)
        self.forward = Recurrence(GatedUnit(self.hidden, init))
        if self.attention is not None:
            self.backward = Recurrence(GatedUnit(self.hidden, init), reverse=True)
        self.initial = nn.Dense(self.hidden, kernel_init=init)
        self.unit = GatedUnit(self.hidden, init)
        if self.conditional:
            self.second_unit = GatedUnit(self.hidden, init)
        else:
            self.context = nn.Dense(3 * self.hidden, use_bias=False, kernel_init=init)
        self.readout = Readout(self.maxout, self.target_vocab, self.output_dropout, init, self.tied)
        self.drop_embedding = nn.Dropout(self.embedding_dropout)
        self.drop_word = nn.Dropout(self.word_dropout, broadcast_dims=(-1,))
        self.drop_annotation = nn.Dropout(self.annotation_dropout)

    def encode(
        self, source: Int[Array, "B S"], valid: Bool[Array, "B S"], train: bool = False
    ) -> Encoded:
        """Reads the source. `valid` is true at words, the end symbol included."""
        words = self.drop_embedding(self.source_embedding(source), deterministic=not train)
        annotations, last = self.forward(words, valid)
        if self.attention is None:
            memory = self.drop_annotation(last[:, None], deterministic=not train)
        else:
            backward, last = self.backward(words, valid)
            annotations = self.drop_annotation(
                jnp.concatenate([annotations, backward], axis=-1), deterministic=not train
            )
            memory = self.attention.project(annotations, valid)
        hidden = jnp.tanh(self.initial(last))[:, None]
        return Encoded(memory, State(hidden, jnp.zeros(hidden.shape[:2], jnp.int32)))

    def decode_states(
        self,
        encoded: Encoded,
        previous: Int[Array, "B T"],
        train: bool = False,
        capture: Literal["all"] | None = None,
    ) -> Hidden:
        """What every next word is scored by, t_i, given the true ones before it."""
        words = self._embed(previous, train)

        def advance(model, state, projected):
            after, *seen = model._advance(encoded.memory, state, projected[:, None], capture)
            return after, jax.tree.map(lambda x: x[:, 0], tuple(seen))

        loop = nn.scan(
            remat(advance, self.remat),
            variable_broadcast="params",
            split_rngs={"params": False},
            in_axes=1,
            out_axes=1,
        )
        projected = self.unit.project(words)
        _, (states, contexts, weights) = loop(self, encoded.state, projected)
        return Hidden(self.readout(states, words, contexts, train), weights)

    def score_words(self, states: Float[Array, "*B T D"]) -> Float[Array, "*B T V"]:
        """Logits: W_o t_i."""
        return self.readout.score_words(states, self.source_embedding if self.tied else None)

    def step(
        self, memory: PyTree, state: State, previous: Int[Array, "B K"]
    ) -> tuple[Float[Array, "B K V"], State, Float[Array, "B K S"] | None]:
        """One word of K hypotheses a sentence: logits, next state, and where each looked."""
        words = self._embed(previous, train=False)
        after, hidden, context, weights = self._advance(
            memory, state, self.unit.project(words), "all"
        )
        return self.score_words(self.readout(hidden, words, context)), after, weights

    def _embed(self, ids, train):
        words = self.source_embedding if self.tied else self.target_embedding
        vectors = self.drop_embedding(words(ids), deterministic=not train)
        return self.drop_word(vectors, deterministic=not train)

    def _advance(self, memory, state, projected, capture):
        """From s_{i-1} to s_i: the state after, then what is read out: a state and c_i; weights."""
        hidden, position = state
        if self.conditional:
            hidden, _ = self.unit(hidden, projected)
        if self.attention is None:
            context, weights = jnp.broadcast_to(memory, hidden.shape), None
        else:
            context, weights = self.attention(hidden, memory, position, capture)
        if self.conditional:
            after, _ = self.second_unit(hidden, self.second_unit.project(context))
            hidden = after
        else:
            after, _ = self.unit(hidden, projected + self.context(context))
        return State(after, position + 1), hidden, context, weights
