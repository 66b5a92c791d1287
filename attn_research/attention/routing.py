"""Routing attention: tokens attend within the cluster of a k-means that they belong to.

Roy, Saffar, Vaswani, Grangier 2020, section 4.1. Each cluster takes the same number of queries and
of keys, those nearest to its centroid, so that with √T clusters of √T tokens time grows with T^1.5.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from einops import rearrange
from jax import lax

from attn_research.attention.array_masks import Padding
from attn_research.attention.by_content import allowed_in_groups, check_captures_all
from attn_research.attention.call import Attended, AttentionCall, Capture
from attn_research.attention.masks import Full, Mask
from attn_research.types import Array, Bool, Float, Int, wide_dtype


def routing_attend(
    query: Float[Array, "*B T N H"],
    key: Float[Array, "*B T N H"],
    value: Float[Array, "*B T N Hv"],
    centroids: Float[Array, "_ clusters _"],
    *,
    size: int,
    mask: Mask = Full(),
    valid: Bool[Array, "*B T"] | None = None,
    capture: Literal["all"] | Capture | None = None,
) -> Attended:
    """Attention of the `size` queries nearest to each centroid to the `size` keys nearest to it.

    Nearness is the cosine, and centroids are [N, clusters, H]. With the same array as `query` and
    `key`, which the paper has in causal attention, a cluster has the same queries and keys. A token
    may be in several clusters, or in none: a pair in c common clusters has c times its
    weight before the softmax sums to 1, and a query in none has context 0. Scores are scaled by
    1 / √H, where the paper has vectors of length 1, and the mask is one of `attend`. `valid` is
    false at padding, which takes the place of no token and is attended to by none. No gradient
    reaches the choice of tokens; centroids move by `update_centroids`.
    """
    mask = mask if valid is None else mask & Padding(valid)
    call = AttentionCall(query, key, value, mask=mask, capture=capture).checked()
    _check(call, centroids, size)
    batch, num_heads, (length, _) = call.batch, call.heads[0], call.lengths
    dtype = wide_dtype(query, key, value)
    rows = *batch, num_heads

    def nearest(vectors: Array) -> Int[Array, "*B N clusters size"]:
        """The tokens nearest to each centroid, in their order."""
        nearness = jnp.einsum("...tnh,nch->...nct", _unit(vectors), _unit(centroids))
        if valid is not None:
            nearness = jnp.where(valid[..., None, None, :], nearness, -jnp.inf)
        _, found = lax.top_k(lax.stop_gradient(nearness), size)
        return jnp.sort(found, axis=-1).astype(jnp.int32)

    index = nearest(query)
    k_index = index if key is query else nearest(key)

    def members(array: Array, index: Array) -> Array:
        """[*B, T, N, H] as [*B, N, clusters, size, H]."""
        array = rearrange(array.astype(dtype), "... t n h -> ... n t h")
        flat = index.reshape(*rows, -1)[..., None]
        return jnp.take_along_axis(array, flat, axis=-2).reshape(*index.shape, -1)

    scores = jnp.einsum("...cqh,...ckh->...cqk", members(query, index), members(key, k_index))
    scores = scores * query.shape[-1] ** -0.5
    may = allowed_in_groups(call.mask.of_heads(batch, num_heads), index, k_index)
    # Clusters of a query are joined by the greatest of its scores in all of them.
    lowest = float(jnp.finfo(dtype).min)
    highest = lax.stop_gradient(jnp.where(may, scores, lowest).max(axis=-1))
    row_max = _to_rows(index, highest[..., None], length, "max", lowest)
    here = jnp.take_along_axis(row_max[..., 0], index.reshape(*rows, -1), axis=-1)
    shifted = jnp.where(may, scores - here.reshape(*index.shape, 1), 0)
    probs = jnp.where(may, jnp.exp(shifted), 0)
    context = jnp.einsum("...cqk,...ckh->...cqh", probs, members(value, k_index))
    total = _to_rows(index, probs.sum(axis=-1, keepdims=True), length, "add", 0.0)
    share = jnp.where(total > 0, 1 / jnp.where(total > 0, total, 1), 0)
    context = _to_rows(index, context, length, "add", 0.0) * share
    weights = None
    if capture:
        columns = jax.nn.one_hot(k_index, length, dtype=dtype)  # [*B, N, clusters, size, T]
        of_rows = jnp.einsum("...cqk,...cks->...cqs", probs, columns)
        weights = _to_rows(index, of_rows, length, "add", 0.0) * share
    return Attended(rearrange(context, "... n t h -> ... t n h").astype(value.dtype), weights)


def update_centroids(
    centroids: Float[Array, "N clusters H"],
    vectors: Float[Array, "*B T N H"],
    decay: float = 0.999,
    *,
    valid: Bool[Array, "*B T"] | None = None,
) -> Float[Array, "N clusters H"]:
    """A step of online spherical k-means: centroids of length 1, nearer the mean of their vectors.

    Each vector belongs to the nearest centroid; one that has none stays. `valid` is false at
    padding, which moves none. Section 4.1.
    """
    centroids = _unit(centroids)
    sums, count = _members(centroids, vectors, valid)
    moved = decay * centroids + (1 - decay) * sums / jnp.maximum(count, 1)
    return _unit(jnp.where(count > 0, moved, centroids))


def centroid_gradient(
    centroids: Float[Array, "N clusters H"],
    vectors: Float[Array, "*B T N H"],
    *,
    valid: Bool[Array, "*B T"] | None = None,
) -> Float[Array, "N clusters H"]:
    """The gradient of spherical k-means by its centroids: Σ ½ |c - v|² over vectors of length 1.

    Each vector belongs to the nearest centroid, by the cosine; `valid` is false at padding.
    """
    sums, count = _members(_unit(centroids), lax.stop_gradient(vectors), valid)
    return (count * lax.stop_gradient(centroids) - sums).astype(centroids.dtype)


def _members(centroids: Array, vectors: Array, valid: Array | None) -> tuple[Array, Array]:
    """The sum of the vectors [N, clusters, H] that belong to each centroid, and their number."""
    vectors = _unit(vectors)
    nearest = jnp.einsum("...tnh,nch->...tnc", vectors, centroids).argmax(axis=-1)
    chosen = jax.nn.one_hot(nearest, centroids.shape[1], dtype=vectors.dtype)
    chosen = chosen if valid is None else chosen * valid[..., None, None]
    lead = "abdefg"[: vectors.ndim - 3]
    sums = jnp.einsum(f"{lead}tnc,{lead}tnh->nch", chosen, vectors)
    return sums, chosen.sum(axis=tuple(range(chosen.ndim - 2)))[..., None]


def _unit(vectors: Array) -> Array:
    wide = vectors.astype(wide_dtype(vectors))
    return wide * lax.rsqrt(jnp.maximum(jnp.sum(wide * wide, axis=-1, keepdims=True), 1e-12))


def _to_rows(index: Array, array: Array, length: int, kind: str, start: float) -> Array:
    """Entries of cluster members [*B, N, clusters, size, ...] joined by token [*B, N, T, ...]."""

    def of_one(index: Array, array: Array) -> Array:
        found = jnp.full((length, array.shape[-1]), start, array.dtype).at[index]
        return found.max(array) if kind == "max" else found.add(array)

    for _ in index.shape[:-2]:
        of_one = jax.vmap(of_one)
    return of_one(
        index.reshape(*index.shape[:-2], -1), array.reshape(*index.shape[:-2], -1, array.shape[-1])
    )


def _check(call: AttentionCall, centroids: Array, size: int) -> None:
    if call.lengths[0] != call.lengths[1] or call.heads[0] != call.heads[1]:
        raise ValueError(
            f"query {call.query.shape}, key {call.key.shape}: clusters are of one sequence, where "
            "each head has its own keys"
        )
    if not 1 <= size <= call.lengths[0]:
        raise ValueError(f"size={size} of {call.lengths[0]} tokens: give 1 or more, and no more")
    needed = call.heads[0], call.query.shape[-1]
    if centroids.ndim != 3 or (centroids.shape[0], centroids.shape[2]) != needed:
        raise ValueError(
            f"centroids have shape {centroids.shape}: give ({needed[0]}, clusters, {needed[1]})"
        )
    check_captures_all(call)
