"""The Transformer's blocks: attention and feed-forward layers, each inside a residual connection.

Vaswani et al. 2017, section 3.1. Which positions may look at which is the caller's mask, so one
encoder block serves BERT and Longformer, and one decoder block every encoder.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from flax import linen as nn

from attn_research.attention import Mask
from attn_research.layers.multihead import KeyValues, MultiHeadAttention
from attn_research.types import Array, Float, Int


class Weights(NamedTuple):
    """Where the heads of the decoder looked; the axis L of blocks, where there is one, is third."""

    attention: Float[Array, "B K *L N T Tpast"] | None
    cross: Float[Array, "B K *L N T S"] | None


def over_layers(
    body: Callable[..., Any], num_layers: int, in_axes: Any = 0, out_axes: Any = 0
) -> Callable[..., Any]:
    """body(block, carry, x) for each of `num_layers` blocks, as a loop.

    The parameters of all are one array each, dropout is drawn anew, and what is compiled does not
    grow with their number.
    """
    return nn.scan(
        body,
        variable_axes={"params": 0},
        split_rngs={"params": True, "dropout": True},
        in_axes=in_axes,
        out_axes=out_axes,
        length=num_layers,
    )


class Residual(nn.Module):
    """LayerNorm(x + dropout(f(x))), or x + dropout(f(LayerNorm(x))) where `pre_norm`.

    Vaswani et al. 2017, sections 3.1 and 5.4. f takes what `enter` gives; `leave` takes what it
    made of it.
    """

    dropout: float
    pre_norm: bool

    def setup(self):
        self.norm = nn.LayerNorm(epsilon=1e-6)
        self.drop = nn.Dropout(self.dropout)

    def enter(self, states: Float[Array, "*B T D"]) -> Float[Array, "*B T D"]:
        """What the layer inside reads."""
        return self.norm(states) if self.pre_norm else states

    def leave(
        self, states: Float[Array, "*B T D"], made: Float[Array, "*B T D"], train: bool
    ) -> Float[Array, "*B T D"]:
        """The sum."""
        total = states + self.drop(made, deterministic=not train)
        return total if self.pre_norm else self.norm(total)


class FeedForward(nn.Module):
    """f(x W_1 + b_1) W_2 + b_2, f being max(0, ·) in Vaswani et al. 2017, equation 2."""

    mlp_dim: int
    activation: Callable[[Array], Array] = nn.relu
    kernel_init: nn.initializers.Initializer = nn.initializers.xavier_uniform()

    @nn.compact
    def __call__(self, inputs: Float[Array, "*B T D"]) -> Float[Array, "*B T D"]:
        init = self.kernel_init
        hidden = self.activation(nn.Dense(self.mlp_dim, kernel_init=init, name="input")(inputs))
        return nn.Dense(inputs.shape[-1], kernel_init=init, name="output")(hidden)


class EncoderBlock(nn.Module):
    """Self-attention, then a feed-forward layer."""

    attention: MultiHeadAttention
    mlp_dim: int
    dropout: float
    pre_norm: bool
    activation: Callable[[Array], Array] = nn.relu

    def setup(self):
        self.around_attention = Residual(self.dropout, self.pre_norm)
        self.around_mlp = Residual(self.dropout, self.pre_norm)
        self.mlp = FeedForward(self.mlp_dim, self.activation)

    def __call__(
        self,
        states: Float[Array, "B S D"],
        mask: Mask,
        train: bool = False,
        capture: Literal["all"] | None = None,
    ) -> tuple[Float[Array, "B S D"], Float[Array, "B N S S"] | None]:
        """The states after it, and where its heads looked, if captured."""
        inner = self.around_attention.enter(states)
        memory = self.attention.project(inner)
        seen, weights = self.attention(inner, memory, mask, None, train, capture)
        states = self.around_attention.leave(states, seen, train)
        made = self.mlp(self.around_mlp.enter(states))
        return self.around_mlp.leave(states, made, train), weights


class DecoderBlock(nn.Module):
    """Self-attention over the past, a look at the source, then a feed-forward layer."""

    attention: MultiHeadAttention
    cross: MultiHeadAttention
    mlp_dim: int
    dropout: float
    pre_norm: bool

    def setup(self):
        self.around_attention = Residual(self.dropout, self.pre_norm)
        self.around_cross = Residual(self.dropout, self.pre_norm)
        self.around_mlp = Residual(self.dropout, self.pre_norm)
        self.mlp = FeedForward(self.mlp_dim)

    def __call__(
        self,
        states: Float[Array, "B K T D"],
        mask: Mask,
        memory: KeyValues,
        memory_mask: Mask,
        past: KeyValues | None = None,
        positions: Int[Array, "B K T"] | None = None,
        train: bool = False,
        capture: Literal["all"] | None = None,
    ) -> tuple[Float[Array, "B K T D"], KeyValues | None, Weights]:
        """The states after it, the past with theirs in it, and where its heads looked.

        Without a `past` the states are a whole sequence; with one, the chunk that stands at
        `positions`. All K hypotheses of a sentence look at one memory [B, S, ...].
        """
        inner = self.around_attention.enter(states)
        now = self.attention.project(inner)
        if past is not None:
            past = now = past.write(now, positions[..., 0])
        seen, own = self.attention(inner, now, mask, positions, train, capture)
        states = self.around_attention.leave(states, seen, train)

        inner = self.around_cross.enter(states)
        queries = inner.reshape(inner.shape[0], -1, inner.shape[-1])  # [B, K * T, D]
        seen, weights = self.cross(queries, memory, memory_mask, None, train, capture)
        states = self.around_cross.leave(states, seen.reshape(inner.shape), train)
        if weights is not None:  # [B, N, K * T, S] -> [B, K, N, T, S]
            split = weights.reshape(*weights.shape[:2], *inner.shape[1:3], weights.shape[-1])
            weights = split.swapaxes(1, 2)

        made = self.mlp(self.around_mlp.enter(states))
        return self.around_mlp.leave(states, made, train), past, Weights(own, weights)
