"""Positions of queries and keys: integers from 0 on, exact in every arithmetic done with them."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.trees import pytree
from attn_research.types import ArrayLike, Int, Integer

MOST_POSITION = np.iinfo(np.int32).max
Pos = Integer[ArrayLike, "..."]  # positions that broadcast together, as masks take them


@pytree
@dataclasses.dataclass(frozen=True)
class Positions:
    """Positions of queries and keys, each [T or S] or [*B, T or S]; None counts from 0.

    A decode step against a cache of S slots is `Positions(query=step + jnp.arange(T))`.
    """

    query: Int[ArrayLike, "*B T"] | Any = None
    key: Int[ArrayLike, "*B S"] | Any = None

    @property
    def counted(self) -> bool:
        """Whether all positions count from 0, for none are given."""
        return self.query is None and self.key is None

    def check(self, batch: tuple[int, ...], num_queries: int, num_keys: int) -> None:
        """Raises ValueError unless what is given fits [T], [S] or [*batch, T], [*batch, S]."""
        for name, given, length in (
            ("query", self.query, num_queries),
            ("key", self.key, num_keys),
        ):
            if given is not None and given.shape not in ((length,), (*batch, length)):
                raise ValueError(
                    f"Positions({name}) has shape {given.shape}: "
                    f"give {(length,)} or {(*batch, length)}"
                )

    def signed(self) -> "Positions":
        """The positions in a dtype in which differences are exact; see `signed`."""
        return Positions(
            **{
                name: None if given is None else signed(given, f"Positions({name})")
                for name, given in vars(self).items()
            }
        )


def signed(pos: Any, name: str = "positions") -> Any:
    """Integer positions in int32 or wider, in which their differences are exact.

    ValueError for floats, booleans, and unsigned integers that may reach past those.
    """
    if isinstance(pos, int) and not isinstance(pos, bool):
        return pos
    dtype = np.dtype(getattr(pos, "dtype", type(pos)))
    if not jnp.issubdtype(dtype, np.integer) or dtype.name in ("uint32", "uint64"):
        raise ValueError(f"{name} of dtype {dtype}: give signed integers, such as int32")
    known = isinstance(pos, np.ndarray) and pos.size and not jax.config.jax_enable_x64
    if known and max(int(pos.max()), -int(pos.min())) > MOST_POSITION:
        raise ValueError(f"{name} reach past {MOST_POSITION}: JAX has no int64 without x64")
    if dtype.itemsize >= 4:
        return pos
    if isinstance(pos, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(pos.shape, np.int32)
    return pos.astype(np.int32)


def grid(
    query: Int[ArrayLike, "*#B T"], key: Int[ArrayLike, "*#B S"], rank: int
) -> tuple[Int[ArrayLike, "*#lead T 1"], Int[ArrayLike, "*#lead 1 S"]]:
    """Positions spread to that rank, [*B, 1, T, 1] and [*B, 1, 1, S], as masks take them."""
    q_ones, k_ones = ((1,) * (rank - 1 - pos.ndim) for pos in (query, key))
    return (
        query.reshape(*query.shape[:-1], *q_ones, query.shape[-1], 1),
        key.reshape(*key.shape[:-1], *k_ones, 1, key.shape[-1]),
    )
