"""The Transformer: an encoder and a decoder of attention and feed-forward layers, and nothing else.

Vaswani et al. 2017. One batch: source ids [B, S] -> `encode`: L blocks -> `decode`: target ids
[B, T] through L blocks of causal self-attention, cross-attention and a feed-forward layer ->
logits [B, T, V]. Search calls `extend`, of which `step` is one token of K hypotheses: keys and
values of the source are computed once for all steps, those of the tokens before are kept in
key-value caches. Blocks are scanned (see `scan_blocks`): the parameters of all L are one array
each. Where a row holds several sentences, `segments` numbers them from 1, and none attends to
another.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from attn_research.attention import Causal, Full, Mask, Padding, Segments, softmax
from attn_research.decoding.cache import BeamHistory, KeyValueCache, Past, Shared
from attn_research.layers import contracts
from attn_research.layers.contracts import Capture, EncoderDecoder
from attn_research.layers.dense import Dense
from attn_research.layers.embeddings import SinusoidalPositions, segment_positions
from attn_research.layers.feed_forward import BlockConfig
from attn_research.layers.masking import intersect
from attn_research.layers.multihead import MultiHeadAttention
from attn_research.layers.normalizing import Normalizer
from attn_research.layers.remat import Remat
from attn_research.layers.scoring import Scoring, make_scoring
from attn_research.layers.stack import scan_blocks, unstack, with_params
from attn_research.layers.transformer import (
    BLOCK_RULES,
    DecoderBlock,
    DecoderWeights,
    EncoderBlock,
)
from attn_research.types import Array, Bool, Float, Int


class Source(NamedTuple):
    """The encoder's states of a sentence, and which of them are words."""

    states: Float[Array, "B S D"]
    valid: Bool[Array, "B S"]
    segments: Int[Array, "B S"] | None


class BlockState(NamedTuple):
    """One block between two steps: its parameters and source keys and values, and its cache."""

    constant: Shared  # (parameters, KeyValueCache of the source)
    cache: KeyValueCache


class State(NamedTuple):
    """The decoder between two chunks of K hypotheses that are all of the same length."""

    blocks: tuple[BlockState, ...]
    history: BeamHistory


class Transformer(EncoderDecoder):
    """An encoder and a decoder of `num_layers` blocks each.

    Sizes of the paper's base: 6 layers, model_dim 512, mlp_dim 2048, 8 heads, dropout 0.1; d_k and
    d_v are model_dim / num_heads unless given. `tied` shares one matrix among source embedding,
    target embedding and logits. `positions` makes positional embeddings; `scoring` and `normalizer`
    are of every head. `num_kv_heads`, `pre_norm` and `attention_dropout` are not in the paper, nor
    are `mask`, of the encoder's self-attention, and `decoder_mask`, which holds beside the causal
    one.

    T5 (Raffel et al. 2020), Marian and Whisper (Radford et al. 2022) are configurations: `block`
    has norms and feed-forward layers, but for dropout and `pre_norm`; `position_bias` and
    `decoder_position_bias` are modules that give a bias of self-attention for a number of heads.
    Embeddings are multiplied by `embedding_scale`, √D where None, and states by `logit_scale`
    before they make logits, by a matrix of their own with `own_head`, and with a bias of each word
    if `output_bias`. A `stem` makes states of inputs that are no ids, such as sounds.
    """

    source_vocab: int
    target_vocab: int
    num_layers: int
    model_dim: int
    mlp_dim: int
    num_heads: int
    _: dataclasses.KW_ONLY
    head_dim: int | None = None
    value_dim: int | None = None
    num_kv_heads: int | None = None
    dropout: float = 0.0
    attention_dropout: float = 0.0
    attention_bias: bool | tuple[str, ...] = False
    pre_norm: bool = False
    tied: bool = True
    block: BlockConfig = BlockConfig()
    num_decoder_layers: int | None = None
    positions: nn.Module | None = SinusoidalPositions()
    position_bias: nn.Module | None = None
    decoder_position_bias: nn.Module | None = None
    embedding_scale: float | None = None
    logit_scale: float = 1.0
    own_head: bool = False
    output_bias: bool = False
    stem: nn.Module | None = None
    scoring: Scoring = make_scoring("scaled_dot")
    normalizer: Normalizer = softmax
    mask: Mask = Full()
    decoder_mask: Mask = Full()
    implementation: str | None = None
    remat: Remat = "none"
    tensor_rules: ClassVar = (*BLOCK_RULES, ("_embedding/embedding$", ("tensor", None)))
    takes_segments: ClassVar[bool] = True

    @property
    def alignment(self) -> contracts.AlignmentSpec | None:
        return contracts.AlignmentSpec("predicted", by_heads=True)

    def setup(self):
        if self.tied and self.stem is not None:
            raise ValueError("tied words and a stem: its inputs have no words, give tied=False")
        if self.tied and self.source_vocab != self.target_vocab:
            raise ValueError(
                f"tied words need one vocabulary, not {self.source_vocab} and {self.target_vocab}"
            )
        if self.head_dim is None and self.model_dim % self.num_heads:
            raise ValueError(
                f"model_dim {self.model_dim} is not a multiple of num_heads {self.num_heads}: "
                "give head_dim"
            )
        init = nn.initializers.normal(self.model_dim**-0.5)
        if self.stem is None:
            self.source_embedding = nn.Embed(self.source_vocab, self.model_dim, embedding_init=init)
        if not self.tied:
            self.target_embedding = nn.Embed(self.target_vocab, self.model_dim, embedding_init=init)
        if self.own_head:
            self.head = Dense(self.target_vocab, use_bias=False, kernel_init=init)
        if self.output_bias:
            self.bias = self.param("bias", nn.initializers.zeros, (self.target_vocab,))
        config = dataclasses.replace(self.block, dropout=self.dropout, pre_norm=self.pre_norm)
        self.encoder = EncoderBlock(self._make_heads(), self.mlp_dim, config)
        self.decoder = DecoderBlock(
            self._make_heads(), self.mlp_dim, config, cross=self._make_heads()
        )
        if self.pre_norm:
            self.encoder_norm, self.decoder_norm = config.make_norm(), config.make_norm()
        self.drop = nn.Dropout(self.dropout)

    def logits(self, states: Float[Array, "*B T D"]) -> Float[Array, "*B T V"]:
        states = states * self.logit_scale
        logits = self.head(states) if self.own_head else self._output_embedding.attend(states)
        if not self.output_bias:
            return logits
        return logits + self.bias.reshape((1,) * (logits.ndim - 1) + (-1,))

    def begin(self, encoded: contracts.Encoded, max_length: int) -> State:
        """The state before the first token, for steps with the same parameters."""

        def project(block):
            return block.cross.project(encoded.memory.states)

        def make_state(params):
            source = with_params(params, project)(self.decoder)
            constant = Shared((params, KeyValueCache.filled(source)))
            return BlockState(constant, KeyValueCache.make(source, max_length))

        layers = unstack(self.variables["params"]["decoder"], self._num_decoder_layers)
        blocks = tuple(map(make_state, layers))
        return State(blocks, BeamHistory.empty(encoded.memory.valid.shape[0], max_length))

    def extend(
        self,
        memory: Source,
        state: State,
        tokens: Int[Array, "B K T"],
        *,
        capture: Capture = None,
    ) -> tuple[Float[Array, "B K T V"], State, DecoderWeights]:
        """The next T tokens of K hypotheses: logits after each, the state after all, and weights.

        Any split of a sequence into chunks gives the logits of the whole, which must fit into the
        `max_length` of `begin`.
        """
        num_tokens = tokens.shape[2]
        history = state.history.append(num_tokens)
        positions = jnp.broadcast_to(history.last_positions(num_tokens), tokens.shape)
        states = self._embed(self._output_embedding, tokens, positions, train=False)
        mask, source_mask = intersect(self.decoder_mask, Causal()), Padding(memory.valid)
        options = {"bias": self._bias(self.decoder_position_bias), "capture": capture}

        def run(block, states, source, past):
            return block(states, mask, memory=source, memory_mask=source_mask, past=past, **options)

        blocks, weights = [], []
        for block in state.blocks:
            params, source = block.constant.value
            states, cache, of_block = with_params(params, run)(
                self.decoder, states, source.slots(), Past(history, block.cache)
            )
            blocks.append(block._replace(cache=cache))
            weights.append(of_block)
        states = self.decoder_norm(states) if self.pre_norm else states
        weights = jax.tree.map(lambda *layers: jnp.stack(layers, axis=2), *weights)
        return self.logits(states), State(tuple(blocks), history), weights

    def step(
        self, memory: Source, state: State, previous: Int[Array, "B K"], *, capture: Capture = None
    ) -> contracts.StepOutput:
        logits, state, weights = self.extend(memory, state, previous[..., None], capture=capture)
        cross = None if weights.cross is None else weights.cross[..., 0, :]
        return contracts.StepOutput(logits[:, :, 0], state, cross)

    def _encode(self, source: Array, valid: Bool[Array, "B S"], options: contracts.Pass):
        train, capture, segments = options
        if self.stem is None:
            positions = segment_positions(source, segments)
            states = self._embed(self.source_embedding, source, positions, train=train)
        else:
            states, valid = self.stem(source, valid)
            states = self.drop(states, deterministic=not train)
        mask = intersect(self.mask, Padding(valid), _segments(segments, segments))
        bias = self._bias(self.position_bias)

        def run(block, states):
            return block(states, mask, bias=bias, train=train, capture=capture)

        states, weights = scan_blocks(run, self.num_layers, self.remat)(self.encoder, states)
        states = self.encoder_norm(states) if self.pre_norm else states
        return contracts.Encoded(Source(states, valid, segments), None, weights)

    def _decode_states(
        self, encoded: contracts.Encoded, previous: Int[Array, "B T"], options: contracts.Pass
    ):
        train, capture, segments = options
        source = encoded.memory
        mask = intersect(self.decoder_mask, Causal(), _segments(segments, segments))
        source_mask = intersect(Padding(source.valid), _segments(segments, source.segments))
        positions = segment_positions(previous, segments)
        states = self._embed(self._output_embedding, previous, positions, train=train)
        bias = self._bias(self.decoder_position_bias)

        def run(block, states):
            after, _, weights = block(
                states,
                mask,
                bias=bias,
                memory=block.cross.project(source.states),
                memory_mask=source_mask,
                train=train,
                capture=capture,
            )
            return after, weights

        loop = scan_blocks(run, self._num_decoder_layers, self.remat)
        states, weights = loop(self.decoder, states)
        states = self.decoder_norm(states) if self.pre_norm else states
        return contracts.Hidden(states, weights.cross, weights.attention)

    @property
    def _num_decoder_layers(self):
        return self.num_decoder_layers or self.num_layers

    @property
    def _output_embedding(self):
        """The embedding of target words, whose transpose makes logits. Section 3.4."""
        return self.source_embedding if self.tied else self.target_embedding

    def _embed(self, embedding, ids, positions, *, train):
        """√D times the words' embeddings, plus positional embeddings. Section 3.4."""
        scale = self.model_dim**0.5 if self.embedding_scale is None else self.embedding_scale
        states = embedding(ids) * scale
        if self.positions is not None:
            positional = self.positions(positions, self.model_dim)
            states = (states + positional).astype(states.dtype)
        return self.drop(states, deterministic=not train)

    def _bias(self, module):
        return None if module is None else module(self.num_heads)

    def _make_heads(self):
        return MultiHeadAttention(
            self.num_heads,
            self.head_dim or self.model_dim // self.num_heads,
            value_dim=self.value_dim,
            num_kv_heads=self.num_kv_heads,
            use_bias=self.attention_bias,
            dropout=self.attention_dropout,
            scoring=self.scoring.clone(parent=None),
            normalizer=self.normalizer,
            # Glorot's for the three as one matrix [D, 3 N H]. Drawn as a matrix each, first scores
            # are twice as far apart, and with much dropout cross-attention is learned late.
            input_init=nn.initializers.variance_scaling(0.5, "fan_avg", "uniform"),
            implementation=self.implementation,
        )


def _segments(queries: Int[Array, "B T"] | None, keys: Int[Array, "B S"] | None) -> Segments | None:
    """The mask of rows that hold several sentences, or None where each holds one."""
    return None if queries is None else Segments(queries, keys)
