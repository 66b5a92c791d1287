"""Attention of a recurrent decoder over a memory of annotations.

Any score of `layers/scoring.py` goes with any locality of `layers/masking.py` and any normalizer.
"""

from typing import Literal, NamedTuple

from flax import linen as nn

from attn_research.attention import Attended, Padding, Positions, attend, softmax
from attn_research.layers.masking import Positional, intersect
from attn_research.layers.normalizing import Normalizer
from attn_research.layers.scoring import Scoring
from attn_research.types import Array, Bool, Float, Int


class Memory(NamedTuple):
    """Annotations of a sentence, their projected keys, and which of them are words."""

    keys: Float[Array, "B S 1 H"]
    values: Float[Array, "B S 1 D"]
    valid: Bool[Array, "B S"]


class MemoryAttention(nn.Module):
    """Attention of decoder states over a memory, whose keys are projected once per sentence.

    A locality is called as `locality(states, valid, normalizer) -> (mask, normalizer)`: it may
    weigh what the normalizer of the layer gives.
    """

    scoring: Scoring
    locality: nn.Module = Positional()
    normalizer: Normalizer = softmax
    implementation: str | None = None

    def project(self, annotations: Float[Array, "B S D"], valid: Bool[Array, "B S"]) -> Memory:
        """The memory of a sentence."""
        keys = self.scoring.project_keys(annotations)
        return Memory(keys[:, :, None], annotations[:, :, None], valid)

    def __call__(
        self,
        states: Float[Array, "B T Dstate"],
        memory: Memory,
        *,
        positions: Int[Array, "B T"] | None = None,
        capture: Literal["all"] | None = None,
    ) -> Attended:
        """Context [B, T, D] of each state, and weights [B, T, S] if captured.

        `positions` are those of the states in the target, counted from 0 where None.
        """
        query = self.scoring.project_query(states)
        mask, normalizer = self.locality(states, memory.valid, self.normalizer)
        context, weights = attend(
            query[:, :, None],
            memory.keys,
            memory.values,
            score=self.scoring((), query.shape[-1], memory.keys.shape[-1]),
            mask=intersect(mask, Padding(memory.valid)),
            normalizer=normalizer,
            positions=Positions(query=positions),
            # `init` sees a few words, which may be too few for an implementation.
            implementation=None if self.is_initializing() else self.implementation,
            capture=capture,
        )
        return Attended(context[:, :, 0], None if weights is None else weights[:, 0])
