"""Bias, mask, normalizer factor and dropout of a tile of scores.

Tiles are those of `online_softmax`: U rows, each a batch element and a key head, with its G query
heads; all results broadcast to [U, G, tile_q, tile_k].
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import core, lax

from attn_research.attention.masks import Mask
from attn_research.attention.normalizers import Dropout
from attn_research.types import Array, Bool, Float, Int, PyTree, UInt


class TileBounds(NamedTuple):
    """The indices at which a tile begins, and its static sizes."""

    row: Array
    query: Array
    key: Array
    rows: int
    queries: int
    keys: int


class Constants(NamedTuple):
    """Arrays that no gradient reaches; positions None count from 0."""

    mask: Mask  # its arrays are [B, ...]
    q_pos: Int[Array, "#B T"] | None
    k_pos: Int[Array, "#B S"] | None
    words: UInt[Array, "R G T 2"] | None  # of dropout
    of_bias: list[Array]  # that a bias function closes over


@dataclasses.dataclass(frozen=True, eq=False)
class Terms:
    """The static part: sizes, and the functions of bias and dropout."""

    batch: tuple[int, ...]
    group: int
    num_kv_heads: int
    num_keys: int  # from here on keys are padding
    bias_function: Callable[..., Array] | None  # of its constants and positions
    dropout_without_key: Dropout | None  # without its key

    def bias(self, bias: PyTree, constants: Constants, bounds: TileBounds) -> Array | None:
        """The bias, [U, G or 1, tile_q or 1, tile_k or 1]."""
        if self.bias_function is not None:
            q_pos, k_pos = self._positions(constants, bounds)
            spread = (1,) * len(self.batch), self.batch
            q_pos, k_pos = (
                pos.reshape(*spread[len(pos) > 1], 1, *shape)
                for pos, shape in ((q_pos, (-1, 1)), (k_pos, (1, -1)))
            )
            result = self.bias_function(bias, constants.of_bias, q_pos, k_pos)
            missing = len(self.batch) + 3 - result.ndim
            result = result.reshape((1,) * missing + result.shape)
            bias = result.reshape(-1, *result.shape[-3:])
            bounds = bounds._replace(query=0, key=0)
        if bias is None:
            return None
        starts, size = self._slices(bias, bounds)
        return jnp.concatenate([lax.dynamic_slice(bias, start, size) for start in starts])

    def add_to_bias(
        self, total: PyTree, tile: Array, bias: PyTree, constants: Constants, bounds: TileBounds
    ) -> PyTree:
        """The gradient of the bias with that of a tile of it added."""
        if self.bias_function is not None:
            _, bias_vjp = jax.vjp(lambda bias: self.bias(bias, constants, bounds), bias)
            return jax.tree.map(jnp.add, total, *bias_vjp(tile))
        starts, size = self._slices(total, bounds)
        for number, start in enumerate(starts):
            whole = lax.dynamic_slice(total, start, size) + tile[number : number + 1]
            total = lax.dynamic_update_slice(total, whole, start)
        return total

    def allowed(
        self, constants: Constants, bounds: TileBounds
    ) -> Bool[Array, "U #G #tile_q #tile_k"]:
        """The mask, false for keys that are padding."""
        batch, _ = self._heads(bounds)
        mask = jax.tree.map(lambda array: array[batch], constants.mask)
        mask = mask.of_queries(bounds.query + jnp.arange(bounds.queries))
        q_pos, k_pos = self._positions_of_rows(constants, bounds)
        real = bounds.key + jnp.arange(bounds.keys) < self.num_keys
        return mask(q_pos, k_pos) & real[None, None, None]

    def factor(
        self, normalizer: Callable[..., Array], constants: Constants, bounds: TileBounds
    ) -> Float[Array, "U 1 tile_q tile_k"] | None:
        """The factor of the normalizer on its softmax, or None."""
        batch, _ = self._heads(bounds)
        normalizer = jax.tree.map(lambda array: array[batch], normalizer)
        normalizer = normalizer.of_queries(bounds.query + jnp.arange(bounds.queries))
        return normalizer.factor(self._positions_of_rows(constants, bounds)[1])

    def dropout(
        self, constants: Constants, bounds: TileBounds
    ) -> Float[Array, "U G tile_q tile_k"] | None:
        """The factor of dropout on the weights, or None."""
        if self.dropout_without_key is None:
            return None
        size = bounds.rows, self.group, bounds.queries, 2
        words = lax.dynamic_slice(constants.words, (bounds.row, 0, bounds.query, 0), size)
        return self.dropout_without_key.factor(words, bounds.key + jnp.arange(bounds.keys))

    def heads(self, bounds: TileBounds) -> Int[Array, "U G"]:
        """The query heads of the rows."""
        return self._heads(bounds)[1]

    def _heads(self, bounds: TileBounds) -> tuple[Int[Array, "U"], Int[Array, "U G"]]:
        batch, kv_head = jnp.divmod(bounds.row + jnp.arange(bounds.rows), self.num_kv_heads)
        return batch, kv_head[:, None] * self.group + jnp.arange(self.group)[None]

    def _positions(self, constants: Constants, bounds: TileBounds) -> tuple[Array, Array]:
        """[#B, tile_q] and [#B, tile_k]."""
        q_index = bounds.query + jnp.arange(bounds.queries)
        k_index = bounds.key + jnp.arange(bounds.keys)
        q_pos, k_pos = (
            index[None] if pos is None else jnp.take(pos, index, axis=1, mode="clip")
            for pos, index in ((constants.q_pos, q_index), (constants.k_pos, k_index))
        )
        return q_pos, k_pos

    def _positions_of_rows(self, constants: Constants, bounds: TileBounds) -> tuple[Array, Array]:
        """[#U, 1, tile_q, 1] and [#U, 1, 1, tile_k], as masks take them."""
        batch, _ = self._heads(bounds)
        q_pos, k_pos = (
            pos if len(pos) == 1 else pos[batch] for pos in self._positions(constants, bounds)
        )
        return q_pos[:, None, :, None], k_pos[:, None, None, :]

    def _slices(self, bias: Array, bounds: TileBounds) -> tuple[list[tuple], tuple[int, ...]]:
        """The start of the tile of each row in [#B, #N, #T, #S], and its size there."""
        most = 1, self.group, bounds.queries, bounds.keys
        size = tuple(1 if axis == 1 else each for axis, each in zip(bias.shape, most, strict=True))
        starts = []
        for number in range(bounds.rows):
            batch, kv_head = jnp.divmod(bounds.row + number, self.num_kv_heads)
            start = batch, kv_head * self.group, bounds.query, bounds.key
            pairs = zip(bias.shape, start, strict=True)
            starts.append(tuple(jnp.int32(0 if axis == 1 else at) for axis, at in pairs))
        return starts, size


def split_bias_function(
    bias: Callable[..., Array], shapes: tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]
) -> tuple[Callable[..., Array], list[Array], list[Array]]:
    """A bias function with the arrays that it closes over as arguments: floats, then all others.

    It is for positions of those shapes. The arrays are found by tracing the function, so that a
    custom backward pass closes over no tracer.
    """
    traced = jax.make_jaxpr(bias)(*shapes)
    is_learned = [jnp.issubdtype(jnp.result_type(each), jnp.floating) for each in traced.consts]

    def function(learned: list[Array], others: list[Array], q_pos: Array, k_pos: Array) -> Array:
        rest = {True: iter(learned), False: iter(others)}
        constants = [next(rest[each]) for each in is_learned]
        (result,) = core.eval_jaxpr(traced.jaxpr, constants, q_pos, k_pos)
        return result

    learned, others = (
        [jnp.asarray(c) for c, each in zip(traced.consts, is_learned, strict=True) if each == kind]
        for kind in (True, False)
    )
    return function, learned, others
