"""The Perceiver resampler: a fixed number of visual tokens of any number of features.

Alayrac et al. 2022, section 2.1 and figure 5; Jaegle et al. 2021.
"""

import dataclasses
from typing import Literal, NamedTuple

import jax.numpy as jnp
from flax import linen as nn

from attn_research.attention import Attended, Capture, Full
from attn_research.layers.feed_forward import BlockConfig
from attn_research.layers.multihead import MultiHeadAttention
from attn_research.layers.stack import run_layers
from attn_research.layers.transformer import Block
from attn_research.types import Array, Float


class Resampled(NamedTuple):
    """Visual tokens, and the weights of each layer's heads over features and latents."""

    tokens: Float[Array, "B R D"]
    weights: Float[Array, "B L N R PplusR"] | None

    def over_features(self) -> Float[Array, "B R P"]:
        """The attention of each visual token to the features, through all layers.

        The mean over heads. What a layer gives to latents goes on to what these had attended to
        before, and is lost in the first layer, whose latents know nothing of the image.
        """
        if self.weights is None:
            raise ValueError('no weights were captured: give capture="all"')
        num_latents = self.tokens.shape[1]
        found = None
        for weights in jnp.moveaxis(self.weights.mean(axis=2), 1, 0):
            direct, onward = weights[..., :-num_latents], weights[..., -num_latents:]
            found = direct if found is None else direct + onward @ found
        return found


class ResamplerBlock(Block):
    """Latents that attend to features and to themselves, then a feed-forward layer."""

    def setup(self):
        super().setup()
        self.feature_norm = self.config.make_norm()

    def __call__(
        self,
        latents: Float[Array, "B R D"],
        features: Float[Array, "B P D"],
        *,
        train: bool = False,
        capture: Literal["all"] | Capture | None = None,
    ) -> Attended:
        """The latents after the block, and weights [B, N, R, P + R] if captured."""
        normalized = self.feature_norm(features)

        def attend_to_both(inputs):
            memory = self.attention.project(jnp.concatenate([normalized, inputs], axis=1))
            return self.attention(inputs, memory, Full(), train=train, capture=capture)

        latents, weights = self.around_attention.with_rest(latents, attend_to_both, train=train)
        return Attended(self.around_mlp(latents, self.mlp, train=train), weights)


class PerceiverResampler(nn.Module):
    """`num_latents` visual tokens, however many features there are.

        z_0 learned   z_l = block(z_{l-1}, x): queries of z, keys and values of [x; z]

    Alayrac et al. 2022, figure 5. Features and tokens have the width `model_dim`; tokens are
    normalized at the end.
    """

    num_latents: int
    num_layers: int
    model_dim: int
    mlp_dim: int
    num_heads: int
    _: dataclasses.KW_ONLY
    config: BlockConfig
    implementation: str | None = None

    def setup(self):
        init = nn.initializers.normal(0.02)
        self.latents = self.param("latents", init, (self.num_latents, self.model_dim))
        width = self.model_dim // self.num_heads
        heads = MultiHeadAttention(self.num_heads, width, implementation=self.implementation)
        self.blocks = ResamplerBlock(heads, self.mlp_dim, self.config)
        self.norm = self.config.make_norm()

    def __call__(
        self,
        features: Float[Array, "B P D"],
        *,
        train: bool = False,
        capture: Literal["all"] | None = None,
    ) -> Resampled:
        """The visual tokens of features, and the weights of every layer if captured."""

        def run(block, latents, layer, capture):
            del layer
            return block(latents, features, train=train, capture=capture)

        start = jnp.broadcast_to(self.latents, (len(features), *self.latents.shape))
        found = run_layers(run, self.blocks, start, num_layers=self.num_layers, capture=capture)
        return Resampled(self.norm(found.last), found.weights)
