"""Convolutional stem of speech models, which reads log-mel features."""

import numpy as np
from flax import linen as nn
from jax import lax

from attn_research.layers.feed_forward import ACTIVATIONS
from attn_research.types import Array, Bool, Float


def spread_sinusoids(length: int, width: int) -> Float[np.ndarray, "T D"]:
    """Sinusoids whose wavelengths run from 2π to 10000 · 2π, both included; all sines come first.

    Radford et al. 2022, section 2.2, in the authors' code.
    """
    rates = 10_000.0 ** -np.linspace(0.0, 1.0, width // 2)
    angles = np.arange(length)[:, None] * rates
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


class AudioStem(nn.Module):
    """States of log-mel features: two convolutions of width 3, the second of stride 2, and GELUs.

    Radford et al. 2022, section 2.2. A table of `max_length` positional embeddings is added, which
    is `spread_sinusoids` and is not trained. Padding is zero in every convolution, so that a sound
    has the states that it has alone.
    """

    model_dim: int
    max_length: int

    @nn.compact
    def __call__(
        self, features: Float[Array, "B F M"], valid: Bool[Array, "B F"]
    ) -> tuple[Float[Array, "B S D"], Bool[Array, "B S"]]:
        """The states, one for every two frames, and which of them are of real frames."""
        length = -(-features.shape[1] // 2)
        if length > self.max_length:
            raise ValueError(
                f"a sound of {features.shape[1]} frames is longer than {2 * self.max_length}"
            )
        activate = ACTIVATIONS["gelu"]
        first = nn.Conv(self.model_dim, (3,), padding=1, name="first")
        second = nn.Conv(self.model_dim, (3,), strides=2, padding=1, name="second")
        maps = activate(first(features * valid[..., None]))
        maps = activate(second(maps * valid[..., None]))

        def init(key, shape):
            return spread_sinusoids(*shape)

        table = self.param("positions", init, (self.max_length, self.model_dim))
        table = lax.stop_gradient(table)
        return maps + table[None, :length], valid[:, ::2]
