"""Queries, keys and values of many heads. Vaswani et al. 2017, section 3.2.2.

A cache is a value, the keys and values of the past with room behind them: it goes in with a chunk
of tokens and comes out with theirs written into it.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import linen as nn

from attn_research.attention import (
    Additive,
    Attended,
    Dot,
    General,
    Mask,
    Positions,
    ScaledDot,
    attend,
)
from attn_research.attention.normalizers import Dropout
from attn_research.trees import pytree
from attn_research.types import Array, Float, Int

Score = Callable[..., Array]


class ScaledDotHeads(nn.Module):
    """q · k / √H in every head. Vaswani et al. 2017, equation 1."""

    @nn.compact
    def __call__(self, num_heads: int, width: int) -> Score:
        return ScaledDot()


class DotHeads(nn.Module):
    """q · k in every head."""

    @nn.compact
    def __call__(self, num_heads: int, width: int) -> Score:
        return Dot()


class GeneralHeads(nn.Module):
    """qᵀ W k, a matrix for each head; Luong et al. 2015, section 3.1."""

    @nn.compact
    def __call__(self, num_heads: int, width: int) -> Score:
        init = nn.initializers.variance_scaling(
            1.0, "fan_in", "truncated_normal", in_axis=1, out_axis=2, batch_axis=0
        )
        return General(self.param("weight", init, (num_heads, width, width)))


class AdditiveHeads(nn.Module):
    """v · tanh(q + k), a vector for each head; Bahdanau et al. 2014, appendix A.1.2."""

    @nn.compact
    def __call__(self, num_heads: int, width: int) -> Score:
        init = nn.initializers.normal(width**-0.5)
        return Additive(self.param("vector", init, (num_heads, width)))


class KeyValues(NamedTuple):
    """Keys and values of a sequence, to be looked at."""

    keys: Float[Array, "*B S K H"]
    values: Float[Array, "*B S K Hv"]


@pytree
@dataclasses.dataclass(frozen=True)
class Cache:
    """Keys and values of the past of K hypotheses of each sentence, and room for more.

    Position t of place k of a beam stands in slot t * K + k of its sentence, for good: which slots
    a hypothesis may look at is the business of who moves hypotheses. The axes stand as the products
    of attention want them, b n h (t k) and b n (t k) h, so that a look turns nothing around; and
    they are joined to two, else XLA would lay them out as a chunk comes.
    """

    keys: Float[Array, "rows slots"] | Any
    values: Float[Array, "rows slots"] | Any
    batch: int = dataclasses.field(metadata={"static": True})
    heads: int = dataclasses.field(metadata={"static": True})
    places: int = dataclasses.field(metadata={"static": True})  # K

    @classmethod
    def make(cls, like: KeyValues, length: int, places: int = 1) -> "Cache":
        """Room for a beam of each sentence, for heads and widths as those of `like`."""
        (batch, *_, heads, width), value_width = like.keys.shape, like.values.shape[-1]
        keys = jnp.zeros((batch * heads * width, length * places), like.keys.dtype)
        values = jnp.zeros((batch * heads, length * places * value_width), like.values.dtype)
        return cls(keys, values, batch, heads, places)

    def spread(self, beam_size: int) -> "Cache":
        """Room for as many hypotheses where there was one; what is written counts for each."""
        keys, values = self._apart()
        keys = jnp.repeat(keys, beam_size, axis=3).reshape(len(self.keys), -1)
        values = jnp.repeat(values, beam_size, axis=2).reshape(len(self.values), -1)
        return dataclasses.replace(self, keys=keys, values=values, places=beam_size)

    def write(self, chunk: KeyValues, at: Int[Array, ""]) -> "Cache":
        """With a chunk [B, K, t, heads, width] from position `at` on. It must fit."""

        def put(room, new, size):
            return jax.lax.dynamic_update_slice_in_dim(room, new, at * size, axis=1)

        keys = rearrange(chunk.keys, "b k t n h -> (b n h) (t k)")
        values = rearrange(chunk.values, "b k t n h -> (b n) (t k h)")
        width = self.places * chunk.values.shape[-1]
        keys, values = put(self.keys, keys, self.places), put(self.values, values, width)
        return dataclasses.replace(self, keys=keys, values=values)

    def slots(self) -> KeyValues:
        """All that was written, [B, T * K, heads, width]."""
        keys, values = self._apart()
        return KeyValues(
            rearrange(keys, "b n h s -> b s n h"), rearrange(values, "b n s h -> b s n h")
        )

    def _apart(self):
        """Keys [B, heads, H, slots] and values [B, heads, slots, Hv]."""
        slots = self.keys.shape[1]
        return (
            self.keys.reshape(self.batch, self.heads, -1, slots),
            self.values.reshape(self.batch, self.heads, slots, -1),
        )


class MultiHeadAttention(nn.Module):
    """Attention of `num_heads` heads over a sequence, its own or another.

        head_i = attend(x W_i^Q, y W_i^K, y W_i^V)   output = concat(head_1, ...) W^O

    Vaswani et al. 2017, section 3.2.2. `head_dim` is d_k and `value_dim` d_v, as d_k where None;
    with `num_kv_heads` groups of heads share keys and values. `dropout` is on the weights, where
    the paper has none. `scoring` makes the score. Queries, keys and values begin with `input_init`,
    as the output does where that is None.
    """

    num_heads: int
    head_dim: int
    value_dim: int | None = None
    num_kv_heads: int | None = None
    use_bias: bool = False
    dropout: float = 0.0
    scoring: nn.Module = ScaledDotHeads()
    kernel_init: nn.initializers.Initializer = nn.initializers.xavier_uniform()
    input_init: nn.initializers.Initializer | None = None
    implementation: str | None = None

    def setup(self):
        kv_heads = self.num_kv_heads or self.num_heads
        init = self.input_init or self.kernel_init
        self.query = self._dense(self.num_heads * self.head_dim, init)
        self.key = self._dense(kv_heads * self.head_dim, init)
        self.value = self._dense(kv_heads * (self.value_dim or self.head_dim), init)

    def project(self, inputs: Float[Array, "*B S D"]) -> KeyValues:
        """What of a sequence can be looked at: computed once, whoever looks."""
        kv_heads = self.num_kv_heads or self.num_heads
        both = self.key(inputs), self.value(inputs)
        return KeyValues(*(rearrange(x, "... s (k h) -> ... s k h", k=kv_heads) for x in both))

    @nn.compact
    def __call__(
        self,
        inputs: Float[Array, "*B T D"],
        memory: KeyValues,
        mask: Mask,
        positions: Positions | None = None,
        train: bool = False,
        capture: Literal["all"] | None = None,
        bias: Float[Array, "*#B #N #T #S"] | None = None,
    ) -> Attended:
        """The output [*B, T, D], and weights [*B, N, T, S] if captured."""
        query = rearrange(self.query(inputs), "... t (n h) -> ... t n h", n=self.num_heads)
        dropout = None
        if train and self.dropout:
            dropout = Dropout(self.dropout, self.make_rng("dropout"))
        context, weights = attend(
            query,
            memory.keys,
            memory.values,
            score=self.scoring(self.num_heads, self.head_dim),
            mask=mask,
            bias=bias,
            dropout=dropout,
            positions=positions,
            # Parameters are made from a few tokens, which may be too few for it.
            implementation=None if self.is_initializing() else self.implementation,
            capture=capture,
        )
        output = self._dense(inputs.shape[-1], self.kernel_init, name="output")
        return Attended(output(rearrange(context, "... t n h -> ... t (n h)")), weights)

    def _dense(self, features, init, name=None):
        return nn.Dense(features, self.use_bias, kernel_init=init, name=name)
