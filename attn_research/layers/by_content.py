"""Heads that choose their keys by content: what they all take and refuse."""

from typing import ClassVar, Literal

from einops import rearrange

from attn_research.attention import Attended, Capture, Mask, Rotation, softmax
from attn_research.attention.scores import ScaledDot
from attn_research.decoding.cache import KeyValues
from attn_research.layers.multihead import MultiHeadAttention
from attn_research.types import Array, Float


class ContentAttention(MultiHeadAttention):
    """Heads of whole sequences whose attention has an implementation of its own.

    A subclass gives `attend_by_content` and, for errors, its name and why no heads share keys.
    """

    title: ClassVar[str]
    own_keys: ClassVar[str]

    def attend_by_content(
        self,
        query: Float[Array, "*B T N H"],
        memory: KeyValues,
        mask: Mask,
        *,
        train: bool,
        capture: Literal["all"] | Capture | None,
    ) -> Attended:
        """Contexts of the heads [*B, T, N, Hv], and weights if captured."""
        raise NotImplementedError

    def attend_heads(
        self,
        inputs: Float[Array, "*B T D"],
        memory: KeyValues,
        mask: Mask,
        *,
        train: bool = False,
        rotation: Rotation | None = None,
        capture: Literal["all"] | Capture | None = None,
        **others,
    ) -> Attended:
        """Contexts of the heads [*B, T, N, Hv], and weights if captured.

        ValueError for positions of a cache, for a bias, and for the capture of some heads.
        """
        if any(other is not None for other in others.values()):  # "positions" and "bias"
            raise ValueError(
                f"{self.title} is of whole sequences without a bias: decode without a cache, and "
                "give positions to the embeddings or by a rotation"
            )
        query = self._queries(inputs, rotation)
        return self.attend_by_content(query, memory, mask, train=train, capture=capture)

    def _queries(self, inputs, rotation):
        query = rearrange(self.query(inputs), "... t (n h) -> ... t n h", n=self.num_heads)
        return query if rotation is None else rotation(query)

    def _has_own(self) -> bool:
        """Whether the implementation is the one of its own."""
        return True

    def _projections(self):
        if self.num_kv_heads not in (None, self.num_heads):
            raise ValueError(f"{self.title}: {self.own_keys}")
        if self.scoring.make_score is not ScaledDot or self.normalizer != softmax or self.dropout:
            raise ValueError(
                f"{self.title} scores by scaled_dot and normalizes by softmax, without dropout of "
                "weights"
            )
        if self._has_own() and self.implementation is not None:
            raise ValueError(
                f"implementation {self.implementation!r}: {self.title} has one of its own, so "
                "name none"
            )
        return super()._projections()
