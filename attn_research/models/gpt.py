"""GPT: a decoder of the Transformer without cross-attention, which predicts each next token.

Radford et al. 2018 and 2019; Llama (Touvron et al. 2023) is a configuration of it. One batch: ids
[B, T] -> embeddings, with those of positions if these are learned -> L blocks of causal
self-attention -> logits [B, T, V]. `begin` and `extend` read a text in chunks of any size, of which
`step` is one token of K hypotheses: the keys and values of tokens before are in key-value caches.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from attn_research.attention import Causal, Full, Mask, Rotary, softmax
from attn_research.decoding.cache import (
    BeamHistory,
    Cache,
    History,
    KeyValueCache,
    KeyValues,
    Past,
    Shared,
)
from attn_research.layers.contracts import Capture, EncodedStates, StepOutput
from attn_research.layers.dense import Dense
from attn_research.layers.embeddings import token_positions
from attn_research.layers.feed_forward import BlockConfig
from attn_research.layers.heads import NORMAL
from attn_research.layers.masking import check_layers, intersect, within_texts
from attn_research.layers.multihead import MultiHeadAttention
from attn_research.layers.normalizing import Normalizer
from attn_research.layers.remat import Remat
from attn_research.layers.scoring import Scoring, make_scoring
from attn_research.layers.stack import run_layers, unstack, with_params
from attn_research.layers.transformer import BLOCK_RULES, DecoderBlock
from attn_research.types import Array, Bool, Float, Int, PyTree

# Layers, width, feed-forward width and heads of GPT-2 (Radford et al. 2019, table 2); those of GPT
# (2018) are those of "small".
SIZES = {
    "small": (12, 768, 3072, 12),
    "medium": (24, 1024, 4096, 16),
    "large": (36, 1280, 5120, 20),
    "xl": (48, 1600, 6400, 25),
}
GPT1_BLOCK = BlockConfig(norm_epsilon=1e-5, activation="gelu_tanh", kernel_init=NORMAL)
GPT2_BLOCK = dataclasses.replace(GPT1_BLOCK, pre_norm=True)
LLAMA_BLOCK = dataclasses.replace(
    GPT2_BLOCK, norm="rms_norm", activation="silu", gated=True, use_bias=False
)


class GPTOutput(NamedTuple):
    """Logits of each next token, and what `EncodedStates` captures."""

    logits: Float[Array, "B T V"]
    layers: Float[Array, "B Lplus1 T D"] | None
    weights: Float[Array, "B L N T T"] | None


class BlockState(NamedTuple):
    """One block between two chunks: its parameters, and its cache."""

    params: Shared
    cache: Cache


class State(NamedTuple):
    """The decoder between two chunks of K hypotheses of each text."""

    blocks: tuple[BlockState, ...]
    history: History


class Extended(NamedTuple):
    """The states of a chunk, of which `logits` makes logits, the state after it, and weights."""

    states: Float[Array, "B K T D"]
    state: State
    weights: Float[Array, "B K L N T Tmax"] | None


class GPT(nn.Module):
    """A decoder of `num_layers` blocks over tokens of `vocab_size`.

    `block` has the choices that differ between GPT, GPT-2 and Llama, and the dropout. Positions are
    embeddings that `positions` makes, a rotation of queries and keys by `rotary`, or biases of the
    scores by `position_bias`, a module that gives a function of positions for a number of heads.
    Groups of heads share `num_kv_heads` keys and values. `tied` makes logits by the embedding. With
    pre-norm blocks the last states are normalized, and matrices that end in a residual connection
    start 1 / √(2 L) as large (Radford et al. 2019, section 2.3). `mask` holds beside causality, and
    may differ by head and layer. `attention` makes the heads: `LSHAttention` is Reformer's.
    `make_block` makes the blocks, of which some take a `memory`: `GatedDecoderBlock` is Flamingo's.
    """

    vocab_size: int
    num_layers: int
    model_dim: int
    mlp_dim: int
    num_heads: int
    _: dataclasses.KW_ONLY
    block: BlockConfig = GPT2_BLOCK
    positions: nn.Module | None = None
    rotary: Rotary | None = None
    position_bias: nn.Module | None = None
    num_kv_heads: int | None = None
    head_dim: int | None = None
    attention_bias: bool = False
    attention_dropout: float = 0.0
    tied: bool = True
    scoring: Scoring = make_scoring("scaled_dot")
    normalizer: Normalizer = softmax
    mask: Mask = Full()
    attention: Callable[..., MultiHeadAttention] = MultiHeadAttention
    make_block: Callable[..., DecoderBlock] = DecoderBlock
    implementation: str | None = None
    remat: Remat = "none"
    tensor_rules: ClassVar = (*BLOCK_RULES, ("words/embedding$", ("tensor", None)))
    takes_segments: ClassVar[bool] = True

    def setup(self):
        width = self._check()
        block = self.block
        if block.pre_norm and block.output_init is None:
            init = nn.initializers.normal(0.02 / math.sqrt(2 * self.num_layers))
            block = dataclasses.replace(block, output_init=init)
        attention = self.attention(
            self.num_heads,
            width,
            num_kv_heads=self.num_kv_heads,
            use_bias=self.attention_bias,
            dropout=self.attention_dropout,
            scoring=self.scoring.clone(parent=None),
            normalizer=self.normalizer,
            kernel_init=block.output_init or block.kernel_init,
            input_init=block.kernel_init,
            implementation=self.implementation,
        )
        self.words = nn.Embed(self.vocab_size, self.model_dim, embedding_init=NORMAL)
        self.blocks = self.make_block(attention, self.mlp_dim, block)
        if block.pre_norm:
            self.norm = block.make_norm()
        if not self.tied:
            self.head = Dense(self.vocab_size, use_bias=False, kernel_init=NORMAL)
        self.drop = nn.Dropout(block.dropout)

    def __call__(
        self, ids: Int[Array, "B T"], valid: Bool[Array, "B T"] | None = None, **options
    ) -> GPTOutput:
        """The logits of `read`, which has the options."""
        found = self.read(ids, valid, **options)
        return GPTOutput(self.logits(found.states), found.layers, found.weights)

    def read(
        self,
        ids: Int[Array, "B T"],
        valid: Bool[Array, "B T"] | None = None,
        *,
        segments: Int[Array, "B T"] | None = None,
        positions: Int[Array, "B T"] | None = None,
        memory: PyTree | None = None,
        train: bool = False,
        capture: Capture = None,
    ) -> EncodedStates:
        """The states of a batch of whole texts, of which logits are made.

        `valid` is false at padding, which no token attends to; its states mean nothing. `segments`
        number the texts of packed rows, of which none attends to another. `positions` count from 0
        in each text, and padding takes none; `mask` and `position_bias` go by the place in the row,
        so with these no padding may stand between tokens. Weights are those over the `memory` that
        blocks take, if they do.
        """
        if positions is None:
            positions = token_positions(ids, valid, segments)
            self._check_length(ids.shape[-1] if segments is None else 0)
        states, rotation = self._embed(ids, positions, train=train)
        mask = within_texts(intersect(self.mask, Causal()), valid, segments)
        options = {"bias": self._bias(), "rotation": rotation, "train": train, "memory": memory}

        def run(block, states, layer, capture):
            after, _, weights = block(states, mask.of_layer(layer), capture=capture, **options)
            return after, weights.attention if memory is None else weights.cross

        loop = dict(num_layers=self.num_layers, policy=self.remat)
        last, *captured = run_layers(run, self.blocks, states, capture=capture, **loop)
        return EncodedStates(self._finish(last), *captured)

    def logits(self, states: Float[Array, "*B D"]) -> Float[Array, "*B V"]:
        """The logits of the next token, of any states of `read` or `extend`."""
        return self.words.attend(states) if self.tied else self.head(states)

    def begin(self, batch_size: int, max_length: int, *, num_slots: int | None = None) -> State:
        """The state before the first of at most `max_length` tokens.

        There is room for `num_slots` of tokens and padding together, `max_length` where None.
        ValueError where the network has fewer positions than tokens.
        """
        self._check_length(max_length)
        num_slots = max_length if num_slots is None else num_slots
        width = self.head_dim or self.model_dim // self.num_heads
        shape = batch_size, 1, self.num_kv_heads or self.num_heads, width
        like = jax.ShapeDtypeStruct(shape, self.words.embedding.dtype)

        def make_state(params):
            cache = KeyValueCache.make(KeyValues(like, like), num_slots)
            return BlockState(Shared(params), cache)

        layers = unstack(self.variables["params"]["blocks"], self.num_layers)
        history = BeamHistory.padded(batch_size, num_slots)
        return State(tuple(map(make_state, layers)), history)

    def extend(
        self,
        state: State,
        tokens: Int[Array, "B K T"],
        valid: Bool[Array, "B T"] | None = None,
        *,
        capture: Capture = None,
    ) -> Extended:
        """The states of the next T tokens of K hypotheses.

        Any split of a text into chunks gives the states of the whole, whatever padding, where
        `valid` is false, stands before, between or after its tokens.
        """
        num_tokens = tokens.shape[2]
        history = state.history.append(num_tokens, valid)
        # Padding is at -1, where nothing can attend to it; its embedding matters to no token.
        positions = jnp.broadcast_to(history.last_positions(num_tokens)[:, None], tokens.shape)
        states, rotation = self._embed(tokens, positions, train=False)
        mask = intersect(self.mask, Causal())
        options = {"bias": self._bias(), "rotation": rotation, "capture": capture}

        def run(block, states, mask, past):
            return block(states, mask, past=past, **options)

        blocks, weights = [], []
        for layer, block in enumerate(state.blocks):
            states, cache, of_block = with_params(block.params.value, run)(
                self.blocks, states, mask.of_layer(layer), Past(history, block.cache)
            )
            blocks.append(block._replace(cache=cache))
            weights.append(of_block.attention)
        captured = None if capture is None else jnp.stack(weights, axis=2)
        return Extended(self._finish(states), State(tuple(blocks), history), captured)

    def step(
        self, state: State, previous: Int[Array, "B K"], *, capture: Capture = None
    ) -> StepOutput:
        """One token of K hypotheses of each text. Weights are over the slots of the cache."""
        found = self.extend(state, previous[..., None], capture=capture)
        weights = None if capture is None else found.weights[..., 0, :]
        return StepOutput(self.logits(found.states[:, :, 0]), found.state, weights)

    def _embed(self, ids, positions, *, train):
        """Embeddings, and the rotation of queries and keys, if there is one."""
        embedded = self.words(ids)
        if self.positions is not None:
            table = self.positions(positions, self.model_dim)
            embedded = (embedded + table).astype(embedded.dtype)
        rotation = None if self.rotary is None else self.rotary.at(positions)
        return self.drop(embedded, deterministic=not train), rotation

    def _finish(self, states):
        return self.norm(states) if self.block.pre_norm else states

    def _bias(self):
        return None if self.position_bias is None else self.position_bias(self.num_heads)

    def _check(self):
        """The width of a head; ValueError where sizes do not fit."""
        check_layers(self.mask, self.num_layers)
        if self.head_dim is None and self.model_dim % self.num_heads:
            raise ValueError(
                f"model_dim {self.model_dim} is not a multiple of num_heads {self.num_heads}: "
                "give head_dim"
            )
        width = self.head_dim or self.model_dim // self.num_heads
        if self.rotary is not None and self.rotary.width != width:
            raise ValueError(f"a rotary of width {self.rotary.width} for heads of width {width}")
        return width

    def _check_length(self, length):
        limit = getattr(self.positions, "max_length", length)
        if length > limit:
            raise ValueError(f"a text of {length} tokens is longer than {limit} positions")
