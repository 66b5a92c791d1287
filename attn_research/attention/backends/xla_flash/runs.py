"""Runs of indices: the tiles of queries or keys that a step takes together.

Small tiles fit a sparse mask closely, but a product of two of them is too small to be fast; so a
step takes several of those that an outer tile visits as if they were one.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from attn_research.types import Array, Int, Shaped


class Runs(NamedTuple):
    """Runs of `size` indices each, by their starts.

    One that starts past the end of an array reads the last entries of it again, and adds to them: a
    mask has to leave it out.
    """

    starts: tuple[Array | int, ...]
    size: int

    @property
    def length(self) -> int:
        """The number of indices."""
        return len(self.starts) * self.size

    def indices(self) -> Int[Array, "length"]:
        """The indices of all runs, in order, past the end as well."""
        each = jnp.arange(self.size, dtype=jnp.int32)
        return jnp.concatenate([start + each for start in self.starts])

    def take(self, array: Shaped[Array, "..."], axis: int) -> Shaped[Array, "..."]:
        """The entries of an array at the indices, along a (negative or not) axis."""
        parts = [lax.dynamic_slice_in_dim(array, start, self.size, axis) for start in self.starts]
        return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis)

    def add(
        self, total: Shaped[Array, "..."], more: Shaped[Array, "..."], axis: int
    ) -> Shaped[Array, "..."]:
        """The array with `more` added at the indices."""
        for number, start in enumerate(self.starts):
            of_run = number * self.size
            part = lax.slice_in_dim(more, of_run, of_run + self.size, axis=axis)
            part = part + lax.dynamic_slice_in_dim(total, start, self.size, axis)
            total = lax.dynamic_update_slice_in_dim(total, part, start, axis)
        return total


def runs_of_tiles(tiles: Int[Array, "count"], size: int) -> Runs:
    """The runs of some tiles of `size` indices, by their numbers."""
    return Runs(tuple(tiles[i] * size for i in range(tiles.shape[0])), size)
