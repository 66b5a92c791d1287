"""Feed-forward layers, norms and residual connections: what blocks have besides attention.

Vaswani et al. 2017, sections 3.1 and 3.3. `BlockConfig` has what Transformers differ in.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from attn_research.layers.dense import Dense
from attn_research.types import Array, Float, wide_dtype


@jax.custom_jvp
def gelu(inputs: Float[Array, "..."]) -> Float[Array, "..."]:
    """x Φ(x), Φ being the cumulative distribution of a standard Gaussian.

    Hendrycks and Gimpel 2016, equation 1. By erf, which takes half as long on a CPU as the erfc of
    `jax.nn.gelu`, and loses digits only where the result is next to nothing.
    """
    wide = inputs.astype(wide_dtype(inputs))
    return (wide * _share_below(wide)).astype(inputs.dtype)


@gelu.defjvp
def _gelu_jvp(primals, tangents):
    """Of all that the derivative is made of, the slope alone is kept for the backward pass."""
    (inputs,), (tangent,) = primals, tangents
    wide = inputs.astype(wide_dtype(inputs))
    density = jnp.exp(-0.5 * wide**2) / math.sqrt(2 * math.pi)
    slope = (_share_below(wide) + wide * density).astype(inputs.dtype)
    return gelu(inputs), slope * tangent


def _share_below(inputs: Float[Array, "..."]) -> Float[Array, "..."]:
    return 0.5 * (1 + lax.erf(inputs * math.sqrt(0.5)))


Initializer = nn.initializers.Initializer
GLOROT = nn.initializers.xavier_uniform()
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": nn.relu,
    "gelu": gelu,
    "gelu_tanh": nn.gelu,  # the approximation by tanh, as in GPT-2
    "quick_gelu": lambda x: x * nn.sigmoid(1.702 * x),  # the approximation in CLIP
    "silu": nn.silu,
}
# Of an epsilon, and whether a layer norm has a bias.
NORMS: dict[str, Callable[[float, bool], nn.Module]] = {
    "layer_norm": lambda epsilon, bias: nn.LayerNorm(epsilon=epsilon, use_bias=bias),
    "rms_norm": lambda epsilon, bias: nn.RMSNorm(epsilon=epsilon),
}


class FeedForward(nn.Module):
    """f(x W_1 + b_1) W_2 + b_2, f being max(0, ·) in Vaswani et al. 2017, equation 2.

    `gated` is (f(x W) ∘ (x V)) W_2, with biases if `use_bias`: GEGLU with "gelu", SwiGLU with
    "silu" (Shazeer 2020, equations 5 and 6). W is `gate`, V is `input`. `output_init` is of W_2,
    `kernel_init` where it is None.
    """

    mlp_dim: int
    activation: str = "relu"
    gated: bool = False
    use_bias: bool = True
    kernel_init: Initializer = GLOROT
    output_init: Initializer | None = None

    @nn.compact
    def __call__(self, inputs: Float[Array, "*B T D"]) -> Float[Array, "*B T D"]:
        if self.activation not in ACTIVATIONS:
            raise ValueError(
                f"activation {self.activation!r} is not one of {', '.join(ACTIVATIONS)}"
            )
        dense = functools.partial(Dense, use_bias=self.use_bias, kernel_init=self.kernel_init)
        hidden, activate = dense(self.mlp_dim, name="input")(inputs), ACTIVATIONS[self.activation]
        if self.gated:
            hidden = activate(dense(self.mlp_dim, name="gate")(inputs)) * hidden
        else:
            hidden = activate(hidden)
        output_init = self.output_init or self.kernel_init
        return dense(inputs.shape[-1], kernel_init=output_init, name="output")(hidden)


@dataclasses.dataclass(frozen=True)
class BlockConfig:
    """The choices that Transformers differ in, with those of Vaswani et al. 2017 as defaults.

    `pre_norm` normalizes the input of each layer instead of its output. `gated` is of the
    feed-forward layer (Shazeer 2020), and `use_bias` of its matrices and of layer norms. In
    training `drop_path` is the probability that an example skips a layer (stochastic depth).
    `layer_scale` is where the factors of each layer's output start, of which there is one for each
    feature, or none (Touvron et al. 2021, "Going deeper with Image Transformers", section 2).
    `kernel_init` and `output_init` are of `FeedForward`.
    """

    dropout: float = 0.0
    drop_path: float = 0.0
    pre_norm: bool = False
    norm: str = "layer_norm"
    norm_epsilon: float = 1e-6
    activation: str = "relu"
    gated: bool = False
    use_bias: bool = True
    kernel_init: Initializer = GLOROT
    output_init: Initializer | None = None
    layer_scale: float | None = None

    def make_norm(self) -> nn.Module:
        """LayerNorm (Ba et al. 2016), or RMSNorm without mean and bias (Zhang, Sennrich 2019)."""
        if self.norm not in NORMS:
            raise ValueError(f"norm {self.norm!r} is not one of {', '.join(NORMS)}")
        return NORMS[self.norm](self.norm_epsilon, self.use_bias)

    def make_mlp(self, mlp_dim: int) -> FeedForward:
        """The feed-forward layer of a block."""
        return FeedForward(
            mlp_dim,
            self.activation,
            gated=self.gated,
            use_bias=self.use_bias,
            kernel_init=self.kernel_init,
            output_init=self.output_init,
        )


class Residual(nn.Module):
    """norm(x + λ dropout(f(x))), or x + λ dropout(f(norm(x))) with `pre_norm`.

    λ is 1, or the layer scale. Vaswani et al. 2017, sections 3.1 and 5.4. With `drop_path` f(x) is
    0 in training for that part of the examples and scaled up for the others (Huang et al. 2016,
    section 3; here with the same probability in every layer).
    """

    config: BlockConfig

    def setup(self):
        self.norm = self.config.make_norm()
        self.drop = nn.Dropout(self.config.dropout)
        self.drop_all = nn.Dropout(self.config.drop_path, broadcast_dims=(-2, -1))

    def __call__(
        self,
        states: Float[Array, "*B T D"],
        layer: Callable[[Array], Array],
        *,
        train: bool = False,
    ) -> Float[Array, "*B T D"]:
        """The residual connection around `layer`, which is f."""
        return self.with_rest(states, lambda inputs: (layer(inputs), None), train=train)[0]

    @nn.compact
    def with_rest(
        self,
        states: Float[Array, "*B T D"],
        layer: Callable[[Array], tuple[Array, Any]],
        *,
        train: bool = False,
    ) -> tuple[Float[Array, "*B T D"], Any]:
        """The same for a layer that returns a pair, of which the second is passed on."""
        pre_norm = self.config.pre_norm
        output, rest = layer(self.norm(states) if pre_norm else states)
        output = self.drop(output, deterministic=not train)
        if self.config.layer_scale is not None:
            init = nn.initializers.constant(self.config.layer_scale)
            scale = self.param("scale", init, (output.shape[-1],))
            output = output * scale.reshape((1,) * (output.ndim - 1) + (-1,))
        total = states + self.drop_all(output, deterministic=not train)
        return total if pre_norm else self.norm(total), rest
