"""Heads that read an encoder's states: pooling, and the masked language model."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn

from attn_research.layers.dense import Dense
from attn_research.layers.feed_forward import ACTIVATIONS, BlockConfig
from attn_research.types import Array, Float

Initializer = nn.initializers.Initializer
# Of matrices and embeddings. Devlin et al. 2018, in the authors' code; Radford et al. 2018.
NORMAL = nn.initializers.normal(0.02)


class Pooler(nn.Module):
    """tanh(W h + b) of the state h of the first token. Devlin et al. 2018, in the authors' code."""

    kernel_init: Initializer = NORMAL

    @nn.compact
    def __call__(self, states: Float[Array, "*B T D"]) -> Float[Array, "*B D"]:
        dense = Dense(states.shape[-1], kernel_init=self.kernel_init, name="dense")
        return jnp.tanh(dense(states[..., 0, :]))


class MaskedLM(nn.Module):
    """Logits of the words at each position: E norm(f(W h + b)) + c, E being the word embedding.

    Devlin et al. 2018, section 3.1, and the authors' code. `width` is that of the embedding;
    activation and norm are those of `config`.
    """

    width: int
    config: BlockConfig
    kernel_init: Initializer = NORMAL

    def setup(self):
        self.transform = Dense(self.width, kernel_init=self.kernel_init)
        self.norm = self.config.make_norm()

    @nn.compact
    def __call__(
        self, states: Float[Array, "*B D"], decode: Callable[[Array], Array]
    ) -> Float[Array, "*B V"]:
        """`decode` is the product with the word embedding."""
        activate = ACTIVATIONS[self.config.activation]
        logits = decode(self.norm(activate(self.transform(states))))
        bias = self.param("bias", nn.initializers.zeros, (logits.shape[-1],))
        return logits + bias.reshape((1,) * (logits.ndim - 1) + (-1,))
