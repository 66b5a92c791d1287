"""Masks that carry arrays: one entry for each key, or each query, of a batch element.

As every mask they are predicates over positions; see `masks`, also for `| Any` in annotations.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from attn_research.attention.masks import Mask
from attn_research.attention.positions import Pos, signed
from attn_research.trees import pytree
from attn_research.types import Array, ArrayLike, Bool, Float, Int, wide_dtype


@pytree
@dataclasses.dataclass(frozen=True)
class Around(Mask):
    """A query may attend to positions within `half_width` of its center, which need not be whole.

    The window [p_t - D, p_t + D] of Luong, Pham, Manning 2015, section 3.2. Centers are made from
    the queries of a call, so they belong to those, in order, whatever positions the queries have: a
    later decode step brings its own. No gradient reaches them.
    """

    center: Float[ArrayLike, "*B T"] | Any
    half_width: int = dataclasses.field(metadata={"static": True})

    def __post_init__(self) -> None:
        if self.half_width < 0:
            raise ValueError(f"Around(half_width={self.half_width}): it must not be negative")

    def __call__(self, q_pos: Pos, k_pos: Pos) -> Array:
        center = self._center(q_pos)
        return jnp.abs(jnp.asarray(signed(k_pos), center.dtype) - center) <= self.half_width

    @property
    def per_query(self) -> bool:
        return True

    def check(self, batch: tuple[int, ...], num_queries: int | None, num_keys: int | None) -> None:
        if not jnp.issubdtype(self.center.dtype, jnp.floating):
            raise ValueError(f"Around(center) has dtype {self.center.dtype}: give floats")
        _check_shape("Around(center)", self.center.shape, batch, num_queries)

    def of_queries(self, index: Int[ArrayLike, "T"]) -> Mask:
        return dataclasses.replace(self, center=jnp.take(self.center, index, axis=-1, mode="clip"))

    def span(self, q_pos: Pos) -> tuple[Int[ArrayLike, "..."], int]:
        first = jnp.ceil(self._center(q_pos) - self.half_width)
        return first.astype(jnp.int32), 2 * self.half_width + 1

    def _center(self, q_pos: ArrayLike) -> Array:
        _check_rank(self.center.ndim + 2, q_pos)
        if self.center.shape[-1] != q_pos.shape[-2]:
            raise ValueError(
                f"Around(center) has shape {self.center.shape}: give one for each of the "
                f"{q_pos.shape[-2]} queries"
            )
        # Half precision has no room for positions past 256.
        center = jnp.asarray(self.center, wide_dtype(self.center))
        return center[..., None, :, None]


@pytree
@dataclasses.dataclass(frozen=True)
class Padding(Mask):
    """A query may attend to keys where `valid` is true at their position, and not past its ends."""

    valid: Bool[ArrayLike, "*B S"] | Any

    def __call__(self, q_pos: Pos, k_pos: Pos) -> Array:
        return at_positions(self.valid[..., None, None, :], k_pos, axis=-1, absent=False)

    def check(self, batch: tuple[int, ...], num_queries: int | None, num_keys: int | None) -> None:
        if self.valid.dtype != bool:
            raise ValueError(
                f"Padding(valid) has dtype {self.valid.dtype}: give booleans, true where the key "
                "is real, as in Padding(tokens != pad)"
            )
        _check_shape("Padding(valid)", self.valid.shape, batch, num_keys)


@pytree
@dataclasses.dataclass(frozen=True)
class Segments(Mask):
    """A query may attend to the keys of its own segment. Ids are not negative."""

    q_ids: Int[ArrayLike, "*B T"] | Any
    k_ids: Int[ArrayLike, "*B S"] | Any

    def __call__(self, q_pos: Pos, k_pos: Pos) -> Array:
        q_id = at_positions(self.q_ids[..., None, :, None], q_pos, axis=-2, absent=-1)
        return q_id == at_positions(self.k_ids[..., None, None, :], k_pos, axis=-1, absent=-2)

    def check(self, batch: tuple[int, ...], num_queries: int | None, num_keys: int | None) -> None:
        for name, ids, length in (
            ("q_ids", self.q_ids, num_queries),
            ("k_ids", self.k_ids, num_keys),
        ):
            if not jnp.issubdtype(ids.dtype, jnp.signedinteger):
                raise ValueError(f"Segments({name}) has dtype {ids.dtype}: give signed integers")
            _check_shape(f"Segments({name})", ids.shape, batch, length)


@pytree
@dataclasses.dataclass(frozen=True)
class GlobalTokens(Mask):
    """Tokens that attend to all, and all to them: those where `query`, or `key`, is true.

    Beltagy et al. 2020, section 3.1. For tokens at the same positions of every text see `Global`.
    """

    query: Bool[ArrayLike, "*B T"] | Any
    key: Bool[ArrayLike, "*B S"] | Any

    def __call__(self, q_pos: Pos, k_pos: Pos) -> Array:
        of_query = at_positions(self.query[..., None, :, None], q_pos, axis=-2, absent=False)
        return of_query | at_positions(self.key[..., None, None, :], k_pos, axis=-1, absent=False)

    def check(self, batch: tuple[int, ...], num_queries: int | None, num_keys: int | None) -> None:
        for name, tokens, length in (
            ("query", self.query, num_queries),
            ("key", self.key, num_keys),
        ):
            if tokens.dtype != bool:
                raise ValueError(f"GlobalTokens({name}) has dtype {tokens.dtype}: give booleans")
            _check_shape(f"GlobalTokens({name})", tokens.shape, batch, length)


@pytree
@dataclasses.dataclass(frozen=True)
class Dense(Mask):
    """A query may attend to a key where the matrix is true at their positions, not past its ends.

    For masks that come as matrices from elsewhere; a mask that has a rule costs less as that.
    """

    allowed: Bool[ArrayLike, "*B T S"] | Any

    def __call__(self, q_pos: Pos, k_pos: Pos) -> Array:
        rows = at_positions(self.allowed[..., None, :, :], q_pos, axis=-2, absent=False)
        return at_positions(rows, k_pos, axis=-1, absent=False)

    def check(self, batch: tuple[int, ...], num_queries: int | None, num_keys: int | None) -> None:
        if self.allowed.dtype != bool:
            raise ValueError(f"Dense(allowed) has dtype {self.allowed.dtype}: give booleans")
        rows = self.allowed.shape[-2] if num_queries is None else num_queries
        _check_shape("Dense(allowed)", self.allowed.shape, (*batch, rows), num_keys)

    def _rank(self) -> int:
        return self.allowed.ndim + 1


def at_positions(array: ArrayLike, pos: ArrayLike, axis: int, absent: int) -> Array:
    """The entries of `array` at `pos` along `axis`, `absent` before its start and past its end."""
    _check_rank(array.ndim, pos)
    pos = signed(pos)
    # JAX counts negative indices from the end.
    index = jnp.where(pos < 0, array.shape[axis], pos)
    return jnp.take_along_axis(array, index, axis=axis, mode="fill", fill_value=absent)


def _check_rank(rank: int, pos: ArrayLike) -> None:
    if rank != np.ndim(pos):
        raise ValueError(
            f"a mask with arrays of {rank - 2} axes takes no positions of rank {np.ndim(pos)}: "
            f"spread them to [*B, 1, T, 1] and [*B, 1, 1, S], rank {rank}"
        )


def _check_shape(
    name: str, shape: tuple[int, ...], batch: tuple[int, ...], length: int | None
) -> None:
    if shape[:-1] != batch or length not in (None, shape[-1]):
        needed = (*batch, shape[-1] if length is None else length)
        raise ValueError(f"{name} has shape {shape}: query and key need {needed}")
