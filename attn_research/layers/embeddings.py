"""Positional embeddings, fixed and learned."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import linen as nn

from attn_research.attention import ALiBi, RelativeBias, alibi_slopes
from attn_research.attention.rotary import PAIRS, Pairing, angles
from attn_research.types import Array, Bool, Float, Int

# How positional embeddings are made for another grid of patches.
Resizing = Literal["bilinear", "bicubic"]
_SLOPE = -0.75


def sinusoids(
    positions: Int[Array, "*B T"], width: int, pairing: Pairing = "interleaved"
) -> Float[Array, "*B T D"]:
    """Sinusoidal positional embeddings.

        PE(pos, 2i) = sin(pos / 10000^(2i / D))   PE(pos, 2i + 1) = cos(pos / 10000^(2i / D))

    Vaswani et al. 2017, section 3.5. PE(pos + k) is one linear map of PE(pos) for all pos. With
    "halves" all sines come first, as in Marian.
    """
    turned = angles(positions, width)
    pairs = jnp.stack([jnp.sin(turned), jnp.cos(turned)])
    return rearrange(pairs, f"p ... h -> {PAIRS[pairing]}")


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


def token_positions(
    ids: Int[Array, "*B T"],
    valid: Bool[Array, "*B T"] | None = None,
    segments: Int[Array, "*B T"] | None = None,
) -> Int[Array, "*#B T"]:
    """Positions of ids within their segments or rows, of which padding takes none.

    So a token has the position that it has without padding, wherever that is; padding is where it
    stands in the row. ValueError for `valid` and `segments` together.
    """
    if valid is None:
        return segment_positions(ids, segments)
    if segments is not None:
        raise ValueError(
            "valid and segments: give segments alone, in which padding is a segment, such as 0"
        )
    places = jnp.broadcast_to(segment_positions(ids, None), ids.shape)
    return jnp.where(valid, jnp.cumsum(valid, axis=-1, dtype=jnp.int32) - 1, places)


class SinusoidalPositions(nn.Module):
    """Positional embeddings that are `sinusoids`."""

    pairing: Pairing = "interleaved"

    @nn.compact
    def __call__(self, positions: Int[Array, "*B T"], width: int) -> Float[Array, "*B T D"]:
        return sinusoids(positions, width, self.pairing)


def resize_positions(
    table: Float[Array, "P D"],
    grid: tuple[int, int],
    wanted: tuple[int, int],
    method: Resizing = "bilinear",
) -> Float[Array, "_ D"]:
    """Positional embeddings of another grid of patches, by interpolation of the nearest.

    Dosovitskiy et al. 2020, section 3.2. The same grid gives the same embeddings. "bilinear" is
    smoothed where the new grid is the smaller one; "bicubic", as published models have it, is not
    (Keys 1981, equation 4, with a slope of -0.75 at the distance of 1).
    """
    if grid == wanted:
        return table
    plane = table.reshape(*grid, -1)
    if method == "bilinear":
        resized = jax.image.resize(plane, (*wanted, plane.shape[-1]), "bilinear")
    else:
        down, across = (jnp.asarray(_cubic(*sizes)) for sizes in zip(grid, wanted, strict=True))
        resized = jnp.einsum("ph,hwd,qw->pqd", down, plane, across).astype(table.dtype)
    return resized.reshape(-1, plane.shape[-1])


def _cubic(size: int, wanted: int) -> Float[np.ndarray, "wanted size"]:
    """The weights of `size` points for `wanted` ones; beyond an edge there is the edge again."""
    places = (np.arange(wanted) + 0.5) * size / wanted - 0.5
    weights = np.zeros((wanted, size), np.float32)
    for offset in (-1, 0, 1, 2):
        at = np.floor(places) + offset
        x = np.abs(places - at)
        near = ((_SLOPE + 2) * x - (_SLOPE + 3)) * x * x + 1
        far = ((_SLOPE * x - 5 * _SLOPE) * x + 8 * _SLOPE) * x - 4 * _SLOPE
        index = np.clip(at, 0, size - 1).astype(int)
        weights[np.arange(wanted), index] += np.where(x <= 1, near, far)
    return weights


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


class LinearBiases(nn.Module):
    """The positional biases of ALiBi, which has no parameters."""

    def __call__(self, num_heads: int) -> ALiBi:
        return ALiBi(jnp.asarray(alibi_slopes(num_heads)))


class BucketedBiases(nn.Module):
    """The learned relative positional biases of T5, one table for all layers."""

    num_buckets: int = 32
    max_distance: int = 128
    bidirectional: bool = True
    init: nn.initializers.Initializer = nn.initializers.normal(0.02)

    @nn.compact
    def __call__(self, num_heads: int) -> RelativeBias:
        table = self.param("table", self.init, (self.num_buckets, num_heads))
        return RelativeBias(jnp.asarray(table), self.max_distance, self.bidirectional)
