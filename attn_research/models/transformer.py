"""The Transformer: an encoder and a decoder of attention and feed-forward layers, and nothing else.

Vaswani et al. 2017. One batch: source ids [B, S] -> `encode`: L blocks -> `decode`: target ids
[B, T] through L blocks of masked self-attention, a look at the source, and a feed-forward layer ->
logits [B, T, V]. Search goes by `extend`, of which `step` is one token of K hypotheses: keys and
values of the source are computed once for all steps, those of the past are kept, and both go in and
out as values. Blocks are scanned: the parameters of all L are one array each, and what is compiled
does not grow with L; encoder and decoder have arrays of the same axes, and so, where sentences are
as long, compiled loops in common. Where a row holds several sentences, `segments` numbers them from
1, and none sees another.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from attn_research.attention import Causal, Padding, Segments
from attn_research.layers.contracts import Encoded, EncoderDecoder, Hidden
from attn_research.layers.embeddings import SinusoidalPositions, places_in
from attn_research.layers.multihead import Cache, MultiHeadAttention, ScaledDotHeads
from attn_research.layers.remat import Remat
from attn_research.layers.transformer import (
    BLOCK_RULES,
    DecoderBlock,
    EncoderBlock,
    Past,
    Weights,
    over_layers,
)
from attn_research.types import Array, Bool, Float, Int, PyTree


class Source(NamedTuple):
    """What the decoder's blocks look at in a sentence, and which of it is real."""

    states: Float[Array, "B S D"]
    valid: Bool[Array, "B S"]
    segments: Int[Array, "B S"] | None


class BlockState(NamedTuple):
    """What the steps of one block need, cut once out of the arrays of all blocks."""

    params: PyTree
    memory: Cache  # of the source, where K is 1
    cache: Cache


class State(NamedTuple):
    """A decoder between two chunks, of K hypotheses that are all of the same length.

    The caches of the blocks stay as they are when the beam moves: `origin` alone, the place of the
    beam where each position of a hypothesis was written, goes with the hypotheses.
    """

    blocks: tuple[BlockState, ...]
    origin: Int[Array, "B K Tpast"]
    length: Int[Array, ""]

    def spread(self, beam_size: int) -> "State":
        """That of one hypothesis for each of several. Only an empty past can be shared so."""
        blocks = (b._replace(cache=b.cache.spread(beam_size)) for b in self.blocks)
        origin = jnp.repeat(self.origin, beam_size, axis=1)
        return State(tuple(blocks), origin, self.length)

    def choose(self, parents: Int[Array, "B K"]) -> "State":
        """Every hypothesis goes on from the one that stood in the place of its parent."""
        origin = jnp.take_along_axis(self.origin, parents[..., None], axis=1)
        return self._replace(origin=origin)


class Transformer(EncoderDecoder):
    """`num_layers` blocks that read and as many that write.

    Sizes of the paper's base: 6 layers, model_dim 512, mlp_dim 2048, 8 heads, dropout 0.1; d_k and
    d_v are model_dim / num_heads unless given. One matrix makes source words, target words and
    scores where `shared`. `positions` says where a word stands; `scoring` makes the score of every
    head. `num_kv_heads`, `pre_norm` and `attention_dropout` are not in the paper.
    """

    source_vocab: int
    target_vocab: int
    num_layers: int
    model_dim: int
    mlp_dim: int
    num_heads: int
    head_dim: int | None = None
    value_dim: int | None = None
    num_kv_heads: int | None = None
    dropout: float = 0.0
    attention_dropout: float = 0.0
    attention_bias: bool = False
    pre_norm: bool = False
    shared: bool = True
    positions: nn.Module = SinusoidalPositions()
    scoring: nn.Module = ScaledDotHeads()
    implementation: str | None = None
    remat: Remat = "none"
    tensor_rules: ClassVar = (*BLOCK_RULES, ("words/embedding$", ("tensor", None)))

    def setup(self):
        if self.shared and self.source_vocab != self.target_vocab:
            raise ValueError(
                f"shared words need one vocabulary, not {self.source_vocab} and {self.target_vocab}"
            )
        if self.head_dim is None and self.model_dim % self.num_heads:
            raise ValueError(
                f"model_dim {self.model_dim} is not a multiple of num_heads {self.num_heads}: "
                "give head_dim"
            )
        init = nn.initializers.normal(self.model_dim**-0.5)
        self.source_words = nn.Embed(self.source_vocab, self.model_dim, embedding_init=init)
        if not self.shared:
            self.target_words = nn.Embed(self.target_vocab, self.model_dim, embedding_init=init)
        sizes = self.mlp_dim, self.dropout, self.pre_norm
        self.encoder = EncoderBlock(self._heads(), *sizes)
        self.decoder = DecoderBlock(self._heads(), self._heads(), *sizes)
        if self.pre_norm:
            self.encoder_norm = nn.LayerNorm(epsilon=1e-6)
            self.decoder_norm = nn.LayerNorm(epsilon=1e-6)
        self.drop = nn.Dropout(self.dropout)

    def encode(
        self,
        source: Int[Array, "B S"],
        valid: Bool[Array, "B S"],
        train: bool = False,
        capture: Literal["all"] | None = None,
        segments: Int[Array, "B S"] | None = None,
    ) -> Encoded:
        """Reads the source. `valid` is true at words, the end symbol included.

        The weights are those of self-attention, [B, L, N, S, S].
        """
        mask = Padding(valid)
        if segments is not None:
            mask = mask & Segments(segments, segments)
        states = self._embed(self.source_words, source, places_in(source, segments), train)

        def read(block, states):
            return block(states, mask, train, capture)

        states, weights = self._scan(read)(self.encoder, states)
        if self.pre_norm:
            states = self.encoder_norm(states)
        return Encoded(Source(states, valid, segments), None, weights)

    def decode_states(
        self,
        encoded: Encoded,
        previous: Int[Array, "B T"],
        train: bool = False,
        capture: Literal["all"] | None = None,
        segments: Int[Array, "B T"] | None = None,
    ) -> Hidden:
        """What every next word is scored by, given the true ones before it.

        The weights are those of the look at the source, [B, L, N, T, S], and of self-attention.
        """
        source, mask = encoded.memory, Causal()
        memory_mask = Padding(source.valid)
        if segments is not None:
            mask = mask & Segments(segments, segments)
            memory_mask = memory_mask & Segments(segments, source.segments)
        states = self._embed(self._written(), previous, places_in(previous, segments), train)

        def write(block, states):
            memory = block.cross.project(source.states)
            after, _, weights = block(states, mask, memory, memory_mask, None, train, capture)
            return after, weights

        states, weights = self._scan(write)(self.decoder, states)
        if self.pre_norm:
            states = self.decoder_norm(states)
        return Hidden(states, weights.cross, weights.attention)

    def score_words(self, states: Float[Array, "*B T D"]) -> Float[Array, "*B T V"]:
        """Logits of the states that the decoder ends in."""
        return self._written().attend(states)

    def begin(self, encoded: Encoded, max_length: int) -> State:
        """The state before the first token of one hypothesis, with room for `max_length`.

        It is for steps with the same parameters.
        """

        def project(block):
            return block.cross.project(encoded.memory.states)

        def of(number):
            params = jax.tree.map(lambda x: x[number], self.variables["params"]["decoder"])
            seen = _with(params, project)(self.decoder)
            length = seen.keys.shape[1]
            alone = jax.tree.map(lambda x: x[:, None], seen)
            memory = Cache.make(seen, length).write(alone, jnp.int32(0))
            return BlockState(params, memory, Cache.make(seen, max_length))

        blocks = tuple(map(of, range(self.num_layers)))
        origin = jnp.zeros((encoded.memory.valid.shape[0], 1, max_length), jnp.int32)
        return State(blocks, origin, jnp.int32(0))

    def extend(
        self,
        memory: Source,
        state: State,
        tokens: Int[Array, "B K T"],
        capture: Literal["all"] | None = None,
    ) -> tuple[Float[Array, "B K T V"], State, Weights]:
        """Reads the next T tokens of K hypotheses: logits after each, and the state behind them.

        Any split of a sequence into chunks gives the logits of the whole. What no longer fits into
        the room that `begin` made must not be given.
        """
        states, state, weights = self._extend(memory, state, tokens, capture)
        return self.score_words(states), state, weights

    def step(
        self, memory: Source, state: State, previous: Int[Array, "B K"]
    ) -> tuple[Float[Array, "B K V"], State, Float[Array, "B K L N S"]]:
        """One word of K hypotheses a sentence: logits, next state, and where each looked."""
        logits, state, weights = self.extend(memory, state, previous[..., None], "all")
        return logits[:, :, 0], state, weights.cross[..., 0, :]

    def _extend(self, source, state, tokens, capture):
        """Tokens [B, K, T] through the decoder, after those of a state."""
        _, places, num_tokens = tokens.shape
        positions = jnp.broadcast_to(state.length + jnp.arange(num_tokens), tokens.shape)
        states = self._embed(self._written(), tokens, positions, False)
        here = jnp.broadcast_to(jnp.arange(places)[None, :, None], tokens.shape)
        start = state.length
        origin = jax.lax.dynamic_update_slice_in_dim(state.origin, here, start, axis=2)

        def write(block, states, memory, past):
            return block(states, Causal(), memory, Padding(source.valid), past, False, capture)

        # Not scanned: a loop would copy what is each block's out of arrays of all, and back.
        blocks, weights = [], []
        for one in state.blocks:
            past = Past(start, origin, one.cache)
            states, cache, looked = _with(one.params, write)(
                self.decoder, states, one.memory.slots(), past
            )
            blocks.append(one._replace(cache=cache))
            weights.append(looked)
        if self.pre_norm:
            states = self.decoder_norm(states)
        stacked = jax.tree.map(lambda *xs: jnp.stack(xs, axis=2), *weights)
        return states, State(tuple(blocks), origin, start + num_tokens), stacked

    def _written(self):
        """The words that the decoder reads and writes."""
        return self.source_words if self.shared else self.target_words

    def _embed(self, words, ids, positions, train):
        """√D times the words' vectors, plus where they stand. Section 3.4."""
        places = self.positions(positions, self.model_dim)
        vectors = words(ids) * self.model_dim**0.5
        states = (vectors + places).astype(vectors.dtype)
        return self.drop(states, deterministic=not train)

    def _scan(self, body):
        return over_layers(body, self.num_layers, self.remat)

    def _heads(self):
        return MultiHeadAttention(
            self.num_heads,
            self.head_dim or self.model_dim // self.num_heads,
            self.value_dim,
            self.num_kv_heads,
            self.attention_bias,
            self.attention_dropout,
            self.scoring.clone(parent=None),
            # Glorot's for the three as one matrix [D, 3 N H]. Drawn as a matrix each, first scores
            # are twice as far apart, and with much dropout looks at the source are learned late.
            input_init=nn.initializers.variance_scaling(0.5, "fan_avg", "uniform"),
            implementation=self.implementation,
        )


def _with(params: PyTree, body: Callable[..., Any]) -> Callable[..., Any]:
    """body(block, ...) where the block has these parameters."""
    return nn.map_variables(body, "params", lambda _: {"params": params})
