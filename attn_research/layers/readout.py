"""Maxout output layer of recurrent decoders."""

import jax.numpy as jnp
from flax import linen as nn

from attn_research.layers.dense import Dense
from attn_research.types import Array, Float


def maxout(inputs: Float[Array, "*B D2"]) -> Float[Array, "*B D"]:
    """Maxout: the larger of each two neighbors (Goodfellow et al. 2013; Bahdanau 2014, A.2.2)."""
    return jnp.max(inputs.reshape(*inputs.shape[:-1], -1, 2), axis=-1)


class Readout(nn.Module):
    """Deep output layer: the logits of the next word are W_o maxout(Σ_k U_k x_k).

    Bahdanau, Cho, Bengio 2014, appendix A.2.2: x are the state, the last word and the context. The
    module called gives the maxout units, and `logits` multiplies them by W_o. With `tied` W_o is an
    embedding matrix that the caller gives (Press, Wolf 2017).
    """

    features: int
    vocab_size: int
    dropout: float = 0.0
    kernel_init: nn.initializers.Initializer = nn.initializers.normal(0.01)
    tied: bool = False

    def setup(self):
        init = self.kernel_init
        self.input = [Dense(2 * self.features, use_bias=i == 0, kernel_init=init) for i in range(3)]
        self.drop = nn.Dropout(self.dropout)
        if self.tied:
            self.bias = self.param("bias", nn.initializers.zeros, (self.vocab_size,))
        else:
            self.vocabulary = Dense(self.vocab_size, kernel_init=init)

    def __call__(
        self,
        state: Float[Array, "B T _"],
        word: Float[Array, "B T _"],
        context: Float[Array, "B T _"],
        *,
        train: bool = False,
    ) -> Float[Array, "B T D"]:
        """The maxout units."""
        parts = zip(self.input, (state, word, context), strict=True)
        hidden = maxout(sum(layer(x) for layer, x in parts))
        return self.drop(hidden, deterministic=not train)

    def logits(
        self, hidden: Float[Array, "*B T D"], embedding: nn.Embed | None = None
    ) -> Float[Array, "*B T V"]:
        """Logits of maxout units."""
        if not self.tied:
            return self.vocabulary(hidden)
        return embedding.attend(hidden) + self.bias.reshape((1,) * (hidden.ndim - 1) + (-1,))
