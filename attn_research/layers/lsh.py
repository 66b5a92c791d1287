"""Reformer's attention: shared queries and keys, and the keys of a query's buckets alone.

Kitaev, Kaiser, Levskaya 2020, section 2.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from einops import rearrange

from attn_research.attention import (
    Attended,
    Capture,
    Mask,
    Rotation,
    bucket_attend,
    bucket_counts,
    lsh_buckets,
    shared_keys,
)
from attn_research.attention.lsh import OWN
from attn_research.attention.scores import ScaledDot
from attn_research.decoding.cache import KeyValues
from attn_research.layers.multihead import MultiHeadAttention
from attn_research.types import Array, Float


class LSHAttention(MultiHeadAttention):
    """Heads whose keys are their queries, of length 1, and that attend within buckets of a hash.

    `num_rounds` of hashing find keys, as `bucket_attend` has it with chunks of `chunk` positions;
    with 0 rounds a query attends to all keys. There are 2 T / `chunk` buckets, or a few more (see
    `bucket_counts`). In training each step draws a hash, else it is always the same. Kitaev,
    Kaiser, Levskaya 2020, section 2.
    """

    num_rounds: int = 4
    chunk: int = 64

    def project(
        self, inputs: Float[Array, "*B S D"], rotation: Rotation | None = None
    ) -> KeyValues:
        """The queries as keys, and values."""
        values = rearrange(self.value(inputs), "... s (n h) -> ... s n h", n=self.num_heads)
        return KeyValues(shared_keys(self._queries(inputs, rotation)), values)

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
                "LSH attention is of whole sequences without a bias: decode without a cache, and "
                "give positions to the embeddings or by a rotation"
            )
        query = self._queries(inputs, rotation)
        if not self.num_rounds:
            return self.attend_projected(
                query, memory, mask, bias=_own_last, train=train, capture=capture
            )
        buckets = lsh_buckets(
            memory.keys,
            self.make_rng("dropout") if train else jax.random.key(0),
            num_buckets=bucket_counts(query.shape[-3], self.chunk),
            num_rounds=self.num_rounds,
        )
        return bucket_attend(
            query, memory.values, buckets,
            chunk=self.chunk, key=memory.keys, mask=mask, capture=capture,
        )  # fmt: skip

    def _queries(self, inputs, rotation):
        query = rearrange(self.query(inputs), "... t (n h) -> ... t n h", n=self.num_heads)
        return query if rotation is None else rotation(query)

    def _projections(self):
        if self.num_kv_heads not in (None, self.num_heads):
            raise ValueError("LSH attention: queries are the keys, so no heads share keys")
        if self.dropout or self.scoring.make_score is not ScaledDot:
            raise ValueError("LSH attention scores by scaled_dot, without dropout of weights")
        if self.num_rounds and self.implementation is not None:
            raise ValueError(
                f"implementation {self.implementation!r}: LSH attention has one of its own, so "
                "name none"
            )
        query, _, value = super()._projections()
        return query, None, value


def _own_last(q_pos: Array, k_pos: Array) -> Array:
    """The bias by which a query attends to its own key only where it may attend to no other."""
    return jnp.where(q_pos == k_pos, -OWN, 0.0)
