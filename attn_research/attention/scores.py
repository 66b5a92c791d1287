"""Attention scores of queries and keys, [*B, T, N, H] x [*B, S, K, H] -> [*B, N, T, S].

N is a multiple of K: query head n attends to key head n // (N // K). Products accumulate in float32
or wider whatever the dtype of the operands, and scores are returned so. Learned arrays are leaves.
The score of a query and a key depends on those two alone; one that depends on the index of the key
too, as Location does, says so by `depends_on_index`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from einops import rearrange

from attn_research.trees import pytree
from attn_research.types import Array, ArrayLike, Float, wide_dtype

# JAX rebuilds pytrees around placeholders of any type, so `| Any` leaves the annotation of an array
# field to the reader; the scores verify its shape where they use it.

# An equal score with its operands, [*B, T, N, H] and [*B, S' <= S, K', H], where K' divides N; keys
# from S' on have weight 0. It is that of a query and a key alone, and each of its arrays begins
# with the axis N, so that it can be computed for any heads, queries and keys at a time.
Pairwise = tuple[Callable[..., Array], Array, Array]

Query = Float[Array, "*B T N H"]
Key = Float[Array, "*B S K Hk"]
Scores = Float[Array, "*B N T S"]


@pytree
@dataclasses.dataclass(frozen=True)
class Dot:
    """q · k. Luong, Pham, Manning 2015, section 3.1, "dot"."""

    def __call__(self, query: Query, key: Key) -> Scores:
        _check_width("Dot", query, key)
        # The group joins the rows: one plain product for each key head, forward and backward.
        rows = rearrange(query, "... t (k g) h -> ... k (g t) h", k=key.shape[-2])
        columns = rearrange(key, "... s k h -> ... k h s")
        scores = jnp.matmul(rows, columns, preferred_element_type=wide_dtype(query, key))
        return rearrange(scores, "... k (g t) s -> ... (k g) t s", t=query.shape[-3])

    def pairwise(self, query: Query, key: Key) -> Pairwise:
        _check_width("Dot", query, key)
        wide = wide_dtype(query, key)
        return self, query.astype(wide), key.astype(wide)


@pytree
@dataclasses.dataclass(frozen=True)
class ScaledDot:
    """q · k / √H. Vaswani et al. 2017, equation 1."""

    def __call__(self, query: Query, key: Key) -> Scores:
        return Dot()(query, key) * query.shape[-1] ** -0.5

    def pairwise(self, query: Query, key: Key) -> Pairwise:
        score, query, key = Dot().pairwise(query, key)
        return score, query * query.shape[-1] ** -0.5, key


@pytree
@dataclasses.dataclass(frozen=True)
class General:
    """qᵀ W k, the bilinear score. Luong, Pham, Manning 2015, section 3.1, "general"."""

    weight: Float[ArrayLike, "H Hk"] | Float[ArrayLike, "N H Hk"] | Any

    def __call__(self, query: Query, key: Key) -> Scores:
        return Dot()(self._mapped(query, key), key)

    def pairwise(self, query: Query, key: Key) -> Pairwise:
        return Dot().pairwise(self._mapped(query, key), key)

    def _mapped(self, query: Array, key: Array) -> Array:
        num_heads, width = query.shape[-2:]
        n = _per_head("General(weight)", self.weight, num_heads, (width, key.shape[-1]))
        wide = wide_dtype(query, key, self.weight)
        return jnp.einsum(f"...tni,{n}ij->...tnj", query, self.weight, preferred_element_type=wide)


@pytree
@dataclasses.dataclass(frozen=True)
class Location:
    """q · w_s, a score of the index s whatever the key; from S_max on it is -inf, so no weight.

    Luong, Pham, Manning 2015, section 3.1, "location".
    """

    weight: Float[ArrayLike, "H S_max"] | Float[ArrayLike, "N H S_max"] | Any
    depends_on_index: ClassVar[bool] = True

    def __call__(self, query: Query, key: Key) -> Scores:
        num_heads, width = query.shape[-2:]
        *_, most = self.weight.shape
        n = _per_head("Location(weight)", self.weight, num_heads, (width, most))
        num_keys = key.shape[-3]
        weight = self.weight[..., :num_keys]
        wide = wide_dtype(query, weight)
        scores = jnp.einsum(f"...tnh,{n}hs->...nts", query, weight, preferred_element_type=wide)
        beyond = [(0, 0)] * (scores.ndim - 1) + [(0, max(0, num_keys - most))]
        return jnp.pad(scores, beyond, constant_values=-jnp.inf)

    def pairwise(self, query: Query, key: Key) -> Pairwise:
        # The weights stand in for the keys; from S_max on there are none.
        num_heads, width = query.shape[-2:]
        n = _per_head("Location(weight)", self.weight, num_heads, (width, self.weight.shape[-1]))
        weight = self.weight[..., : key.shape[-3]].astype(wide_dtype(query, self.weight))
        weight = rearrange(weight, "n h s -> s n h" if n else "h s -> s 1 h")
        return Dot().pairwise(query, jnp.broadcast_to(weight, (*query.shape[:-3], *weight.shape)))


@pytree
@dataclasses.dataclass(frozen=True)
class Additive:
    """v · tanh(q + k), also called concat, of a query and key already projected.

    Bahdanau, Cho, Bengio 2014, appendix A.1.2; Luong, Pham, Manning 2015, section 3.1, "concat".
    """

    vector: Float[ArrayLike, "H"] | Float[ArrayLike, "N H"] | Any

    def __call__(self, query: Query, key: Key) -> Scores:
        _check_width("Additive", query, key)
        _per_head("Additive(vector)", self.vector, query.shape[-2], query.shape[-1:])
        return _additive(query, key, self.vector)

    def pairwise(self, query: Query, key: Key) -> Pairwise:
        num_heads, width = query.shape[-2:]
        _check_width("Additive", query, key)
        _per_head("Additive(vector)", self.vector, num_heads, (width,))
        wide = wide_dtype(query, key, self.vector)
        vector = jnp.broadcast_to(self.vector.astype(wide), (num_heads, width))
        return Additive(vector), query.astype(wide), key.astype(wide)


# The hidden layer is H times as large as the scores; rematerializing it in the backward pass costs
# less than storing it, most of all in a recurrent decoder, which would store it for every step.
@jax.checkpoint
def _additive_at_once(query: Array, key: Array, vector: Array) -> Array:
    wide = wide_dtype(query, key)
    query = rearrange(query, "... t (k g) h -> ... k g t 1 h", k=key.shape[-2]).astype(wide)
    key = rearrange(key, "... s k h -> ... k 1 1 s h").astype(wide)
    hidden = rearrange(jnp.tanh(query + key), "... k g t s h -> ... (k g) t s h")
    return jnp.einsum(f"...ntsh,{'n' * (vector.ndim - 1)}h->...nts", hidden, vector)


# The largest hidden layer, in elements, that is computed at once.
HIDDEN_ELEMENTS = 2**24


def _additive(query: Array, key: Array, vector: Array) -> Array:
    """The scores at once where the hidden layer is small, else one query after another."""
    num_queries, num_keys = query.shape[-3], key.shape[-3]
    if num_queries == 1 or query.size * num_keys <= HIDDEN_ELEMENTS:
        return _additive_at_once(query, key, vector)

    # Tiles of several queries would do, but XLA sums over them slowly on CPUs: with one at a time
    # the backward pass is ten times as fast.
    def of_one(query: Array) -> Array:
        return _additive_at_once(query[..., None, :, :], key, vector)[..., 0, :]

    return jnp.moveaxis(jax.lax.map(of_one, jnp.moveaxis(query, -3, 0)), 0, -2)


def _per_head(name: str, array: Array, num_heads: int, shape: tuple[int, ...]) -> str:
    """The einsum letter of the head axis: "n" where the array has one of its own, else ""."""
    if array.shape not in (shape, (num_heads, *shape)):
        raise ValueError(
            f"{name} has shape {array.shape}: query and key need {shape} or {(num_heads, *shape)}"
        )
    return "n" * (array.ndim - len(shape))


def _check_width(name: str, query: Array, key: Array) -> None:
    if query.shape[-1] != key.shape[-1]:
        raise ValueError(
            f"{name}: query width {query.shape[-1]} is not key width {key.shape[-1]}: "
            "project one of them, or score with General"
        )
