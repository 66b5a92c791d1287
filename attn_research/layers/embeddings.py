"""Positional embeddings, fixed and learned."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from attn_research.types import Array, Float, Int


def sinusoids(positions: Int[Array, "*B T"], width: int) -> Float[Array, "*B T D"]:
    """Sinusoidal positional embeddings.

        PE(pos, 2i) = sin(pos / 10000^(2i / D))   PE(pos, 2i + 1) = cos(pos / 10000^(2i / D))

    Vaswani et al. 2017, section 3.5. PE(pos + k) is one linear map of PE(pos) for all pos.
    """
    if width % 2:
        raise ValueError(f"sinusoids come in pairs: width {width} is odd")
    rates = np.float32(10_000.0 ** (-np.arange(0, width, 2) / width))
    angles = jnp.einsum("...,d->...d", positions.astype(jnp.float32), rates)
    return jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1).reshape(*positions.shape, width)


def segment_positions(
    ids: Int[Array, "*B T"], segments: Int[Array, "*B T"] | None
) -> Int[Array, "*#B T"]:
    """Positions of ids within their segments, or within rows where there are no segments.

    The ids of a segment are contiguous.
    """
    index = jnp.arange(ids.shape[-1]).reshape((1,) * (ids.ndim - 1) + (-1,))
    if segments is None:
        return index
    before = jnp.pad(segments[..., :-1], [(0, 0)] * (ids.ndim - 1) + [(1, 0)])
    starts = jnp.where(segments != before, index, 0)
    return index - jax.lax.cummax(starts, axis=ids.ndim - 1)


class SinusoidalPositions(nn.Module):
    """Positional embeddings that are `sinusoids`."""

    @nn.compact
    def __call__(self, positions: Int[Array, "*B T"], width: int) -> Float[Array, "*B T D"]:
        return sinusoids(positions, width)


def resize_positions(
    table: Float[Array, "P D"], grid: tuple[int, int], wanted: tuple[int, int]
) -> Float[Array, "_ D"]:
    """Positional embeddings of another grid of patches, by bilinear interpolation.

    Dosovitskiy et al. 2020, section 3.2. The same grid gives the same embeddings.
    """
    if grid == wanted:
        return table
    plane = table.reshape(*grid, -1)
    return jax.image.resize(plane, (*wanted, plane.shape[-1]), "bilinear").reshape(
        -1, plane.shape[-1]
    )


class LearnedPositions(nn.Module):
    """Learned positional embeddings of `max_length` positions; later ones have that of the last.

    Vaswani et al. 2017, Table 3, row (E); Gehring et al. 2017.
    """

    max_length: int
    init: nn.initializers.Initializer = nn.initializers.normal(0.02)

    @nn.compact
    def __call__(self, positions: Int[Array, "*B T"], width: int) -> Float[Array, "*B T D"]:
        table = self.param("table", self.init, (self.max_length, width))
        return jnp.take(table, positions, axis=0, mode="clip")
