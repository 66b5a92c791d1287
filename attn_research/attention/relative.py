"""Relative positional biases: functions of positions that `attend` adds to the scores.

As masks they are called with positions that broadcast together, [*B, 1, T, 1] and [*B, 1, 1, S].
"""

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp
import numpy as np

from attn_research.attention.positions import Pos, signed
from attn_research.trees import pytree
from attn_research.types import Array, ArrayLike, Float, Int


def alibi_slopes(num_heads: int) -> Float[np.ndarray, "N"]:
    """The slopes of ALiBi, a geometric sequence from 2^(-8 / N) with that ratio, float32.

    Press, Smith, Lewis 2021, section 3.
    """
    return np.float32(2.0 ** (-8.0 / num_heads * np.arange(1, num_heads + 1)))


@pytree
@dataclasses.dataclass(frozen=True)
class ALiBi:
    """Attention with linear biases: -m |t - s|, with a slope m for each head, and no parameters.

    Press, Smith, Lewis 2021, section 3, whose decoder has only s <= t. Scores are scaled before.
    """

    slopes: Float[ArrayLike, "N"] | Any

    def __call__(self, q_pos: Pos, k_pos: Pos) -> Float[Array, "*#B N #T #S"]:
        distance = jnp.abs(signed(q_pos) - signed(k_pos))
        slopes = jnp.asarray(self.slopes)
        return -slopes.reshape((1,) * (distance.ndim - 3) + (-1, 1, 1)) * distance


@functools.cache
def relative_buckets(
    num_buckets: int, max_distance: int, bidirectional: bool
) -> Int[np.ndarray, "distances"]:
    """The buckets of relative positions k_pos - q_pos = -max_distance, ..., max_distance.

    Half of the buckets of a direction are of one distance each; the others grow as its logarithm,
    up to `max_distance` and all beyond. Raffel et al. 2020, section 2.1; thresholds are exact. With
    `bidirectional` later keys have the second half of the buckets, else they share bucket 0.
    """
    directions = 2 if bidirectional else 1
    count = num_buckets // directions
    exact = count // 2
    if num_buckets % directions or exact < 1 or max_distance <= exact:
        raise ValueError(
            f"{num_buckets} buckets up to a distance of {max_distance}: give at least "
            f"{2 * directions}, a multiple of {directions}, and a distance past {exact}"
        )
    distance, steps = np.arange(max_distance + 1), count - exact
    # (distance / exact)^steps >= (max_distance / exact)^i, in integers of any size.
    powers = [int(each) ** steps for each in distance]
    passed = [
        [power * exact**i >= max_distance**i * exact**steps for power in powers]
        for i in range(1, steps)
    ]
    of_distance = np.where(distance < exact, distance, exact + np.sum(passed, axis=0, dtype=int))
    after = of_distance + count if bidirectional else np.zeros_like(of_distance)
    return np.concatenate([of_distance[::-1], after[1:]])


@pytree
@dataclasses.dataclass(frozen=True)
class RelativeBias:
    """A learned scalar for each bucket of relative positions and each head, as in T5.

    Raffel et al. 2020, section 2.1. One table serves all layers of a stack.
    """

    table: Float[ArrayLike, "buckets N"] | Any
    max_distance: int = dataclasses.field(default=128, metadata={"static": True})
    bidirectional: bool = dataclasses.field(default=True, metadata={"static": True})

    def __call__(self, q_pos: Pos, k_pos: Pos) -> Float[Array, "*#B N #T #S"]:
        most = self.max_distance
        buckets = relative_buckets(self.table.shape[0], most, self.bidirectional)
        ahead = jnp.clip(signed(k_pos) - signed(q_pos), -most, most)
        by_distance = jnp.asarray(self.table)[buckets]
        # The axis of one head becomes that of all.
        return jnp.moveaxis(by_distance[(ahead + most)[..., 0, :, :]], -1, -3)
