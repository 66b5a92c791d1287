"""Key-value caches: what the layers of a decoder keep of the tokens before.

Caches are explicit values: one goes into a step together with a chunk of tokens, and comes out with
the keys and values of the chunk written into it. Beam search moves no cache. The slots of a cache
belong to places of the beam, and `BeamHistory` says which of them a hypothesis has gone through.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange

from attn_research.attention import Positions
from attn_research.trees import pytree
from attn_research.types import Array, Float, Int, PyTree


class KeyValues(NamedTuple):
    """Projected keys and values of a sequence."""

    keys: Float[Array, "*B S K H"]
    values: Float[Array, "*B S K Hv"]


@pytree
@dataclasses.dataclass(frozen=True)
class KeyValueCache:
    """Keys and values of the tokens of K hypotheses of each sentence, and room for more.

    Position t of place k of the beam has slot t * K + k of its sentence. The axes have the order
    that the products of attention need, b n h (t k) and b n (t k) h, so that no step transposes a
    cache. They are joined to two axes, else XLA would choose the layout of a chunk for the whole.
    """

    keys: Float[Array, "rows slots"] | Any
    values: Float[Array, "rows slots"] | Any
    batch: int = dataclasses.field(metadata={"static": True})
    heads: int = dataclasses.field(metadata={"static": True})
    places: int = dataclasses.field(metadata={"static": True})  # K

    @classmethod
    def make(cls, like: KeyValues, length: int, places: int = 1) -> "KeyValueCache":
        """An empty cache of `length` positions, for batch, heads and widths as those of `like`."""
        (batch, *_, heads, width), value_width = like.keys.shape, like.values.shape[-1]
        keys = jnp.zeros((batch * heads * width, length * places), like.keys.dtype)
        values = jnp.zeros((batch * heads, length * places * value_width), like.values.dtype)
        return cls(keys, values, batch, heads, places)

    @classmethod
    def filled(cls, sequence: KeyValues) -> "KeyValueCache":
        """The cache of a whole sequence [B, S, ...], such as a source: one place, no more room."""
        chunk = jax.tree.map(lambda x: x[:, None], sequence)
        return cls.make(sequence, sequence.keys.shape[1]).write(chunk, jnp.int32(0))

    def spread(self, beam_size: int) -> "KeyValueCache":
        """The cache of one hypothesis a sentence, for each of several."""
        keys, values = self._split()
        keys = jnp.repeat(keys, beam_size, axis=3).reshape(len(self.keys), -1)
        values = jnp.repeat(values, beam_size, axis=2).reshape(len(self.values), -1)
        return dataclasses.replace(self, keys=keys, values=values, places=beam_size)

    def choose(self, parents: Int[Array, "B K"]) -> "KeyValueCache":
        """The same: slots stay at their places, and `BeamHistory` follows the hypotheses."""
        return self

    def write(self, chunk: KeyValues, start: Int[Array, ""]) -> "KeyValueCache":
        """With a chunk [B, K, t, heads, width] at positions `start` and on, which must fit."""

        def update(room, new, size):
            return jax.lax.dynamic_update_slice_in_dim(room, new, start * size, axis=1)

        keys = rearrange(chunk.keys, "b k t n h -> (b n h) (t k)")
        values = rearrange(chunk.values, "b k t n h -> (b n) (t k h)")
        width = self.places * chunk.values.shape[-1]
        keys, values = update(self.keys, keys, self.places), update(self.values, values, width)
        return dataclasses.replace(self, keys=keys, values=values)

    def slots(self) -> KeyValues:
        """Keys and values of all slots, [B, T * K, heads, width]."""
        keys, values = self._split()
        return KeyValues(
            rearrange(keys, "b n h s -> b s n h"), rearrange(values, "b n s h -> b s n h")
        )

    def _split(self):
        """Keys [B, heads, H, slots] and values [B, heads, slots, Hv]."""
        slots = self.keys.shape[1]
        return (
            self.keys.reshape(self.batch, self.heads, -1, slots),
            self.values.reshape(self.batch, self.heads, slots, -1),
        )


class BeamHistory(NamedTuple):
    """The slots that each hypothesis of a beam has gone through; the same for every layer.

    `origin` is the place of the beam at which each position of a hypothesis was written. `length`
    counts the positions written so far.
    """

    length: Int[Array, ""]
    origin: Int[Array, "B K Tmax"]

    @classmethod
    def empty(cls, batch_size: int, max_length: int) -> "BeamHistory":
        """That of one hypothesis a sentence before its first token."""
        return cls(jnp.int32(0), jnp.zeros((batch_size, 1, max_length), jnp.int32))

    def spread(self, beam_size: int) -> "BeamHistory":
        """That of one hypothesis a sentence, for each of several. Only an empty one can be."""
        return self._replace(origin=jnp.repeat(self.origin, beam_size, axis=1))

    def choose(self, parents: Int[Array, "B K"]) -> "BeamHistory":
        """That of hypotheses that continue those at the places of their parents."""
        origin = jnp.take_along_axis(self.origin, parents[..., None], axis=1)
        return self._replace(origin=origin)

    def append(self, num_tokens: int) -> "BeamHistory":
        """With `num_tokens` more positions, each hypothesis writing at its own place."""
        batch_size, places, _ = self.origin.shape
        own = jnp.arange(places)[None, :, None]
        own = jnp.broadcast_to(own, (batch_size, places, num_tokens))
        origin = jax.lax.dynamic_update_slice_in_dim(self.origin, own, self.length, axis=2)
        return BeamHistory(self.length + num_tokens, origin)

    def last_positions(self, num_tokens: int) -> Int[Array, "T"]:
        """The positions of the last `num_tokens` tokens."""
        return self.length - num_tokens + jnp.arange(num_tokens)

    def visibility(
        self, num_tokens: int
    ) -> tuple[Positions, Float[Array, "B 1 queries slots"] | Any]:
        """For the last tokens as queries [K * T]: positions of theirs and of the slots, and a bias.

        The bias is -inf at slots of other hypotheses. All hypotheses attend to the slots of a
        sentence at once: to score the slots of others costs little, and no slot has to move.
        """
        places, room = self.origin.shape[1:]
        query = jnp.tile(self.last_positions(num_tokens), places)
        own = self.origin[..., None] == jnp.arange(places).reshape(1, 1, 1, -1)  # [B, K, Tmax, K]
        bias = jnp.where(own, 0.0, -jnp.inf).reshape(-1, 1, places, room * places)
        bias = jnp.repeat(bias, num_tokens, axis=2)
        return Positions(query, jnp.repeat(jnp.arange(room), places)), bias


class Past(NamedTuple):
    """The cache of one layer, and the history of the beam, the chunk to be written included."""

    history: BeamHistory
    cache: KeyValueCache


@pytree
@dataclasses.dataclass(frozen=True)
class Shared:
    """A part of a search state that all hypotheses of a beam have in common."""

    value: PyTree | Any

    def spread(self, beam_size: int) -> "Shared":
        """The same for several hypotheses."""
        return self

    def choose(self, parents: Int[Array, "B K"]) -> "Shared":
        """The same whatever the parents are."""
        return self
