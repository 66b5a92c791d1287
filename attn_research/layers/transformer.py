"""The Transformer's blocks: attention and feed-forward layers, each inside a residual connection.

Vaswani et al. 2017, section 3.1. Which positions may look at which is the caller's mask, so one
encoder block serves BERT and Longformer, and one decoder block every encoder.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
from einops import rearrange, reduce
from flax import linen as nn

from attn_research.attention import Mask, Positions
from attn_research.layers.multihead import Cache, KeyValues, MultiHeadAttention
from attn_research.layers.remat import Remat, remat
from attn_research.types import Array, Float, Int

# How the matrices of blocks are cut among devices that share them (Shoeybi et al. 2019): whole
# heads and parts of the hidden layer stay on a device, and each residual sum takes one message.
BLOCK_RULES = (
    ("(query|key|value)/kernel$|mlp/input/kernel$", (None, "tensor")),
    ("(query|key|value)/bias$|mlp/input/bias$", ("tensor",)),
    ("(attention|cross)/output/kernel$|mlp/output/kernel$", ("tensor", None)),
)


class Weights(NamedTuple):
    """Where the heads of the decoder looked; *K hypotheses, then blocks, where there are such."""

    attention: Float[Array, "B *KL N T Tpast"] | None
    cross: Float[Array, "B *KL N T S"] | None


def over_layers(
    body: Callable[..., Any], num_layers: int, forget: Remat = "none"
) -> Callable[..., Any]:
    """body(block, carry) for each of `num_layers` blocks, as a loop; the rest it gives on axis 1.

    The parameters of all are one array each, dropout is drawn anew, and what is compiled does not
    grow with their number. `forget` says what is computed again for the gradient.
    """
    return nn.scan(
        remat(body, forget),
        variable_axes={"params": 0},
        split_rngs={"params": True, "dropout": True},
        out_axes=1,
        length=num_layers,
    )


class Past(NamedTuple):
    """What a chunk of K hypotheses comes after: where it begins, what is kept, whose it is.

    `origin` says in which place of the beam each position of a hypothesis was written.
    """

    length: Int[Array, ""]
    origin: Int[Array, "B K Tpast"]
    cache: Cache

    def look(self, num_tokens: int) -> tuple[Positions, Float[Array, "B 1 Tall slots"]]:
        """Where the tokens [K * T] and the slots [T * K] stand, and -inf at slots of others."""
        places, room = self.origin.shape[1:]
        query = jnp.tile(self.length + jnp.arange(num_tokens), places)
        own = self.origin[..., None] == jnp.arange(places).reshape(1, 1, 1, -1)  # [B, K, Tpast, K]
        bias = jnp.where(own, 0.0, -jnp.inf).reshape(-1, 1, places, room * places)
        bias = jnp.repeat(bias, num_tokens, axis=2)
        return Positions(query, jnp.repeat(jnp.arange(room), places)), bias


class Residual(nn.Module):
    """LayerNorm(x + dropout(f(x))), or x + dropout(f(LayerNorm(x))) where `pre_norm`.

    Vaswani et al. 2017, sections 3.1 and 5.4. f takes what `enter` gives; `leave` takes what it
    made of it. In training f(x) is 0 for a part `skip` of the examples, and larger for the others
    (stochastic depth, Huang et al. 2016, section 3; as likely in every layer).
    """

    dropout: float
    pre_norm: bool
    skip: float = 0.0

    def setup(self):
        self.norm = nn.LayerNorm(epsilon=1e-6)
        self.drop = nn.Dropout(self.dropout)
        self.drop_all = nn.Dropout(self.skip, broadcast_dims=(-2, -1))

    def enter(self, states: Float[Array, "*B T D"]) -> Float[Array, "*B T D"]:
        """What the layer inside reads."""
        return self.norm(states) if self.pre_norm else states

    def leave(
        self,
        states: Float[Array, "*B T D"],
        made: Float[Array, "*B T D"],
        train: bool,
    ) -> Float[Array, "*B T D"]:
        """The sum."""
        made = self.drop_all(self.drop(made, deterministic=not train), deterministic=not train)
        total = states + made
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
    skip: float = 0.0

    def setup(self):
        self.around_attention = Residual(self.dropout, self.pre_norm, self.skip)
        self.around_mlp = Residual(self.dropout, self.pre_norm, self.skip)
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
        states: Float[Array, "B *K T D"],
        mask: Mask,
        memory: KeyValues,
        memory_mask: Mask,
        past: Past | None = None,
        train: bool = False,
        capture: Literal["all"] | None = None,
    ) -> tuple[Float[Array, "B *K T D"], Cache | None, Weights]:
        """The states after it, the cache with theirs in it, and where its heads looked.

        Without a `past` the states [B, T, D] are a whole sequence; with one, those of the chunks of
        K hypotheses that come after it, which all look at one memory [B, S, ...].
        """
        inner = self.around_attention.enter(states)
        now, cache = self.attention.project(inner), None
        if past is None:
            seen, own = self.attention(inner, now, mask, None, train, capture)
        else:
            # All hypotheses look at all slots at once: what each wastes on those of others is
            # little, and no slot has to move when the beam does.
            cache = past.cache.write(now, past.length)
            positions, bias = past.look(inner.shape[2])
            queries = inner.reshape(inner.shape[0], -1, inner.shape[-1])
            seen, own = self.attention(
                queries, cache.slots(), mask, positions, train, capture, bias
            )
            seen = seen.reshape(inner.shape)
            if own is not None:
                places = inner.shape[1]
                own = reduce(own, "b n (k t) (s j) -> b k n t s", "sum", k=places, j=places)
        states = self.around_attention.leave(states, seen, train)

        inner = self.around_cross.enter(states)
        queries = inner.reshape(inner.shape[0], -1, inner.shape[-1])  # [B, K * T, D]
        seen, weights = self.cross(queries, memory, memory_mask, None, train, capture)
        states = self.around_cross.leave(states, seen.reshape(inner.shape), train)
        if weights is not None and past is not None:
            weights = rearrange(weights, "b n (k t) s -> b k n t s", k=inner.shape[1])

        made = self.mlp(self.around_mlp.enter(states))
        return self.around_mlp.leave(states, made, train), cache, Weights(own, weights)
