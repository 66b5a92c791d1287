"""Gated cross-attention: layers that let a frozen language model attend to images.

Alayrac et al. 2022, section 2.2 and figure 4. At the start all gates are closed, so that the model
is the one that was frozen.
"""

from typing import Literal, NamedTuple

import jax.numpy as jnp
from flax import linen as nn

from attn_research.attention import Attended, Capture, Mask, Positions
from attn_research.layers.feed_forward import BlockConfig
from attn_research.layers.multihead import MultiHeadAttention
from attn_research.layers.transformer import DecoderBlock, DecoderWeights
from attn_research.types import Array, Float, Int


class Sights(NamedTuple):
    """The visual tokens of the images in a text, and which of them its tokens may attend to.

    The position of a visual token is the number of its image in the text, that of a word the number
    of the last image before it; both count from 0, and a word before all images is at -1. So the
    mask `Window(0, 0)` is of the last image before a word, and `Causal()` of all before it.
    """

    tokens: Float[Array, "B S D"]
    positions: Positions
    mask: Mask


def number_images(is_image: Array, tokens_each: int, num_images: int) -> Positions:
    """The positions of `Sights`: of words [B, T], some of which stand for images, and of S tokens.

    Each of `num_images` images has `tokens_each` visual tokens.
    """
    last: Int[Array, "B T"] = jnp.cumsum(is_image, axis=-1, dtype=jnp.int32) - 1
    return Positions(query=last, key=jnp.repeat(jnp.arange(num_images), tokens_each))


class GatedCrossAttention(nn.Module):
    """x + tanh(α) attend(norm(x), y) of images y, then x + tanh(β) f(norm(x)).

    Alayrac et al. 2022, figure 4. α and β are numbers that start at 0. Where no image is before a
    word its context is 0, for it may attend to nothing. The images are projected as they come, and
    the feed-forward layer f is that of `config`.
    """

    attention: MultiHeadAttention
    mlp_dim: int
    config: BlockConfig

    def setup(self):
        self.attention_norm = self.config.make_norm()
        self.mlp_norm = self.config.make_norm()
        self.mlp = self.config.make_mlp(self.mlp_dim)
        self.attention_gate = self.param("attention_gate", nn.initializers.zeros, ())
        self.mlp_gate = self.param("mlp_gate", nn.initializers.zeros, ())

    def __call__(
        self,
        states: Float[Array, "B T D"],
        sights: Sights,
        *,
        train: bool = False,
        capture: Literal["all"] | Capture | None = None,
    ) -> Attended:
        """The states after both layers, and the weights [B, N, T, S] of the first, if captured."""
        context, weights = self.attention(
            self.attention_norm(states),
            self.attention.project(sights.tokens),
            sights.mask,
            positions=sights.positions,
            train=train,
            capture=capture,
        )
        states = states + jnp.tanh(self.attention_gate) * context
        states = states + jnp.tanh(self.mlp_gate) * self.mlp(self.mlp_norm(states))
        return Attended(states, weights)


class GatedDecoderBlock(DecoderBlock):
    """Gated cross-attention to images, then a decoder block, whose parameters keep their paths.

    Its heads are as many and as wide as those of the block, and its feed-forward layer is as wide.
    """

    def setup(self):
        super().setup()
        heads = MultiHeadAttention(
            self.attention.num_heads,
            self.attention.head_dim,
            implementation=self.attention.implementation,
        )
        self.gated = GatedCrossAttention(heads, self.mlp_dim, self.config)

    def __call__(
        self,
        states: Float[Array, "B T D"],
        mask: Mask,
        *,
        memory: Sights | None = None,
        train: bool = False,
        capture: Literal["all"] | Capture | None = None,
        **options,
    ):
        """As of a decoder block; `memory` are the images, without which it is a ValueError."""
        if memory is None:
            raise ValueError("a block with gated cross-attention needs images to attend to")
        states, weights = self.gated(states, memory, train=train, capture=capture)
        states, cache, own = super().__call__(states, mask, train=train, capture=capture, **options)
        return states, cache, DecoderWeights(own.attention, weights)
