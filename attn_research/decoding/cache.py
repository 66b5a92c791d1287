"""Key-value caches: the keys and values of previous tokens in the layers of a decoder.

Caches are explicit values: a step takes a cache and a chunk of tokens, and returns the cache with
the keys and values of the chunk written to it. Beam search moves no cache. Each slot belongs to one
position and one beam index, and `BeamHistory` records the beam indices of each hypothesis.
"""

import dataclasses
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from einops import rearrange

from attn_research.attention import Positions
from attn_research.trees import pytree
from attn_research.types import Array, Bool, Float, Int, PyTree


class KeyValues(NamedTuple):
    """Projected keys and values of a sequence."""

    keys: Float[Array, "*B S K H"]
    values: Float[Array, "*B S K Hv"]


@pytree
@dataclasses.dataclass(frozen=True)
class KeyValueCache:
    """Keys and values of the tokens of K hypotheses of each sentence, up to a maximum length.

    Position t at beam index k has slot t * K + k of its sentence. The axes have the order that the
    products of attention need, b n h (t k) and b n (t k) h, so that no step transposes a cache.
    They are merged into two axes, because XLA would otherwise give the whole cache the layout of a
    chunk.
    """

    keys: Float[Array, "rows slots"] | Any
    values: Float[Array, "rows slots"] | Any
    batch: int = dataclasses.field(metadata={"static": True})
    heads: int = dataclasses.field(metadata={"static": True})
    beam_size: int = dataclasses.field(metadata={"static": True})  # K

    @classmethod
    def make(cls, like: KeyValues, length: int, beam_size: int = 1) -> "KeyValueCache":
        """An empty cache of `length` positions, with the batch, heads and widths of `like`."""
        (batch, *_, heads, width), value_width = like.keys.shape, like.values.shape[-1]
        keys = jnp.zeros((batch * heads * width, length * beam_size), like.keys.dtype)
        values = jnp.zeros((batch * heads, length * beam_size * value_width), like.values.dtype)
        return cls(keys, values, batch, heads, beam_size)

    @classmethod
    def filled(cls, sequence: KeyValues) -> "KeyValueCache":
        """The full cache of a whole sequence [B, S, ...], such as a source, for one hypothesis."""
        chunk = jax.tree.map(lambda x: x[:, None], sequence)
        return cls.make(sequence, sequence.keys.shape[1]).write(chunk, jnp.int32(0))

    def spread(self, beam_size: int) -> "KeyValueCache":
        """The cache repeated for each hypothesis."""
        keys, values = self._split()
        keys = jnp.repeat(keys, beam_size, axis=3).reshape(len(self.keys), -1)
        values = jnp.repeat(values, beam_size, axis=2).reshape(len(self.values), -1)
        return dataclasses.replace(self, keys=keys, values=values, beam_size=beam_size)

    def choose(self, parents: Int[Array, "B K"]) -> "KeyValueCache":
        """The same cache: slots keep their beam indices, and `BeamHistory` tracks hypotheses."""
        return self

    def write(self, chunk: KeyValues, start: Int[Array, ""]) -> "KeyValueCache":
        """The cache with a chunk [B, K, t, heads, width] written at `start`; the chunk must fit."""

        def update(room, new, size):
            return jax.lax.dynamic_update_slice_in_dim(room, new, start * size, axis=1)

        keys = rearrange(chunk.keys, "b k t n h -> (b n h) (t k)")
        values = rearrange(chunk.values, "b k t n h -> (b n) (t k h)")
        width = self.beam_size * chunk.values.shape[-1]
        values = update(self.values, values, width)
        # Always taken: XLA fuses a plain write with the read after it, and copies all keys.
        keys = jax.lax.cond(
            start >= 0, lambda: update(self.keys, keys, self.beam_size), lambda: self.keys
        )
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
    """The slots of each hypothesis of a beam; the same for every layer.

    `origin` is the beam index at which each position of a hypothesis was written. `length` counts
    the slots written so far. `positions` are those of the tokens in the slots of a sentence, -1 at
    padding and in empty slots; None where there is no padding, so that slots are positions.
    """

    length: Int[Array, ""]
    origin: Int[Array, "B K Tmax"]
    positions: Int[Array, "B Tmax"] | None = None

    @classmethod
    def empty(cls, batch_size: int, max_length: int) -> "BeamHistory":
        """The history of one hypothesis per sentence before its first token."""
        return cls(jnp.int32(0), jnp.zeros((batch_size, 1, max_length), jnp.int32))

    @classmethod
    def padded(cls, batch_size: int, max_length: int) -> "BeamHistory":
        """The same for sentences with padding between their tokens, which takes no position."""
        positions = jnp.full((batch_size, max_length), -1, jnp.int32)
        return cls.empty(batch_size, max_length)._replace(positions=positions)

    def spread(self, beam_size: int) -> "BeamHistory":
        """The history repeated for each hypothesis; only an empty history can be repeated."""
        return self._replace(origin=jnp.repeat(self.origin, beam_size, axis=1))

    def choose(self, parents: Int[Array, "B K"]) -> "BeamHistory":
        """The history of hypotheses that continue their parents, given by beam index."""
        origin = jnp.take_along_axis(self.origin, parents[..., None], axis=1)
        return self._replace(origin=origin)

    def append(self, num_tokens: int, valid: Bool[Array, "B T"] | None = None) -> "BeamHistory":
        """The history with `num_tokens` more slots; each hypothesis writes at its own index.

        `valid` is false at padding, where the history is `padded`.
        """
        batch_size, beam_size, _ = self.origin.shape
        own = jnp.arange(beam_size)[None, :, None]
        own = jnp.broadcast_to(own, (batch_size, beam_size, num_tokens))
        origin = jax.lax.dynamic_update_slice_in_dim(self.origin, own, self.length, axis=2)
        positions = self.positions
        if positions is not None:
            valid = jnp.ones((batch_size, num_tokens), bool) if valid is None else valid
            last = positions.max(axis=1, keepdims=True)
            new = jnp.where(valid, last + jnp.cumsum(valid, axis=1, dtype=jnp.int32), -1)
            positions = jax.lax.dynamic_update_slice_in_dim(positions, new, self.length, axis=1)
        elif valid is not None:
            raise ValueError("padding in a history without: begin with BeamHistory.padded")
        return BeamHistory(self.length + num_tokens, origin, positions)

    def last_positions(self, num_tokens: int) -> Int[Array, "*B T"]:
        """The positions of the last `num_tokens` tokens, with a batch axis if there is padding."""
        start = self.length - num_tokens
        if self.positions is None:
            return start + jnp.arange(num_tokens)
        return jax.lax.dynamic_slice_in_dim(self.positions, start, num_tokens, axis=1)

    def visibility(
        self, num_tokens: int
    ) -> tuple[Positions, Float[Array, "B 1 queries slots"] | Any]:
        """Positions and a bias for the last tokens as queries [K * T] and the slots as keys.

        The bias is -inf at slots of other hypotheses; None where there are no others. All
        hypotheses of a sentence share one call: scoring the slots of other hypotheses costs little,
        and no slot has to move.
        """
        beam_size, length = self.origin.shape[1:]
        slots = jnp.arange(length) if self.positions is None else self.positions
        query, key = self.last_positions(num_tokens), slots
        if beam_size == 1:
            return Positions(query, key), None
        query = jnp.concatenate([query] * beam_size, axis=-1)
        beam_index = jnp.arange(beam_size).reshape(1, 1, 1, -1)
        own = self.origin[..., None] == beam_index  # [B, K, Tmax, K]
        bias = jnp.where(own, 0.0, -jnp.inf).reshape(-1, 1, beam_size, length * beam_size)
        bias = jnp.repeat(bias, num_tokens, axis=2)
        return Positions(query, jnp.repeat(key, beam_size, axis=-1)), bias


@runtime_checkable
class History(Protocol):
    """What a decoder asks of the tokens so far: a `BeamHistory`, or that of a stream."""

    @property
    def length(self) -> Int[Array, ""]:
        """The number of slots, or of tokens, so far."""
        ...

    def append(self, num_tokens: int, valid: Bool[Array, "B T"] | None = None) -> "History":
        """The history with so many tokens more."""
        ...

    def last_positions(self, num_tokens: int) -> Int[Array, "*B T"]:
        """The positions of the last tokens."""
        ...

    def visibility(self, num_tokens: int) -> tuple[Positions, Any]:
        """Positions of the last tokens as queries and of the slots as keys, and a bias or None."""
        ...


@runtime_checkable
class Cache(Protocol):
    """What a decoder asks of the keys and values so far, such as a `KeyValueCache`."""

    def write(self, chunk: KeyValues, start: Int[Array, ""]) -> "Cache":
        """The cache with those of a chunk [B, K, t, heads, width]."""
        ...

    def slots(self) -> KeyValues:
        """Keys and values of all slots."""
        ...


class Past(NamedTuple):
    """The cache of one layer, and the history including the chunk to be written."""

    history: History
    cache: Cache


@pytree
@dataclasses.dataclass(frozen=True)
class Shared:
    """A part of a search state that all hypotheses of a sentence share."""

    value: PyTree | Any

    def spread(self, beam_size: int) -> "Shared":
        """The same part, for any number of hypotheses."""
        return self

    def choose(self, parents: Int[Array, "B K"]) -> "Shared":
        """The same part, for any parents."""
        return self


@pytree
@dataclasses.dataclass(frozen=True)
class _Hole:
    """The place of a shared part."""


def part_shared(state: PyTree) -> tuple[list[Shared], PyTree]:
    """The shared parts of a search state, and the state without them, for `join_shared`.

    Loops and programs that take only the latter neither carry nor copy what never changes.
    """
    parts, structure = jax.tree.flatten(state, is_leaf=lambda part: isinstance(part, Shared))
    own = [_Hole() if isinstance(part, Shared) else part for part in parts]
    return [part for part in parts if isinstance(part, Shared)], structure.unflatten(own)


def join_shared(shared: list[Shared], own: PyTree) -> PyTree:
    """The state of both parts."""
    parts, structure = jax.tree.flatten(own, is_leaf=lambda part: isinstance(part, _Hole))
    rest = iter(shared)
    return structure.unflatten(next(rest) if isinstance(part, _Hole) else part for part in parts)
