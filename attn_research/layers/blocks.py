"""Small feed-forward parts."""

import jax.numpy as jnp
from flax import linen as nn

from attn_research.types import Array, Float


def maxout(inputs: Float[Array, "*B D2"]) -> Float[Array, "*B D"]:
    """The larger of each two neighbors (Goodfellow et al. 2013; Bahdanau et al. 2014, A.2.2)."""
    return jnp.max(inputs.reshape(*inputs.shape[:-1], -1, 2), axis=-1)


class Readout(nn.Module):
    """From what a decoder knows to scores of the next word: W_o maxout(Σ_k U_k x_k).

    Bahdanau, Cho, Bengio 2014, appendix A.2.2: x are the state, the last word and the context.
    `embedding` in place of W_o ties it to the vectors of the words (Press, Wolf 2017).
    """

    features: int
    vocab_size: int
    dropout: float = 0.0
    kernel_init: nn.initializers.Initializer = nn.initializers.normal(0.01)

    @nn.compact
    def __call__(
        self,
        *inputs: Float[Array, "B T _"],
        train: bool = False,
        embedding: nn.Embed | None = None,
    ) -> Float[Array, "B T V"]:
        init = self.kernel_init
        parts = [
            nn.Dense(2 * self.features, use_bias=i == 0, kernel_init=init, name=f"input_{i}")(x)
            for i, x in enumerate(inputs)
        ]
        hidden = nn.Dropout(self.dropout, deterministic=not train)(maxout(sum(parts)))
        if embedding is None:
            return nn.Dense(self.vocab_size, kernel_init=init, name="vocabulary")(hidden)
        bias = self.param("bias", nn.initializers.zeros, (self.vocab_size,))
        return embedding.attend(hidden) + bias[None, None]
