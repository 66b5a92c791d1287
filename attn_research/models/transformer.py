"""The Transformer: an encoder and a decoder of attention and feed-forward layers, and nothing else.

Vaswani et al. 2017. One batch: source ids [B, S] -> `encode`: L blocks, then the keys and values
that the decoder's L blocks look at, all of them once -> `decode`: target ids [B, T] through L
blocks of masked self-attention, a look at the source, and a feed-forward layer -> logits [B, T, V].
Search goes by `extend`, of which `step` is one token of K hypotheses: keys and values of the past
are kept, and go in and out as values. Blocks are scanned: the parameters of all L are one array
each, and what is compiled does not grow with L.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from attn_research.attention import Causal, Padding
from attn_research.layers.contracts import Decoded, Encoded, EncoderDecoder
from attn_research.layers.embeddings import SinusoidalPositions
from attn_research.layers.multihead import KeyValues, MultiHeadAttention, ScaledDotHeads
from attn_research.types import Array, Bool, Float, Int


class Residual(nn.Module):
    """LayerNorm(x + dropout(f(x))), or x + dropout(f(LayerNorm(x))) where `pre_norm`.

    Vaswani et al. 2017, sections 3.1 and 5.4. f takes what `enter` gives; `leave` takes what it
    made of it.
    """

    dropout: float
    pre_norm: bool

    def setup(self):
        self.norm = nn.LayerNorm(epsilon=1e-6)
        self.drop = nn.Dropout(self.dropout)

    def enter(self, states: Float[Array, "*B T D"]) -> Float[Array, "*B T D"]:
        """What the layer inside reads."""
        return self.norm(states) if self.pre_norm else states

    def leave(
        self, states: Float[Array, "*B T D"], made: Float[Array, "*B T D"], train: bool
    ) -> Float[Array, "*B T D"]:
        """The sum."""
        total = states + self.drop(made, deterministic=not train)
        return total if self.pre_norm else self.norm(total)


class FeedForward(nn.Module):
    """max(0, x W_1 + b_1) W_2 + b_2. Vaswani et al. 2017, equation 2."""

    mlp_dim: int
    kernel_init: nn.initializers.Initializer = nn.initializers.xavier_uniform()

    @nn.compact
    def __call__(self, inputs: Float[Array, "*B T D"]) -> Float[Array, "*B T D"]:
        init = self.kernel_init
        hidden = nn.relu(nn.Dense(self.mlp_dim, kernel_init=init, name="input")(inputs))
        return nn.Dense(inputs.shape[-1], kernel_init=init, name="output")(hidden)


class EncoderBlock(nn.Module):
    """Self-attention, then a feed-forward layer."""

    attention: MultiHeadAttention
    mlp_dim: int
    dropout: float
    pre_norm: bool

    def setup(self):
        self.around_attention = Residual(self.dropout, self.pre_norm)
        self.around_mlp = Residual(self.dropout, self.pre_norm)
        self.mlp = FeedForward(self.mlp_dim)

    def __call__(
        self,
        states: Float[Array, "B S D"],
        valid: Bool[Array, "B S"],
        train: bool = False,
        capture: Literal["all"] | None = None,
    ) -> tuple[Float[Array, "B S D"], Float[Array, "B N S S"] | None]:
        """The states after it, and where its heads looked, if captured."""
        inner = self.around_attention.enter(states)
        seen, weights = self.attention(
            inner, self.attention.project(inner), Padding(valid), None, train, capture
        )
        states = self.around_attention.leave(states, seen, train)
        made = self.mlp(self.around_mlp.enter(states))
        return self.around_mlp.leave(states, made, train), weights


class DecoderBlock(nn.Module):
    """Self-attention over the past, a look at the source, then a feed-forward layer."""

    attention: MultiHeadAttention
    cross: MultiHeadAttention
    mlp_dim: int
    dropout: float
    pre_norm: bool

    def setup(self):
        self.around_attention = Residual(self.dropout, self.pre_norm)
        self.around_cross = Residual(self.dropout, self.pre_norm)
        self.around_mlp = Residual(self.dropout, self.pre_norm)
        self.mlp = FeedForward(self.mlp_dim)

    def __call__(
        self,
        states: Float[Array, "B K T D"],
        memory: KeyValues,
        valid: Bool[Array, "B S"],
        past: KeyValues | None = None,
        positions: Int[Array, "B K T"] | None = None,
        train: bool = False,
        capture: Literal["all"] | None = None,
    ) -> tuple[Float[Array, "B K T D"], KeyValues | None, "Weights"]:
        """The states after it, the past with theirs in it, and where its heads looked.

        Without a `past` the states are a whole sequence; with one, the chunk that stands at
        `positions`. All K hypotheses of a sentence look at one memory [B, S, ...].
        """
        inner = self.around_attention.enter(states)
        now = self.attention.project(inner)
        if past is not None:
            past = now = past.write(now, positions[..., 0])
        seen, own = self.attention(inner, now, Causal(), positions, train, capture)
        states = self.around_attention.leave(states, seen, train)

        inner = self.around_cross.enter(states)
        queries = inner.reshape(inner.shape[0], -1, inner.shape[-1])  # [B, K * T, D]
        seen, weights = self.cross(queries, memory, Padding(valid), None, train, capture)
        states = self.around_cross.leave(states, seen.reshape(inner.shape), train)
        if weights is not None:  # [B, N, K * T, S] -> [B, K, N, T, S]
            split = weights.reshape(*weights.shape[:2], *inner.shape[1:3], weights.shape[-1])
            weights = split.swapaxes(1, 2)

        made = self.mlp(self.around_mlp.enter(states))
        return self.around_mlp.leave(states, made, train), past, Weights(own, weights)


class Weights(NamedTuple):
    """Where the heads of the decoder looked; the axis L of blocks, where there is one, is third."""

    attention: Float[Array, "B K *L N T Tpast"] | None
    cross: Float[Array, "B K *L N T S"] | None


class Source(NamedTuple):
    """What the decoder's blocks look at in a sentence, and which of it is real."""

    memory: KeyValues  # leaves [B, L, S, heads, width]
    valid: Bool[Array, "B S"]


class State(NamedTuple):
    """A decoder between two chunks: keys and values of the past of every block, and its length."""

    past: KeyValues  # leaves [B, K, L, T, heads, width]
    length: Int[Array, "B K"]


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
        self, source: Int[Array, "B S"], valid: Bool[Array, "B S"], train: bool = False
    ) -> Encoded:
        """Reads the source. `valid` is true at words, the end symbol included."""
        positions = jnp.arange(source.shape[1])[None]
        states = self._embed(self.source_words, source, positions, train)

        def read(block, states, _):
            return block(states, valid, train)[0], None

        states, _ = self._scan(read)(self.encoder, states, None)
        if self.pre_norm:
            states = self.encoder_norm(states)

        def project(block, nothing, _):
            return nothing, block.cross.project(states)

        _, memory = self._scan(project, out_axes=1)(self.decoder, (), None)
        return Encoded(Source(memory, valid), None)

    def decode(
        self,
        encoded: Encoded,
        previous: Int[Array, "B T"],
        train: bool = False,
        capture: Literal["all"] | None = None,
    ) -> Decoded:
        """Scores every next word given the true ones before it: `previous` begins with BOS.

        The weights are those of the look at the source, [B, L, N, T, S].
        """
        logits, _, weights = self._write(encoded.memory, None, previous[:, None], train, capture)
        return Decoded(logits[:, 0], None if capture is None else weights.cross[:, 0])

    def begin(self, encoded: Encoded, max_length: int) -> State:
        """The state before the first token, with room for `max_length`; leaves [B, 1, ...]."""
        memory = encoded.memory.memory

        def room(array):
            batch, layers, _, heads, width = array.shape
            return jnp.zeros((batch, 1, layers, max_length, heads, width), array.dtype)

        past = jax.tree.map(room, memory)
        return State(past, jnp.zeros(past.keys.shape[:2], jnp.int32))

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
        return self._write(memory, state, tokens, False, capture)

    def step(
        self, memory: Source, state: State, previous: Int[Array, "B K"]
    ) -> tuple[Float[Array, "B K V"], State, Float[Array, "B K L N S"]]:
        """One word of K hypotheses a sentence: logits, next state, and where each looked."""
        logits, state, weights = self.extend(memory, state, previous[..., None], "all")
        return logits[:, :, 0], state, weights.cross[..., 0, :]

    def _write(self, source, state, tokens, train, capture):
        """Tokens [B, K, T] through the decoder, after those of a state or from the start."""
        words = self.source_words if self.shared else self.target_words
        past = positions = None
        places = jnp.arange(tokens.shape[-1])[None, None]
        if state is not None:
            past = state.past
            places = positions = state.length[..., None] + places
        states = self._embed(words, tokens, places, train)

        def write(block, states, memory, past):
            after, past, weights = block(
                states, memory, source.valid, past, positions, train, capture
            )
            return after, (past, weights)

        loop = self._scan(write, in_axes=(1, 2), out_axes=2)
        states, (past, weights) = loop(self.decoder, states, source.memory, past)
        if self.pre_norm:
            states = self.decoder_norm(states)
        if state is not None:
            state = State(past, state.length + tokens.shape[-1])
        return words.attend(states), state, weights

    def _embed(self, words, ids, positions, train):
        """√D times the words' vectors, plus where they stand. Section 3.4."""
        places = self.positions(positions, self.model_dim)
        vectors = words(ids) * self.model_dim**0.5
        return self.drop(vectors + places, deterministic=not train)

    def _scan(self, body, in_axes=0, out_axes=0):
        """body(block, carry, x) over all blocks, each with parameters and dropout of its own."""
        return nn.scan(
            body,
            variable_axes={"params": 0},
            split_rngs={"params": True, "dropout": True},
            in_axes=in_axes,
            out_axes=out_axes,
            length=self.num_layers,
        )

    def _heads(self):
        return MultiHeadAttention(
            self.num_heads,
            self.head_dim or self.model_dim // self.num_heads,
            self.value_dim,
            self.num_kv_heads,
            self.attention_bias,
            self.attention_dropout,
            self.scoring.clone(parent=None),
            implementation=self.implementation,
        )
