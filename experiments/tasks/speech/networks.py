"""Networks that read features, made of those that read images."""

import jax.numpy as jnp
from flax import linen as nn

from attn_research.layers.contracts import Capture, Classified
from attn_research.models.vit import ViT
from attn_research.types import Array, Bool, Float


class SpectrogramViT(nn.Module):
    """A Vision Transformer over the patches of a spectrogram. Gong, Chung, Glass 2021, section 2.1.

    Sounds have one length; the silence after a shorter one is read too.
    """

    vit: ViT

    def __call__(
        self,
        features: Float[Array, "B F M"],
        valid: Bool[Array, "B F"],
        *,
        train: bool = False,
        capture: Capture = None,
    ) -> Classified:
        """The classification of sounds, and weights [B, L, N, P, P] over patches, class first."""
        del valid
        return self.vit(features[..., None], train=train, capture=capture)


def valid_frames(features: Float[Array, "B F M"], frames: Array) -> Bool[Array, "B F"]:
    """Which frames are of the sound."""
    return jnp.arange(features.shape[1])[None] < frames[:, None]
