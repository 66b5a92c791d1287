"""Blocks of the Transformer: attention and feed-forward layers, each within a residual connection.

Vaswani et al. 2017, section 3.1. Which positions may attend to which is the caller's mask: BERT and
Longformer have one encoder block, and a decoder without cross-attention is that of GPT.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

from einops import rearrange, reduce
from flax import linen as nn

from attn_research.attention import Capture, Full, Mask, Positions, Rotation
from attn_research.attention.positions import grid
from attn_research.decoding.cache import Cache, KeyValues, Past
from attn_research.layers.feed_forward import BlockConfig, Residual
from attn_research.layers.multihead import MultiHeadAttention
from attn_research.types import Array, Float

# Tensor parallelism of blocks (Shoeybi et al. 2019): a device has whole heads and a part of the
# hidden layer, and each residual connection takes one message.
BLOCK_RULES = (
    ("(query|key|value)/kernel$|mlp/(input|gate)/kernel$", (None, "tensor")),
    ("(query|key|value)/bias$|mlp/(input|gate)/bias$", ("tensor",)),
    ("(attention|cross)/output/kernel$|mlp/output/kernel$", ("tensor", None)),
)

# As `attend` takes it.
Bias = Float[Array, "*#B #N #T #S"] | Callable[..., Array] | None


class Block(nn.Module):
    """The layers of every block: self-attention and feed-forward."""

    attention: MultiHeadAttention
    mlp_dim: int
    config: BlockConfig = BlockConfig()

    def setup(self):
        self.around_attention = Residual(self.config)
        self.around_mlp = Residual(self.config)
        self.mlp = self.config.make_mlp(self.mlp_dim)


class EncoderBlock(Block):
    """Self-attention, then a feed-forward layer."""

    def __call__(
        self,
        states: Float[Array, "B S D"],
        mask: Mask,
        *,
        bias: Bias = None,
        rotation: Rotation | None = None,
        train: bool = False,
        capture: Literal["all"] | Capture | None = None,
    ) -> tuple[Float[Array, "B S D"], Float[Array, "B N S S"] | None]:
        """The output of the block, and the weights of its heads, if captured.

        `bias` is added to the scores and `rotation` turns queries and keys, if the model has such.
        """

        def attend_to_self(inputs):
            return self.attention(
                inputs,
                self.attention.project(inputs, rotation),
                mask,
                bias=bias,
                rotation=rotation,
                train=train,
                capture=capture,
            )

        states, weights = self.around_attention.with_rest(states, attend_to_self, train=train)
        return self.around_mlp(states, self.mlp, train=train), weights


class DecoderWeights(NamedTuple):
    """Attention weights of a decoder block, where captured; *K hypotheses, where there are such."""

    attention: Float[Array, "B *KL N T Tpast"] | None
    cross: Float[Array, "B *KL N T S"] | None


class DecoderBlock(Block):
    """Self-attention, cross-attention if there is `cross`, then a feed-forward layer."""

    cross: MultiHeadAttention | None = None

    def setup(self):
        super().setup()
        if self.cross is not None:
            self.around_cross = Residual(self.config)

    def __call__(
        self,
        states: Float[Array, "B *K T D"],
        mask: Mask,
        *,
        memory: KeyValues | None = None,
        memory_mask: Mask | None = None,
        past: Past | None = None,
        bias: Bias = None,
        rotation: Rotation | None = None,
        train: bool = False,
        capture: Literal["all"] | Capture | None = None,
    ) -> tuple[Float[Array, "B *K T D"], Cache | None, DecoderWeights]:
        """The output of the block, the cache with the keys and values of `states`, and weights.

        Without a `past` the states [B, T, D] are whole sequences. With one they are the next T
        tokens of K hypotheses [B, K, T, D], which all attend to one memory [B, S, ...]; `mask` must
        then be causal, since later slots of the cache are empty. `bias`, a function of positions if
        there is a past, and `rotation` are of self-attention.
        """
        if (memory is None) != (self.cross is None):
            raise ValueError(
                "a decoder block takes a memory if it has cross-attention, and only then"
            )
        memory_mask = Full() if memory_mask is None else memory_mask
        options = {"bias": bias, "rotation": rotation, "train": train, "capture": capture}

        def attend_to_self(inputs):
            return self._attend_to_self(inputs, mask, past, **options)

        def attend_to_memory(inputs):
            queries = inputs.reshape(inputs.shape[0], -1, inputs.shape[-1])  # [B, K * T, D]
            output, weights = self.cross(queries, memory, memory_mask, train=train, capture=capture)
            if weights is not None and past is not None:
                weights = rearrange(weights, "b n (k t) s -> b k n t s", k=inputs.shape[1])
            return output.reshape(inputs.shape), weights

        states, (own, cache) = self.around_attention.with_rest(states, attend_to_self, train=train)
        weights = None
        if self.cross is not None:
            states, weights = self.around_cross.with_rest(states, attend_to_memory, train=train)
        states = self.around_mlp(states, self.mlp, train=train)
        return states, cache, DecoderWeights(own, weights)

    def _attend_to_self(self, inputs, mask, past, *, bias, rotation, **options):
        """The output, and a pair: weights and the cache."""
        chunk = self.attention.project(inputs, rotation)
        if past is None:
            output, weights = self.attention(
                inputs, chunk, mask, bias=bias, rotation=rotation, **options
            )
            return output, (weights, None)
        if self.attention.scoring.by_location:
            raise ValueError(
                'the score "location" goes by the index of a key, and the slots of a key-value '
                "cache are not in the order of positions: decode whole targets without a cache, "
                'or score by the keys, as "general" does'
            )
        beam_size, num_tokens = inputs.shape[1:3]
        cache = past.cache.write(chunk, past.history.length - num_tokens)
        positions, own_slots = past.history.visibility(num_tokens)
        output, weights = self.attention(
            inputs.reshape(inputs.shape[0], -1, inputs.shape[-1]),
            cache.slots(),
            mask,
            positions=positions,
            bias=_sum_of_biases(bias, own_slots, positions),
            rotation=None if rotation is None else rotation.flatten(1),
            **options,
        )
        if weights is not None:
            pattern = "b n (k t) (s j) -> b k n t s"
            weights = reduce(weights, pattern, "sum", k=beam_size, j=beam_size)
        return output.reshape(inputs.shape), (weights, cache)


def _sum_of_biases(function: Bias, array: Array | None, positions: Positions) -> Bias:
    """The bias that is the sum of a function of positions and an array; either may be None."""
    if function is None or array is None:
        return array if function is None else function
    return function(*grid(positions.query, positions.key, array.ndim)) + array
