"""Linen layers around `attend`: they own the projections and pick score, mask and normalizer."""

from typing import Literal, NamedTuple

from flax import linen as nn

from attn_research.attention import Additive, Attended, Padding, attend
from attn_research.types import Array, Bool, Float

normal = nn.initializers.normal


class Memory(NamedTuple):
    """What a decoder reads from: annotations, the keys made of them once, and which are real."""

    keys: Float[Array, "B S 1 H"]
    values: Float[Array, "B S 1 D"]
    valid: Bool[Array, "B S"]


class MemoryAttention(nn.Module):
    """Additive attention of decoder states over a memory that is projected once per sentence.

        e_ij = vᵀ tanh(W s_{i-1} + U h_j)   α_i = softmax(e_i)   c_i = Σ_j α_ij h_j

    Bahdanau, Cho, Bengio 2014, appendix A.1.2, with its initialization; n' is `features`.
    """

    features: int
    kernel_init: nn.initializers.Initializer = normal(0.001)

    def setup(self):
        self.query = nn.Dense(self.features, kernel_init=self.kernel_init)
        self.key = nn.Dense(self.features, use_bias=False, kernel_init=self.kernel_init)
        self.vector = self.param("vector", nn.initializers.zeros, (self.features,))

    def project(self, annotations: Float[Array, "B S D"], valid: Bool[Array, "B S"]) -> Memory:
        """The memory of a sentence: U_a h_j is computed here and never again."""
        values = annotations[:, :, None]
        return Memory(self.key(values), values, valid)

    def __call__(
        self,
        states: Float[Array, "B T Dstate"],
        memory: Memory,
        capture: Literal["all"] | None = None,
    ) -> Attended:
        """Context [B, T, D] of each state, and weights [B, T, S] if captured."""
        query = self.query(states)[:, :, None]
        context, weights = attend(
            query,
            memory.keys,
            memory.values,
            score=Additive(self.vector),
            mask=Padding(memory.valid),
            capture=capture,
        )
        return Attended(context[:, :, 0], None if weights is None else weights[:, 0])
