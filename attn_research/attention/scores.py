"""How alike: a score for every query and key, [*B, T, N, H] x [*B, S, K, H] -> [*B, N, T, S].

N is a multiple of K: query head n looks at key head n // (N // K). Products accumulate in float32
or wider whatever the dtype of the operands, and scores are returned so. Learned arrays are leaves.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange

from attn_research.types import Array, ArrayLike, Float

# JAX rebuilds pytrees around placeholders of any type, so `| Any` leaves the annotation of an array
# field to the reader; the scores verify its shape where they use it.


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Dot:
    """q · k. Luong, Pham, Manning 2015, equation 8, "dot"."""

    def __call__(
        self, query: Float[Array, "*B T N H"], key: Float[Array, "*B S K Hk"]
    ) -> Float[Array, "*B N T S"]:
        _check_width("Dot", query, key)
        # The group joins the rows: one plain product for each key head, forward and backward.
        rows = rearrange(query, "... t (k g) h -> ... k (g t) h", k=key.shape[-2])
        columns = rearrange(key, "... s k h -> ... k h s")
        scores = jnp.matmul(rows, columns, preferred_element_type=_wide(query, key))
        return rearrange(scores, "... k (g t) s -> ... (k g) t s", t=query.shape[-3])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ScaledDot:
    """q · k / √H. Vaswani et al. 2017, equation 1."""

    def __call__(
        self, query: Float[Array, "*B T N H"], key: Float[Array, "*B S K Hk"]
    ) -> Float[Array, "*B N T S"]:
        return Dot()(query, key) * query.shape[-1] ** -0.5


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class General:
    """qᵀ W k, the bilinear score. Luong, Pham, Manning 2015, equation 8, "general"."""

    weight: Float[ArrayLike, "H Hk"] | Float[ArrayLike, "N H Hk"] | Any

    def __call__(
        self, query: Float[Array, "*B T N H"], key: Float[Array, "*B S K Hk"]
    ) -> Float[Array, "*B N T S"]:
        num_heads, width = query.shape[-2:]
        n = _per_head("General(weight)", self.weight, num_heads, (width, key.shape[-1]))
        wide = _wide(query, key, self.weight)
        query = jnp.einsum(f"...tni,{n}ij->...tnj", query, self.weight, preferred_element_type=wide)
        return Dot()(query, key)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Additive:
    """v · tanh(q + k), also called concat, of a query and key already projected.

    Bahdanau, Cho, Bengio 2014, appendix A.1.2; Luong, Pham, Manning 2015, equation 8, "concat".
    """

    vector: Float[ArrayLike, "H"] | Float[ArrayLike, "N H"] | Any

    def __call__(
        self, query: Float[Array, "*B T N H"], key: Float[Array, "*B S K Hk"]
    ) -> Float[Array, "*B N T S"]:
        _check_width("Additive", query, key)
        _per_head("Additive(vector)", self.vector, query.shape[-2], query.shape[-1:])
        return _additive(query, key, self.vector)


# The hidden layer is H times as large as the scores; computing it anew in the backward pass costs
# less than storing it, most of all in a recurrent decoder, which would store it for every step.
# Under scan and jit, where this matters, nothing merges the two computations.
@functools.partial(jax.checkpoint, prevent_cse=False)
def _additive(query: Array, key: Array, vector: Array) -> Array:
    wide = _wide(query, key)
    query = rearrange(query, "... t (k g) h -> ... k g t 1 h", k=key.shape[-2]).astype(wide)
    key = rearrange(key, "... s k h -> ... k 1 1 s h").astype(wide)
    hidden = rearrange(jnp.tanh(query + key), "... k g t s h -> ... (k g) t s h")
    return jnp.einsum(f"...ntsh,{'n' * (vector.ndim - 1)}h->...nts", hidden, vector)


def _wide(*arrays: Array) -> jnp.dtype:
    return jnp.result_type(jnp.float32, *arrays)


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
