"""CLIP: an encoder of images and one of texts, whose pairs lie close together.

Radford et al. 2021. One batch: images [B, H, W, C] -> the state of the class token -> projected;
ids [B', T] -> causal self-attention -> the state of the end symbol -> projected; both of length 1
-> their products, times a learned scale, are the logits [B, B'] of which text belongs to an image.
"""

import dataclasses
import math
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from flax import linen as nn

from attn_research.layers.dense import Dense
from attn_research.layers.transformer import BLOCK_RULES
from attn_research.types import Array, Bool, Float, Int

MOST_SCALE = 100.0  # of logits: section 2.5


class ClipOutput(NamedTuple):
    """Logits of each image and text, and their embeddings of length 1."""

    logits: Float[Array, "B Btext"]
    images: Float[Array, "B E"]
    texts: Float[Array, "Btext E"]


class Clip(nn.Module):
    """Two towers, and projections of both to `embedding_dim`.

    `vision` is a network that pools images when called (`.logits`), `text` one whose `read` gives
    the `.states` of texts. A text is read at the first `eos` in it, or where that is None at its
    largest id, as in the authors' code.
    """

    vision: nn.Module
    text: nn.Module
    embedding_dim: int
    _: dataclasses.KW_ONLY
    eos: int | None = None
    tensor_rules: ClassVar = (*BLOCK_RULES, ("words/embedding$", ("tensor", None)))

    def setup(self):
        self.project_image = Dense(self.embedding_dim, use_bias=False)
        self.project_text = Dense(self.embedding_dim, use_bias=False)
        init = nn.initializers.constant(math.log(1 / 0.07))  # section 2.5
        self.logit_scale = self.param("logit_scale", init, (1,))

    def __call__(
        self,
        ids: Int[Array, "Btext T"],
        valid: Bool[Array, "Btext T"] | None,
        images: Float[Array, "B H W C"],
        *,
        positions: Int[Array, "Btext T"] | None = None,
    ) -> ClipOutput:
        """The logits of every image and text of a batch. `valid` and `positions` as the tower's."""
        of_images = self.embed_images(images)
        of_texts = self.embed_texts(ids, valid, positions=positions)
        scale = jnp.minimum(jnp.exp(self.logit_scale[0]), MOST_SCALE)
        logits = scale * of_images @ of_texts.T
        return ClipOutput(logits, of_images, of_texts)

    def embed_images(self, images: Float[Array, "B H W C"]) -> Float[Array, "B E"]:
        """Embeddings of images, of length 1."""
        return _normalized(self.project_image(self.vision(images).logits))

    def embed_texts(
        self,
        ids: Int[Array, "B T"],
        valid: Bool[Array, "B T"] | None = None,
        *,
        positions: Int[Array, "B T"] | None = None,
    ) -> Float[Array, "B E"]:
        """Embeddings of texts, of length 1."""
        states = self.text.read(ids, valid, positions=positions).states
        place = jnp.argmax(ids if self.eos is None else ids == self.eos, axis=1)
        last = jnp.take_along_axis(states, place[:, None, None], axis=1)[:, 0]
        return _normalized(self.project_text(last))


def _normalized(vectors: Float[Array, "B E"]) -> Float[Array, "B E"]:
    return vectors / jnp.linalg.norm(vectors, axis=-1, keepdims=True)
