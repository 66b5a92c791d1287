"""What the scores of a tile meet: bias, mask, the normalizer's factor and dropout.

Tiles are those of `online`: U rows, each a batch element and a key head, with its G query heads;
all answers broadcast to [U, G, tile_q, tile_k].
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from attn_research.attention.masks import Mask
from attn_research.attention.normalizers import Dropout
from attn_research.types import Array, Bool, Float, Int, PyTree, UInt


class Place(NamedTuple):
    """Where a tile begins, and its static sizes."""

    row: Array
    query: Array
    key: Array
    rows: int
    queries: int
    keys: int


class Given(NamedTuple):
    """Arrays that no gradient reaches; positions None count from 0."""

    mask: Mask  # its arrays are [B, ...]
    q_pos: Int[Array, "#B T"] | None
    k_pos: Int[Array, "#B S"] | None
    words: UInt[Array, "R G T 2"] | None  # of dropout
    constants: list[Array]  # of a bias that is a function


@dataclasses.dataclass(frozen=True, eq=False)
class Terms:
    """The static part: sizes, and how the bias and dropout are computed."""

    batch: tuple[int, ...]
    group: int
    num_kv_heads: int
    num_keys: int  # from here on keys are padding
    bias_function: Callable[..., Array] | None  # of learned and given constants, and positions
    dropped: Dropout | None

    def bias(self, bias: PyTree, given: Given, place: Place) -> Array | None:
        """The bias, [U, G or 1, tile_q or 1, tile_k or 1]."""
        if self.bias_function is not None:
            q_pos, k_pos = self._positions(given, place)
            spread = (1,) * len(self.batch), self.batch
            q_pos, k_pos = (
                pos.reshape(*spread[len(pos) > 1], 1, *shape)
                for pos, shape in ((q_pos, (-1, 1)), (k_pos, (1, -1)))
            )
            found = self.bias_function(bias, given.constants, q_pos, k_pos)
            missing = len(self.batch) + 3 - found.ndim
            found = found.reshape((1,) * missing + found.shape)
            bias = found.reshape(-1, *found.shape[-3:])
            place = place._replace(query=0, key=0)
        if bias is None:
            return None
        starts, size = self._slices(bias, place)
        return jnp.concatenate([lax.dynamic_slice(bias, start, size) for start in starts])

    def add_to_bias(
        self, total: PyTree, tile: Array, bias: PyTree, given: Given, place: Place
    ) -> PyTree:
        """The gradient of the bias with that of a tile of it added."""
        if self.bias_function is not None:
            _, pull = jax.vjp(lambda bias: self.bias(bias, given, place), bias)
            return jax.tree.map(jnp.add, total, *pull(tile))
        starts, size = self._slices(total, place)
        for number, start in enumerate(starts):
            whole = lax.dynamic_slice(total, start, size) + tile[number : number + 1]
            total = lax.dynamic_update_slice(total, whole, start)
        return total

    def allowed(self, given: Given, place: Place) -> Bool[Array, "U #G #tile_q #tile_k"]:
        """The mask, and no key that is padding."""
        batch, _ = self._heads(place)
        mask = jax.tree.map(lambda array: array[batch], given.mask)
        mask = mask.of_queries(place.query + jnp.arange(place.queries))
        q_pos, k_pos = self._positions_of_rows(given, place)
        real = place.key + jnp.arange(place.keys) < self.num_keys
        return mask(q_pos, k_pos) & real[None, None, None]

    def factor(
        self, normalizer: Callable[..., Array], given: Given, place: Place
    ) -> Float[Array, "U 1 tile_q tile_k"] | None:
        """What the normalizer multiplies its softmax with, if anything."""
        batch, _ = self._heads(place)
        normalizer = jax.tree.map(lambda array: array[batch], normalizer)
        normalizer = normalizer.of_queries(place.query + jnp.arange(place.queries))
        return normalizer.factor(self._positions_of_rows(given, place)[1])

    def dropout(self, given: Given, place: Place) -> Float[Array, "U G tile_q tile_k"] | None:
        """What dropout multiplies the weights with, if there is any."""
        if self.dropped is None:
            return None
        size = place.rows, self.group, place.queries, 2
        words = lax.dynamic_slice(given.words, (place.row, 0, place.query, 0), size)
        return self.dropped.factor(words, place.key + jnp.arange(place.keys))

    def heads(self, place: Place) -> Int[Array, "U G"]:
        """The query heads of the rows."""
        return self._heads(place)[1]

    def _heads(self, place: Place) -> tuple[Int[Array, "U"], Int[Array, "U G"]]:
        batch, kv_head = jnp.divmod(place.row + jnp.arange(place.rows), self.num_kv_heads)
        return batch, kv_head[:, None] * self.group + jnp.arange(self.group)[None]

    def _positions(self, given: Given, place: Place) -> tuple[Array, Array]:
        """[#B, tile_q] and [#B, tile_k]."""
        q_index = place.query + jnp.arange(place.queries)
        k_index = place.key + jnp.arange(place.keys)
        q_pos, k_pos = (
            index[None] if pos is None else jnp.take(pos, index, axis=1, mode="clip")
            for pos, index in ((given.q_pos, q_index), (given.k_pos, k_index))
        )
        return q_pos, k_pos

    def _positions_of_rows(self, given: Given, place: Place) -> tuple[Array, Array]:
        """[#U, 1, tile_q, 1] and [#U, 1, 1, tile_k], as masks are asked."""
        batch, _ = self._heads(place)
        q_pos, k_pos = (
            pos if len(pos) == 1 else pos[batch] for pos in self._positions(given, place)
        )
        return q_pos[:, None, :, None], k_pos[:, None, None, :]

    def _slices(self, bias: Array, place: Place) -> tuple[list[tuple], tuple[int, ...]]:
        """Where the tile of each row begins in [#B, #N, #T, #S], and its size there."""
        most = 1, self.group, place.queries, place.keys
        size = tuple(1 if axis == 1 else each for axis, each in zip(bias.shape, most, strict=True))
        starts = []
        for number in range(place.rows):
            batch, kv_head = jnp.divmod(place.row + number, self.num_kv_heads)
            start = batch, kv_head * self.group, place.query, place.key
            pairs = zip(bias.shape, start, strict=True)
            starts.append(tuple(jnp.int32(0 if axis == 1 else at) for axis, at in pairs))
        return starts, size


def to_function(
    bias: Callable[..., Array], shapes: tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]
) -> tuple[Callable[..., Array], list[Array], list[Array]]:
    """A function of positions as one of its constants too: those learned, and those not.

    It serves positions of the given shapes. Whatever the function holds or closes over is found by
    tracing it, so that a custom backward pass closes over no tracer.
    """
    traced = jax.make_jaxpr(bias)(*shapes)
    is_learned = [jnp.issubdtype(jnp.result_type(each), jnp.floating) for each in traced.consts]

    def function(learned: list[Array], others: list[Array], q_pos: Array, k_pos: Array) -> Array:
        rest = {True: iter(learned), False: iter(others)}
        constants = [next(rest[each]) for each in is_learned]
        (found,) = jax.core.eval_jaxpr(traced.jaxpr, constants, q_pos, k_pos)
        return found

    learned, others = (
        [jnp.asarray(c) for c, each in zip(traced.consts, is_learned, strict=True) if each == kind]
        for kind in (True, False)
    )
    return function, learned, others
