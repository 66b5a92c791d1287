"""Flamingo: a language model that attends to the images in its text by gated cross-attention.

Alayrac et al. 2022. One batch: images [B, I, H, W, C] -> features of each [P, D] -> visual tokens
of each, the same number whatever P (the Perceiver resampler) -> ids [B, T], of which some stand for
images, by the language model's blocks, before each of which gated cross-attention attends to the
visual tokens -> logits [B, T, V].
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from einops import rearrange
from flax import linen as nn

from attn_research.attention import Mask, Window
from attn_research.layers.contracts import Capture
from attn_research.layers.gated import Sights, number_images
from attn_research.layers.resampler import PerceiverResampler
from attn_research.layers.transformer import BLOCK_RULES
from attn_research.types import Array, Float, Int


class FlamingoOutput(NamedTuple):
    """Logits of each next token, and the attention of each token to the features of the images.

    Where captured, `weights` are those of each layer and head. Those of a resampler's visual tokens
    are spread over the features that these attend to, and do not sum to 1: the rest is of what
    latents are without an image.
    """

    logits: Float[Array, "B T V"]
    weights: Float[Array, "B L N T I P"] | None


class Flamingo(nn.Module):
    """A language model, a vision encoder, and the layers between them.

    `language` is a GPT with `make_block=GatedDecoderBlock`, `vision` a network whose `read` gives
    the `.states` of images, of the width of the language model. Without a `resampler` the features
    themselves are the visual tokens. The id `image_id` stands for an image in a text. `mask` is of
    the images that a word may attend to, by their numbers in the text: `Window(0, 0)` the last one
    before it, `Causal()` all before it, which `numbered` tells apart by an embedding of each number
    (the paper has none). Without `vision` it is the language model alone, which sees no image.
    """

    language: nn.Module
    vision: nn.Module | None
    resampler: PerceiverResampler | None
    image_id: int
    _: dataclasses.KW_ONLY
    mask: Mask = Window(0, 0)
    numbered: bool = False
    tensor_rules: ClassVar = (*BLOCK_RULES, ("words/embedding$", ("tensor", None)))

    @nn.compact
    def __call__(
        self,
        ids: Int[Array, "B T"],
        images: Float[Array, "B I H W C"],
        *,
        train: bool = False,
        capture: Capture = None,
    ) -> FlamingoOutput:
        """The logits of a batch of texts, whose images are in the order of the text.

        Images past those that a text has are attended to by none of its words.
        """
        if self.vision is None:
            found = self.language.read(ids, train=train)
            return FlamingoOutput(self.language.logits(found.states), None)
        num_images = images.shape[1]
        features = self.vision.read(rearrange(images, "b i ... -> (b i) ..."), train=train).states
        tokens, over_features = features, None
        if self.resampler is not None:
            sampled = self.resampler(features, train=train, capture=capture and "all")
            tokens = sampled.tokens
            over_features = None if capture is None else sampled.over_features()
        each = tokens.shape[1]
        tokens = rearrange(tokens, "(b i) s d -> b i s d", i=num_images)
        if self.numbered:
            shape, init = (num_images, tokens.shape[-1]), nn.initializers.normal(0.02)
            tokens = tokens + self.param("numbers", init, shape)[None, :, None]
        positions = number_images(ids == self.image_id, each, num_images)
        sights = Sights(rearrange(tokens, "b i s d -> b (i s) d"), positions, self.mask)
        found = self.language.read(ids, memory=sights, train=train, capture=capture)
        weights = None
        if capture is not None:
            weights = rearrange(found.weights, "b l n t (i s) -> b l n t i s", s=each)
            if over_features is not None:
                spread = rearrange(over_features, "(b i) s p -> b i s p", i=num_images)
                weights = jnp.einsum("blntis,bisp->blntip", weights, spread)
        return FlamingoOutput(self.language.logits(found.states), weights)
