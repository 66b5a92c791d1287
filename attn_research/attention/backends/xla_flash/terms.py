"""Bias, mask, normalizer factor and dropout of a tile of scores.

A tile is of one block of rows, *R in short: some batch elements and some key heads, with the G
query heads that attend to each. All results broadcast to [*R, G, tile_q, tile_k].
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import core, lax

from attn_research.attention.backends.xla_flash.rows import Rows
from attn_research.attention.backends.xla_flash.runs import Runs
from attn_research.attention.masks import Mask
from attn_research.attention.normalizers import Dropout
from attn_research.types import Array, Bool, Float, Int, UInt


class Operands(NamedTuple):
    """Arrays that gradients reach. Those of the score and of the normalizer have all row axes."""

    query: Float[Array, "*R G T H"]
    key: Float[Array, "*R S H"]
    value: Float[Array, "*R S Hv"]
    score: Callable[..., Array]  # its arrays are [*R, G, ...]
    bias: Float[Array, "*#R #G #T #S"] | None
    bias_arrays: list[Array]  # that a bias function closes over
    normalizer: Callable[..., Array]  # its arrays are [*B, ...]


class Constants(NamedTuple):
    """Arrays that no gradient reaches; positions None count from 0."""

    mask: Mask  # its arrays are [*B, ...]
    q_pos: Int[Array, "*#B T"] | None
    k_pos: Int[Array, "*#B S"] | None
    words: UInt[Array, "*R G T 2"] | None  # of dropout
    of_bias: list[Array]  # that a bias function closes over
    kinds: Int[Array, "*#B rows cols"] | None = None  # of tiles, where arrays decide them


def to_rows(operands: Operands, constants: Constants) -> Rows:
    """Operands and constants by their row axes, under the names of their fields."""
    o, c = operands, constants
    return Rows(
        by_head={
            "query": o.query,
            "key": o.key,
            "value": o.value,
            "score": o.score,
            "bias": o.bias,
            "words": c.words,
        },
        by_batch={
            "normalizer": o.normalizer, "mask": c.mask, "q_pos": c.q_pos, "k_pos": c.k_pos,
            "kinds": c.kinds,
        },
        shared={"bias_arrays": o.bias_arrays, "of_bias": c.of_bias},
    )  # fmt: skip


class TileBounds(NamedTuple):
    """The indices of the queries and of the keys of a tile, or of tiles taken together."""

    query: Runs
    key: Runs


@dataclasses.dataclass(frozen=True, eq=False)
class Terms:
    """The static part: sizes, and the functions of bias and dropout."""

    group: int
    num_keys: int  # from here on keys are padding
    bias_function: Callable[..., Array] | None  # of its arrays and positions
    dropout_without_key: Dropout | None  # without its key
    pointwise: Any | None = None  # the normalizer of each score for itself; None for softmax

    def bias(
        self, bias: Array | None, arrays: list[Array], rows: Rows, bounds: TileBounds
    ) -> Float[Array, "*#R #G #tile_q #tile_k"] | None:
        """The bias of a tile, from an array or from the arrays of a function."""
        if self.bias_function is not None:
            positions = self._positions(rows, bounds)
            found = self.bias_function(arrays, rows.shared["of_bias"], *positions)
            return self.split_heads(found, _batch_rank(rows))
        if bias is None:
            return None
        if bias.shape[-2] > 1:
            bias = bounds.query.take(bias, -2)
        if bias.shape[-1] > 1:
            bias = bounds.key.take(bias, -1)
        return bias

    def split_heads(self, array: Array, batch_rank: int) -> Array:
        """[*#B, #N, ...] with all axes, as [*#B, #K, #G, ...]."""
        array = array.reshape((1,) * (batch_rank + 3 - array.ndim) + array.shape)
        heads = (1, 1) if array.shape[-3] == 1 else (-1, self.group)
        return array.reshape(*array.shape[:-3], *heads, *array.shape[-2:])

    def add_to_bias(self, total: Array, tile: Array, bounds: TileBounds) -> Array:
        """The gradient of a bias array with that of a tile of it added, of one run of keys."""
        query, key = bounds
        if total.shape[-2] == 1:
            return total + tile if total.shape[-1] == 1 else key.add(total, tile, -1)
        if total.shape[-1] == 1:
            return query.add(total, tile, -2)
        (first_key,) = key.starts
        for number, start in enumerate(query.starts):
            of_run = number * query.size
            part = lax.slice_in_dim(tile, of_run, of_run + query.size, axis=-2)
            starts = [
                jnp.asarray(i, jnp.int32) for i in (*[0] * (total.ndim - 2), start, first_key)
            ]
            part = part + lax.dynamic_slice(total, starts, part.shape)
            total = lax.dynamic_update_slice(total, part, starts)
        return total

    def allowed(self, rows: Rows, bounds: TileBounds) -> Bool[Array, "*#B 1 1 #tile_q #tile_k"]:
        """The mask, false for keys that are padding, and for runs past the end."""
        q_index, k_index = (runs.indices() for runs in bounds)
        mask = rows.by_batch["mask"].of_queries(q_index)
        allowed = mask(*self._positions(rows, bounds))
        real = k_index[None] < self.num_keys
        if len(bounds.query.starts) > 1:
            real = real & (q_index[:, None] < rows.by_head["query"].shape[-2])
        return jnp.expand_dims(allowed, -3) & real[(None,) * (_batch_rank(rows) + 2)]

    def factor(
        self, normalizer: Callable[..., Array], rows: Rows, bounds: TileBounds
    ) -> Float[Array, "*#B 1 1 tile_q tile_k"] | None:
        """The factor of the normalizer on its softmax, or None."""
        normalizer = normalizer.of_queries(bounds.query.indices())
        factor = normalizer.factor(self._positions(rows, bounds)[1])
        return None if factor is None else jnp.expand_dims(factor, -3)

    def dropout(self, rows: Rows, bounds: TileBounds) -> Float[Array, "*R G tile_q tile_k"] | None:
        """The factor of dropout on the weights, or None."""
        if self.dropout_without_key is None:
            return None
        words = bounds.query.take(rows.by_head["words"], -2)
        return self.dropout_without_key.factor(words, bounds.key.indices())

    def _positions(self, rows: Rows, bounds: TileBounds) -> tuple[Array, Array]:
        """[*#B, 1, tile_q, 1] and [*#B, 1, 1, tile_k], as masks take them."""
        last = (rows.by_head[name].shape[-2] - 1 for name in ("query", "key"))
        # A bias need not be finite past the end.
        indices = (jnp.minimum(runs.indices(), n) for runs, n in zip(bounds, last, strict=True))
        given = (rows.by_batch[name] for name in ("q_pos", "k_pos"))
        q_pos, k_pos = (
            index[(None,) * _batch_rank(rows)]
            if pos is None
            else jnp.take(pos, index, axis=-1, mode="clip")
            for pos, index in zip(given, indices, strict=True)
        )
        return q_pos[..., None, :, None], k_pos[..., None, None, :]


def _batch_rank(rows: Rows) -> int:
    """The number of batch axes *B of the rows *R of a block; none where rows have one axis."""
    return rows.by_head["key"].ndim - 3


def split_bias_function(
    bias: Callable[..., Array], q_pos: Array, k_pos: Array
) -> tuple[Callable[..., Array], list[Array], list[Array], tuple[int, ...]]:
    """A bias function with the tracers that it closes over as arguments: floats, then all others.

    And the shape of its result.

    A custom backward pass may close over none. They are found by tracing the function, which is
    done again at the positions of each call.
    """

    def kinds(constants: list) -> list[bool | None]:
        """Whether a constant is a float; None where it is no tracer and may stay."""
        return [
            jnp.issubdtype(each.dtype, jnp.floating) if isinstance(each, core.Tracer) else None
            for each in constants
        ]

    def function(learned: list[Array], others: list[Array], q_pos: Array, k_pos: Array) -> Array:
        traced = jax.make_jaxpr(bias)(q_pos, k_pos)
        rest = {True: iter(learned), False: iter(others)}
        constants = [
            constant if kind is None else next(rest[kind])
            for constant, kind in zip(traced.consts, kinds(traced.consts), strict=True)
        ]
        (result,) = core.eval_jaxpr(traced.jaxpr, constants, q_pos, k_pos)
        return result

    found = jax.make_jaxpr(bias)(q_pos, k_pos)
    learned, others = (
        [each for each, kind in zip(found.consts, kinds(found.consts), strict=True) if kind is kept]
        for kept in (True, False)
    )
    return function, learned, others, found.out_avals[0].shape
