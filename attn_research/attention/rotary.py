"""Rotary positional embeddings (RoPE), and the angles of these and of sinusoids."""

import dataclasses
import math
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from einops import rearrange

from attn_research.trees import pytree
from attn_research.types import Array, Float, Int, wide_dtype

# The two features of a pair: neighbours, or one of each half of the features.
Pairing = Literal["interleaved", "halves"]
PAIRS: dict[Pairing, str] = {"interleaved": "... (h p)", "halves": "... (p h)"}


def angles(
    positions: Int[Array, "*B T"], width: int, base: float = 10_000.0
) -> Float[Array, "*B T half"]:
    """The angles pos · base^(-2i / width) of `positions`, within [-π, π), for i < width / 2.

    Turns are counted in units of 2^-32, as integers that wrap around after a whole turn. So the
    error is at most |pos| · 7.4e-10 + 4e-7 radians: 7.4e-5 at position 100,000, where the product
    of two float32 is wrong by up to 1e-2.
    """
    if width % 2:
        raise ValueError(f"angles come in pairs of features: width {width} is odd")
    if base < 1:
        raise ValueError(f"base {base} of the angles: give 1 or more")
    turns = base ** (-np.arange(0, width, 2) / width) / (2 * math.pi)
    steps = np.round(turns * 2.0**32).astype(np.uint32)
    whole = positions.astype(jnp.uint32)[..., None]
    phases = whole * steps.reshape((1,) * positions.ndim + (-1,))
    return phases.astype(jnp.int32).astype(jnp.float32) * np.float32(2 * math.pi / 2.0**32)


@pytree
@dataclasses.dataclass(frozen=True)
class Rotation:
    """The rotation of heads at some positions, pair of features by pair: R_m of `Rotary`."""

    cos: Float[Array, "*B T half"] | Any
    sin: Float[Array, "*B T half"] | Any
    pairing: Pairing = dataclasses.field(metadata={"static": True})

    def __call__(self, heads: Float[Array, "*B T N H"]) -> Float[Array, "*B T N H"]:
        """Heads of queries or of keys, rotated, in their own dtype. Values are never rotated."""
        if heads.shape[-1] != 2 * self.cos.shape[-1]:
            raise ValueError(
                f"a rotation of width {2 * self.cos.shape[-1]} is not for heads of width "
                f"{heads.shape[-1]}"
            )
        pattern = PAIRS[self.pairing]
        cos, sin = (part[..., None, :] for part in (self.cos, self.sin))
        first, second = rearrange(heads.astype(wide_dtype(heads)), f"{pattern} -> p ... h", p=2)
        rotated = jnp.stack([first * cos - second * sin, second * cos + first * sin])
        return rearrange(rotated, f"p ... h -> {pattern}").astype(heads.dtype)

    def flatten(self, axes: int) -> "Rotation":
        """The rotation with all axes between the first `axes` and the features as one."""

        def merge(part: Array) -> Array:
            return part.reshape(*part.shape[:axes], -1, part.shape[-1])

        return dataclasses.replace(self, cos=merge(self.cos), sin=merge(self.sin))


@dataclasses.dataclass(frozen=True)
class Rotary:
    """Rotary positional embeddings of heads of `width` features. Su et al. 2021, equation 15.

        q_m = R_m W_q x_m   k_n = R_n W_k x_n   θ_i = base^(-2i / width)

    R_m turns pair i of the features by m θ_i, so a product q_mᵀ k_n depends on n - m alone. The
    paper pairs neighbours, "interleaved"; Llama's published weights pair "halves". Keys are kept
    rotated in a cache.
    """

    width: int
    base: float = 10_000.0
    pairing: Pairing = "halves"

    def at(self, positions: Int[Array, "*B T"]) -> Rotation:
        """The rotation at those positions, made once for all layers."""
        turned = angles(positions, self.width, self.base)
        return Rotation(jnp.cos(turned), jnp.sin(turned), self.pairing)
