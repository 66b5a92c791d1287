"""Reformer's attention: shared queries and keys, and the keys of a query's buckets alone.

Kitaev, Kaiser, Levskaya 2020, section 2.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from einops import rearrange

from attn_research.attention import (
    Attended,
    Rotation,
    bucket_attend,
    bucket_counts,
    lsh_buckets,
    shared_keys,
)
from attn_research.attention.lsh import OWN
from attn_research.decoding.cache import KeyValues
from attn_research.layers.by_content import ContentAttention
from attn_research.types import Array, Float


class LSHAttention(ContentAttention):
    """Heads whose keys are their queries, of length 1, and that attend within buckets of a hash.

    `num_rounds` of hashing find keys, as `bucket_attend` has it with chunks of `chunk` positions;
    with 0 rounds a query attends to all keys. There are 2 T / `chunk` buckets, or a few more (see
    `bucket_counts`). In training each step draws a hash, else it is always the same. Kitaev,
    Kaiser, Levskaya 2020, section 2.
    """

    num_rounds: int = 4
    chunk: int = 64
    title: ClassVar[str] = "LSH attention"
    own_keys: ClassVar[str] = "queries are the keys, so no heads share keys"

    def project(
        self, inputs: Float[Array, "*B S D"], rotation: Rotation | None = None
    ) -> KeyValues:
        """The queries as keys, and values."""
        values = rearrange(self.value(inputs), "... s (n h) -> ... s n h", n=self.num_heads)
        return KeyValues(shared_keys(self._queries(inputs, rotation)), values)

    def attend_by_content(self, query, memory, mask, *, train, capture) -> Attended:
        """Contexts of the heads [*B, T, N, Hv], and weights if captured."""
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

    def _has_own(self):
        return self.num_rounds > 0

    def _projections(self):
        query, _, value = super()._projections()
        return query, None, value


def _own_last(q_pos: Array, k_pos: Array) -> Array:
    """The bias by which a query attends to its own key only where it may attend to no other."""
    return jnp.where(q_pos == k_pos, -OWN, 0.0)
