"""Streaming: caches of constant size that hold the last tokens of a text and its first ones.

A ring of slots holds the keys and values of the last tokens, beside them are those of the attention
sinks, which StreamingLLM keeps (Xiao et al. 2023, section 3.2). Tokens keep the positions that they
have in the text, so that states are those of the whole text under the mask
`streaming(window, sinks)`, to rounding, however long it is. Xiao et al. number tokens by their
place in the cache instead: with rotary positions, a network that was trained on short texts meets
distances to its sinks here that it has not seen.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from attn_research.attention import Positions, Prefix, Window, streaming
from attn_research.decoding.cache import BeamHistory, KeyValueCache, KeyValues
from attn_research.trees import pytree
from attn_research.types import Array, Bool, Float, Int, PyTree


@dataclasses.dataclass(frozen=True)
class Ring:
    """The slots of a stream: `sinks` that stay, then `size` that the last tokens share in turn."""

    sinks: int
    size: int
    chunk: int  # the most tokens of a step

    @property
    def num_slots(self) -> int:
        """The number of slots in all."""
        return self.sinks + self.size

    def slots_of(self, positions: Int[Array, "T"]) -> Int[Array, "T"]:
        """The slots of positions, each that of an earlier token that no query needs any more.

        Those below 0, of padding, are of the slot after the last, which there is not.
        """
        later = self.sinks + (positions - self.sinks) % self.size
        slots = jnp.where(positions < self.sinks, positions, later)
        return jnp.where(positions < 0, self.num_slots, slots)


@pytree
@dataclasses.dataclass(frozen=True)
class RingCache:
    """Keys and values of the slots of a layer; as `KeyValueCache` for one hypothesis."""

    keys: Float[Array, "B slots K H"] | Any
    values: Float[Array, "B slots K Hv"] | Any
    ring: Ring = dataclasses.field(metadata={"static": True})

    @classmethod
    def like(cls, cache: KeyValueCache, ring: Ring) -> "RingCache":
        """An empty ring for what such a cache holds."""
        keys, values = (
            jnp.zeros((x.shape[0], ring.num_slots, *x.shape[2:]), x.dtype)
            for x in jax.eval_shape(cache.slots)
        )
        return cls(keys, values, ring)

    def write(self, chunk: KeyValues, start: Int[Array, ""]) -> "RingCache":
        """The cache with a chunk [B, 1, t, heads, width] whose first position is `start`."""
        slots = self.ring.slots_of(start + jnp.arange(chunk.keys.shape[2]))
        keys = self.keys.at[:, slots].set(chunk.keys[:, 0], mode="drop")
        values = self.values.at[:, slots].set(chunk.values[:, 0], mode="drop")
        return dataclasses.replace(self, keys=keys, values=values)

    def slots(self) -> KeyValues:
        """Keys and values of all slots."""
        return KeyValues(self.keys, self.values)


@pytree
@dataclasses.dataclass(frozen=True)
class RingHistory:
    """The positions of the slots, -1 where empty, and the number of tokens so far.

    As `BeamHistory` for one hypothesis of each text.
    """

    length: Int[Array, ""] | Any
    positions: Int[Array, "slots"] | Any
    ring: Ring = dataclasses.field(metadata={"static": True})

    @classmethod
    def empty(cls, ring: Ring) -> "RingHistory":
        """The history before the first token."""
        return cls(jnp.int32(0), jnp.full(ring.num_slots, -1, jnp.int32), ring)

    def append(self, num_tokens: int, valid: Bool[Array, "B T"] | None = None) -> "RingHistory":
        """The history with so many tokens more, or padding and then tokens at the start of a text.

        ValueError for more than a chunk, and for padding where there are several texts.
        """
        if num_tokens > self.ring.chunk:
            raise ValueError(
                f"{num_tokens} tokens at once in a stream of chunks of {self.ring.chunk}: give "
                "fewer, or begin with a larger chunk"
            )
        length = self.length + num_tokens
        if valid is not None:
            if len(valid) > 1:
                raise ValueError("padding in a stream of several texts: give valid=None")
            length = self.length + jnp.sum(valid, dtype=jnp.int32)
        after = dataclasses.replace(self, length=length)
        positions = after.last_positions(num_tokens)[0]
        slots = self.ring.slots_of(positions)
        kept = self.positions.at[slots].set(positions, mode="drop")
        return dataclasses.replace(after, positions=kept)

    def last_positions(self, num_tokens: int) -> Int[Array, "1 T"]:
        """The positions of the last `num_tokens` tokens, those of every text."""
        return self.length - num_tokens + jnp.arange(num_tokens, dtype=jnp.int32)[None]

    def visibility(self, num_tokens: int) -> tuple[Positions, None]:
        """Positions of the last tokens as queries and of the slots as keys, and no bias."""
        return Positions(self.last_positions(num_tokens)[0], self.positions), None

    def choose(self, parents: Int[Array, "B 1"]) -> "RingHistory":
        """The same history, for there is one hypothesis."""
        return self


def begin_stream(
    network: nn.Module,
    variables: PyTree,
    batch_size: int,
    *,
    window: int,
    sinks: int = 4,
    chunk: int = 1,
) -> PyTree:
    """The state of a decoder-only network before a stream, in place of that of `begin`.

    `extend` and `step` take it, for up to `chunk` tokens at a time, any number of times: memory
    does not grow. The network's mask is `streaming(window, sinks)`, also without its causality,
    which a decoder adds; a window or sinks other than its own would change what it computes.
    ValueError where it has another, or a table of positions, which ends.
    """
    mask = streaming(window, sinks)
    if network.mask not in (mask, Window(window - 1, window - 1) | Prefix(sinks)):
        raise ValueError(
            f"the network's mask is {network.mask}: build it with mask=streaming({window}, {sinks})"
        )
    if (most := getattr(network.positions, "max_length", None)) is not None:
        raise ValueError(
            f"the network has a table of {most} positions, and a stream goes on: build it with "
            "rotary or biases of positions"
        )
    # A chunk is written before its first token attends, who needs the whole window before it.
    ring = Ring(sinks, window + chunk - 1, chunk)

    def to_ring(part: Any) -> Any:
        if isinstance(part, BeamHistory):
            return RingHistory.empty(ring)
        return RingCache.like(part, ring) if isinstance(part, KeyValueCache) else part

    state = network.apply(variables, batch_size, 1, method="begin")
    return jax.tree.map(
        to_ring, state, is_leaf=lambda part: isinstance(part, BeamHistory | KeyValueCache)
    )
