"""Narrow windows: the few keys that each query may look at are gathered, and no others scored.

Time and memory grow with T times the width of the window instead of T times S, for a whole sequence
as for one decoder step.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from attn_research.attention.backends.reference import Attended, Capture, captured
from attn_research.attention.masks import Mask, Positions, Tile, grid
from attn_research.attention.normalizers import Dropout, is_softmax
from attn_research.attention.scores import Location
from attn_research.types import Array, Float, Int


def unsupported(
    query: Any,
    key: Any,
    value: Any,
    *,
    score: Callable[..., Array],
    mask: Mask,
    bias: Any,
    positions: Positions | None,
    **others: Any,
) -> str | None:
    """Why the arguments of `attend` are not supported, or None where they are."""
    if positions is not None and positions.key is not None:
        return "the keys have positions of their own"
    if isinstance(score, Location):
        return "a Location score depends on the index of the key"
    if bias is not None and not callable(bias) and bias.shape[-1] > 1:
        return "the bias is an array over the keys: give a function of positions"
    asked = jax.eval_shape(_positions, query, key, mask, positions)
    if asked is None:
        return "the mask sets no bound to the keys of a query"
    width, num_keys = asked[1].shape[-1], key.shape[-3]
    if 2 * width > num_keys:
        return f"the mask lets a query look at {width} of {num_keys} keys, which is more than half"
    return None


# Measured by experiments.benchmarks.attention: for more queries than those, a key that is gathered
# takes as long as so many that stand in tiles.
FEW_QUERIES, KEYS_FOR_ONE = 32, 45


def outdone(
    query: Any,
    key: Any,
    value: Any,
    *,
    score: Callable[..., Array],
    mask: Mask,
    normalizer: Callable[..., Array],
    positions: Positions | None,
    **others: Any,
) -> str | None:
    """Why another is better where it is left open, or None."""
    num_queries, num_keys = query.shape[-3], key.shape[-3]
    in_tiles = hasattr(score, "pairwise") and is_softmax(normalizer)
    if num_queries <= FEW_QUERIES or not in_tiles:
        return None
    visited = num_keys
    if positions is None:
        layout = mask.layout(num_queries, num_keys, 256)
        visited = num_keys * np.mean(layout != Tile.EMPTY)
    width = jax.eval_shape(_positions, query, key, mask, positions)[1].shape[-1]
    if visited < KEYS_FOR_ONE * width:
        return f"to gather {width} keys for each of {num_queries} queries is slower than tiles"
    return None


def attend(
    query: Float[Array, "*B T N H"],
    key: Float[Array, "*B S K Hk"],
    value: Float[Array, "*B S K Hv"],
    *,
    score: Callable[..., Array],
    mask: Mask,
    bias: Float[Array, "*#B #N #T 1"] | Callable[..., Array] | None,
    normalizer: Callable[..., Array],
    dropout: Dropout | None,
    positions: Positions | None,
    capture: Literal["all"] | Capture | None,
) -> Attended:
    """The reference, of gathered keys; see `api.attend`."""
    q_pos, k_pos = _positions(query, key, mask, positions)
    words = None
    if dropout is not None:
        words = dropout.rows((*query.shape[:-3], query.shape[-2], query.shape[-3]))

    # Each query becomes a batch of its own with its own keys. They are W times as large as the
    # queries: to gather them anew in the backward pass costs less than to store them, most of all
    # in a recurrent decoder, which would store them for every step.
    @functools.partial(jax.checkpoint, prevent_cse=False)
    def look(query: Array, key: Array, value: Array) -> tuple[Array, Array]:
        scores = score(query[..., None, :, :], _gather(key, k_pos))
        scores = rearrange(scores, "... t n 1 w -> ... n t w")
        if bias is not None:
            scores = scores + (bias(q_pos, k_pos) if callable(bias) else bias)
        weights = normalizer(scores, mask(q_pos, k_pos), k_pos)
        kept = weights if dropout is None else weights * dropout.factor(words, k_pos)
        rows = rearrange(kept, "... (k g) t w -> ... t k g w", k=value.shape[-2])
        seen = rearrange(_gather(value, k_pos), "... t w k h -> ... t k w h")
        context = jnp.matmul(rows, seen).astype(value.dtype)
        return rearrange(context, "... t k g h -> ... t (k g) h"), weights

    context, weights = look(query, key, value)
    shown = captured(weights, capture)
    if shown is not None:
        places = captured(jnp.broadcast_to(k_pos, weights.shape), capture)
        shown = _scatter(shown, places, key.shape[-3])
    return Attended(context, shown)


def _positions(
    query: Array, key: Array, mask: Mask, positions: Positions | None
) -> tuple[Int[Array, "*#B 1 T 1"], Int[Array, "*#B 1 T W"]] | None:
    """Positions of the queries, and of the keys that hold all that each may look at, if bounded."""
    given = None if positions is None else positions.query
    asked = jnp.arange(query.shape[-3]) if given is None else given
    num_keys = key.shape[-3]
    q_pos, every = grid(asked, jnp.arange(num_keys), rank=query.ndim)
    span = mask.span(q_pos)
    if span is None:
        return None
    # Moved inward where it sticks out, a span still holds all of its keys that exist.
    start, width = span
    return q_pos, jnp.clip(start, 0, num_keys - width) + every[..., :width]


def _gather(array: Float[Array, "*B S K H"], k_pos: Int[Array, "*#B 1 T W"]) -> Array:
    """Slices [*B, T, W, K, H], in float32 or wider, for so their gradients are added up."""
    width = k_pos.shape[-1]
    array = array.astype(jnp.result_type(jnp.float32, array))

    def slices(array: Array, starts: Array) -> Array:
        return jax.vmap(lambda start: jax.lax.dynamic_slice_in_dim(array, start, width))(starts)

    return jnp.vectorize(slices, signature="(s,k,h),(t)->(t,w,k,h)")(array, k_pos[..., 0, :, 0])


def _scatter(weights: Array, places: Array, num_keys: int) -> Float[Array, "*B N T S"]:
    """The weights of gathered keys among zeros for all others."""

    def row(weights: Array, places: Array) -> Array:
        return jnp.zeros(num_keys, weights.dtype).at[places].add(weights, unique_indices=True)

    return jnp.vectorize(row, signature="(w),(w)->(s)")(weights, places)
