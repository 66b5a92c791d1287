"""Passes of kernels over tiles: static plans, input arrays, and lists of tiles to visit."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from attn_research.attention.normalizers import Dropout
from attn_research.types import Array, Int, PyTree, Shaped, UInt


class Visits(NamedTuple):
    """Inner tiles of each outer one, the full ones first, then the partial ones.

    `spans` holds the number of full ones, the number of both, the first full and the first partial
    one; the latter two for runs alone. Where all batch elements agree, their axis is one.
    """

    tiles: Int[Array, "#B outer most"]
    spans: Int[Array, "#B outer 4"]


class Constants(NamedTuple):
    """Arrays that no gradient reaches: positions, arrays of the mask, and words of dropout."""

    q_pos: Int[Array, "#B T"]
    k_pos: Int[Array, "#B S"]
    queries: tuple[Shaped[Array, "#B T"], ...]
    keys: tuple[Shaped[Array, "#B S"], ...]
    words: tuple[UInt[Array, "B N T"], ...]  # none, or the two of each row
    forward: Visits
    of_queries: Visits
    of_keys: Visits


@dataclasses.dataclass(frozen=True)
class Pass:
    """A pass over tiles of queries and keys.

    `full` and `partial` give the order of such tiles within an outer one: "run" for consecutive
    tiles, which lets loads go ahead of their use, "list" for any others; None where there are none.
    `visited` is the number of inner tiles that each outer one visits, where no array decides it.
    """

    tile: tuple[int, int]
    full: Literal["run", "list"] | None
    partial: Literal["run", "list"] | None
    visited: tuple[int, ...] | None

    def visit(
        self,
        visits: Visits,
        step: Callable[[bool, Array, PyTree], PyTree],
        carry: PyTree,
    ) -> PyTree:
        """Folds `step(masked, inner, carry)` over the tiles that an outer one visits."""
        full, every = visits.spans[0], visits.spans[1]
        for masked, order, start, stop in (
            (False, self.full, 0, full),
            (True, self.partial, full, every),
        ):
            if order == "run":
                ahead = visits.spans[2 + masked] - start

                def body(number: Array, carry: PyTree, masked=masked, ahead=ahead) -> PyTree:
                    return step(masked, ahead + number, carry)
            elif order == "list":

                def body(number: Array, carry: PyTree, masked=masked) -> PyTree:
                    return step(masked, visits.tiles[number], carry)
            else:
                continue
            carry = lax.fori_loop(start, stop, body, carry)
        return carry


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """All that is static in a call of kernels."""

    scale: float
    num_keys: int  # from here on keys are padding
    counted: bool  # whether positions count from 0
    allowed: Callable[..., Array]  # of a `TileRule`
    dropout: Dropout | None  # without its key
    forward: Pass
    of_queries: Pass  # for the gradient of queries
    of_keys: Pass  # for the gradients of keys and values
    pallas_call: Callable[..., Any] | None  # with its compiler, where kernels are called by it


def output_like(shape: tuple[int, ...], dtype: Any, arrays: tuple[Array, ...]) -> Any:
    """The type of an output that varies over the devices of a `shard_map` as the arrays do."""

    def one(*arrays: Array) -> Array:
        return jnp.broadcast_to(sum(array.ravel()[0].astype(dtype) for array in arrays), shape)

    return jax.eval_shape(one, *arrays)
