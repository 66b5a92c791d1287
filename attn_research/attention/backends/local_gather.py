"""Local attention that gathers the few keys of each query's window, and scores no others.

Time and memory grow with T times the width of the window instead of T times S, for a whole sequence
as for one decode step.
"""

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from attn_research.attention.call import Attended, AttentionCall, captured
from attn_research.attention.masks import Tile
from attn_research.attention.normalizers import in_tiles
from attn_research.attention.positions import grid
from attn_research.types import Array, Float, Int, wide_dtype


def unsupported(call: AttentionCall) -> str | None:
    """The reason why a call is not supported, or None."""
    if call.at.key is not None:
        return "the keys have positions of their own: use tiled"
    if getattr(call.score, "depends_on_index", False):
        return f"a {type(call.score).__name__} score depends on the index of the key: use tiled"
    if call.bias is not None and not callable(call.bias) and call.bias.shape[-1] > 1:
        return "the bias is an array over the keys: give a function of positions, or use tiled"
    windows = call.abstract(_windows)
    if windows is None:
        return "the mask sets no bound to the keys of a query: use tiled"
    width, num_keys = windows[1].shape[-1], call.lengths[1]
    if 2 * width > num_keys:
        return (
            f"the mask lets a query attend to {width} of {num_keys} keys, which is more than half: "
            "use tiled"
        )
    return None


# Measured by experiments.benchmarks.attention: for more queries than those, a key that is gathered
# takes as long as so many keys of a tile.
FEW_QUERIES, KEYS_FOR_ONE = 32, 45


def not_preferred(call: AttentionCall) -> str | None:
    """The reason to prefer tiles, or None."""
    num_queries, num_keys = call.lengths
    for_tiles = hasattr(call.score, "pairwise") and in_tiles(call.normalizer)
    if num_queries <= FEW_QUERIES or not for_tiles:
        return None
    visited = num_keys
    if call.positions is None:
        layout = call.mask.layout(num_queries, num_keys, 256)
        visited = num_keys * np.mean(layout != Tile.EMPTY)
    width = call.abstract(_windows)[1].shape[-1]
    if visited < KEYS_FOR_ONE * width:
        return f"to gather {width} keys for each of {num_queries} queries is slower than tiles"
    return None


def attend(call: AttentionCall) -> Attended:
    """Attention over gathered keys; see `api.attend`."""
    q_pos, k_pos = _windows(call)
    bias, dropout = call.bias, call.dropout
    words = None
    if dropout is not None:
        words = dropout.rows((*call.batch, call.heads[0], call.lengths[0]))

    # Each query becomes a batch of its own with its own keys. They are W times as large as the
    # queries: to gather them again in the backward pass costs less than to store them, most of all
    # in a recurrent decoder, which would store them for every step.
    @jax.checkpoint
    def attend_locally(query: Array, key: Array, value: Array) -> tuple[Array, Array]:
        scores = call.score(query[..., None, :, :], _gather(key, k_pos))
        scores = rearrange(scores, "... t n 1 w -> ... n t w")
        if bias is not None:
            scores = scores + (bias(q_pos, k_pos) if callable(bias) else bias)
        weights = call.normalizer(scores, call.mask(q_pos, k_pos), k_pos)
        kept = weights if dropout is None else weights * dropout.factor(words, k_pos)
        rows = rearrange(kept, "... (k g) t w -> ... t k g w", k=value.shape[-2])
        values = rearrange(_gather(value, k_pos), "... t w k h -> ... t k w h")
        context = jnp.matmul(rows, values).astype(value.dtype)
        return rearrange(context, "... t k g h -> ... t (k g) h"), weights

    context, weights = attend_locally(call.query, call.key, call.value)
    weights_of_windows = captured(weights, call.capture)
    if weights_of_windows is None:
        return Attended(context, None)
    indices = captured(jnp.broadcast_to(k_pos, weights.shape), call.capture)
    return Attended(context, _scatter(weights_of_windows, indices, call.lengths[1]))


def _windows(
    call: AttentionCall,
) -> tuple[Int[Array, "*#B 1 T 1"], Int[Array, "*#B 1 T W"]] | None:
    """Positions of the queries, and of keys that hold all that each may attend to, if bounded."""
    num_queries, num_keys = call.lengths
    given = call.at.query
    queries = jnp.arange(num_queries) if given is None else given
    q_pos, every = grid(queries, jnp.arange(num_keys), rank=call.query.ndim)
    span = call.mask.span(q_pos)
    if span is None:
        return None
    # Moved inward where it reaches past an end, a span still holds all of its keys that exist.
    start, width = span
    return q_pos, jnp.clip(start, 0, num_keys - width) + every[..., :width]


def _gather(array: Float[Array, "*B S K H"], k_pos: Int[Array, "*#B 1 T W"]) -> Array:
    """Slices [*B, T, W, K, H], in float32 or wider, so that their gradients are added up in it."""
    width = k_pos.shape[-1]
    array = array.astype(wide_dtype(array))

    def slices(array: Array, starts: Array) -> Array:
        return jax.vmap(lambda start: jax.lax.dynamic_slice_in_dim(array, start, width))(starts)

    return jnp.vectorize(slices, signature="(s,k,h),(t)->(t,w,k,h)")(array, k_pos[..., 0, :, 0])


def _scatter(weights: Array, indices: Array, num_keys: int) -> Float[Array, "*B N T S"]:
    """The weights of gathered keys, among zeros for all others."""

    def row(weights: Array, indices: Array) -> Array:
        return jnp.zeros(num_keys, weights.dtype).at[indices].add(weights, unique_indices=True)

    return jnp.vectorize(row, signature="(w),(w)->(s)")(weights, indices)
