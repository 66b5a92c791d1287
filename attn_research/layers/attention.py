"""Linen layers around `attend`: they own the projections and pick score, mask and normalizer.

A scoring owns the parameters of a score: `keys(annotations)` is computed once for a memory, and
`scoring(states, keys) -> (query, score)` at every look. A locality says where a look may go:
`locality(states, valid) -> (mask, normalizer)`. Any scoring goes with any locality, and a new one
of either kind is a class here and a name in its table.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax.numpy as jnp
from flax import linen as nn

from attn_research.attention import (
    Additive,
    Around,
    Attended,
    Dot,
    Full,
    Gaussian,
    General,
    Location,
    Mask,
    Padding,
    Positions,
    ScaledDot,
    Window,
    attend,
    softmax,
)
from attn_research.types import Array, Bool, Float, Int

normal = nn.initializers.normal
Scored = tuple[Float[Array, "B T H"], Callable[..., Array]]


class AdditiveScoring(nn.Module):
    """e_ij = vᵀ tanh(W s_i + U h_j).

    Bahdanau, Cho, Bengio 2014, appendix A.1.2, with its initialization; n' is `features`. It is the
    "concat" of Luong, Pham, Manning 2015, section 3.1, whose one matrix is [W U].
    """

    features: int
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = normal(0.001)
    vector_init: nn.initializers.Initializer = nn.initializers.zeros

    def setup(self):
        self.query = nn.Dense(self.features, self.use_bias, kernel_init=self.kernel_init)
        self.key = nn.Dense(self.features, use_bias=False, kernel_init=self.kernel_init)
        self.vector = self.param("vector", self.vector_init, (self.features,))

    def keys(self, annotations: Float[Array, "B S D"]) -> Float[Array, "B S H"]:
        """U h_j."""
        return self.key(annotations)

    def __call__(self, states: Float[Array, "B T Dstate"], keys: Float[Array, "B S H"]) -> Scored:
        return self.query(states), Additive(self.vector)


class DotScoring(nn.Module):
    """e_ij = s_i · h_j, of states and annotations of one width. Luong et al. 2015, section 3.1."""

    def keys(self, annotations: Float[Array, "B S D"]) -> Float[Array, "B S D"]:
        """The annotations themselves."""
        return annotations

    def __call__(self, states: Float[Array, "B T D"], keys: Float[Array, "B S D"]) -> Scored:
        return states, Dot()


class GeneralScoring(nn.Module):
    """e_ij = s_iᵀ W h_j. Luong et al. 2015, section 3.1."""

    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    def keys(self, annotations: Float[Array, "B S D"]) -> Float[Array, "B S D"]:
        """The annotations themselves."""
        return annotations

    @nn.compact
    def __call__(self, states: Float[Array, "B T Dstate"], keys: Float[Array, "B S D"]) -> Scored:
        shape = states.shape[-1], keys.shape[-1]
        return states, General(self.param("weight", self.kernel_init, shape))


class ScaledDotScoring(nn.Module):
    """e_ij = (W s_i) · (U h_j) / √features. Vaswani et al. 2017, section 3.2, one head."""

    features: int
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    def setup(self):
        self.query, self.key = (
            nn.Dense(self.features, use_bias=False, kernel_init=self.kernel_init) for _ in range(2)
        )

    def keys(self, annotations: Float[Array, "B S D"]) -> Float[Array, "B S H"]:
        """U h_j."""
        return self.key(annotations)

    def __call__(self, states: Float[Array, "B T Dstate"], keys: Float[Array, "B S H"]) -> Scored:
        return self.query(states), ScaledDot()


class LocationScoring(nn.Module):
    """e_i = W s_i: a score for each of `max_length` places, whatever stands there.

    Luong et al. 2015, section 3.1. Words past the last place cannot be looked at.
    """

    max_length: int
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    def keys(self, annotations: Float[Array, "B S D"]) -> Float[Array, "B S D"]:
        """The annotations; only their number matters."""
        return annotations

    @nn.compact
    def __call__(self, states: Float[Array, "B T Dstate"], keys: Float[Array, "B S D"]) -> Scored:
        shape = states.shape[-1], self.max_length
        return states, Location(self.param("weight", self.kernel_init, shape))


Located = tuple[Mask, Callable[..., Array]]


class Global(nn.Module):
    """A look goes to every word."""

    def __call__(self, states: Float[Array, "B T D"], valid: Bool[Array, "B S"]) -> Located:
        return Full(), softmax


class Monotonic(nn.Module):
    """Local-m: the words within `half_width` of the target's own position, p_t = t.

    Luong et al. 2015, section 3.2.
    """

    half_width: int = 10

    def __call__(self, states: Float[Array, "B T D"], valid: Bool[Array, "B S"]) -> Located:
        return Window(self.half_width, self.half_width), softmax


class Predictive(nn.Module):
    """Local-p: the words within `half_width` of a predicted place, weighed by a Gaussian.

        p_t = S σ(vᵀ tanh(W s_t))   a_t(j) = softmax(e_t)(j) exp(-(j - p_t)² / 2σ²)   σ = D / 2

    Luong et al. 2015, section 3.2; S counts the sentence's words, D is `half_width`.
    """

    half_width: int = 10
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, states: Float[Array, "B T D"], valid: Bool[Array, "B S"]) -> Located:
        init = self.kernel_init
        hidden = nn.Dense(states.shape[-1], use_bias=False, kernel_init=init, name="hidden")(states)
        place = nn.Dense(1, use_bias=False, kernel_init=init, name="place")(jnp.tanh(hidden))
        length = jnp.sum(valid, axis=-1, keepdims=True)
        center = length * nn.sigmoid(place[..., 0])
        return Around(center, self.half_width), Gaussian(center, self.half_width / 2)


class Memory(NamedTuple):
    """What a decoder reads from: annotations, the keys made of them once, and which are real."""

    keys: Float[Array, "B S 1 H"]
    values: Float[Array, "B S 1 D"]
    valid: Bool[Array, "B S"]


class MemoryAttention(nn.Module):
    """Attention of decoder states over a memory whose keys are computed once per sentence."""

    scoring: nn.Module
    locality: nn.Module = Global()
    implementation: str | None = None

    def project(self, annotations: Float[Array, "B S D"], valid: Bool[Array, "B S"]) -> Memory:
        """The memory of a sentence."""
        keys = self.scoring.keys(annotations)
        return Memory(keys[:, :, None], annotations[:, :, None], valid)

    def __call__(
        self,
        states: Float[Array, "B T Dstate"],
        memory: Memory,
        positions: Int[Array, "B T"] | None = None,
        capture: Literal["all"] | None = None,
    ) -> Attended:
        """Context [B, T, D] of each state, and weights [B, T, S] if captured.

        `positions` are those of the states in the target, counted from 0 where None.
        """
        query, score = self.scoring(states, memory.keys[:, :, 0])
        mask, normalizer = self.locality(states, memory.valid)
        context, weights = attend(
            query[:, :, None],
            memory.keys,
            memory.values,
            score=score,
            mask=mask & Padding(memory.valid),
            normalizer=normalizer,
            positions=Positions(query=positions),
            # Parameters are made from a few words, which may be too few for it.
            implementation=None if self.is_initializing() else self.implementation,
            capture=capture,
        )
        return Attended(context[:, :, 0], None if weights is None else weights[:, 0])
