"""What kernels of products take of a call, on which platform, and what their tiles cost."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.attention.masks import Tile
from attn_research.attention.normalizers import softmax
from attn_research.attention.scores import Dot, ScaledDot
from attn_research.types import Array, Float, Int


class Products(NamedTuple):
    """Scores as (query · key) · scale, and values; S' <= S, for from there on nothing is seen."""

    query: Float[Array, "*B T N H"]
    key: Float[Array, "*B S' K H"]
    value: Float[Array, "*B S' K Hv"]
    scale: float


def products(score: Callable[..., Array], query: Array, key: Array, value: Array) -> Products:
    """The operands of a score that `no_softmax_of_products` lets pass.

    Dot and ScaledDot keep the dtypes they are given, for kernels add products up in float32; other
    scores map queries or keys first, to float32.
    """
    scale = 1.0
    if isinstance(score, Dot | ScaledDot):
        scale = 1.0 if isinstance(score, Dot) else query.shape[-1] ** -0.5
        both = jnp.result_type(query, key)
        query, key = query.astype(both), key.astype(both)
    else:
        _, query, key = score.pairwise(query, key)
    return Products(query, *same_heads(key, value[..., : key.shape[-3], :, :]), scale)


def same_heads(key: Array, value: Array) -> tuple[Array, Array]:
    """Keys and values repeated to as few heads as both can have."""
    num_heads = math.lcm(key.shape[-2], value.shape[-2])
    key, value = (
        each if each.shape[-2] == num_heads else jnp.repeat(each, num_heads // each.shape[-2], -2)
        for each in (key, value)
    )
    return key, value


def no_softmax_of_products(
    score: Callable[..., Array], normalizer: Callable[..., Array], query: Any, key: Any
) -> str | None:
    """Why weights are not a plain softmax of products of queries and keys, or None if they are."""
    if normalizer != softmax:
        return f"the normalizer {name_of(normalizer)} is no plain softmax: use tiled"
    name = name_of(score)
    if not hasattr(score, "pairwise"):
        return f"the score {name} has no pairwise form"
    pair, *_ = jax.eval_shape(lambda s, q, k: s.pairwise(q, k), score, query, key)
    return None if isinstance(pair, Dot) else f"the score {name} is no product: use tiled"


def other_dtype(arrays: Sequence[Any], dtypes: Sequence[str]) -> str | None:
    """Which dtype of the arrays is none of those, or None where all are."""
    for array in arrays:
        if array.dtype not in dtypes:
            return f"{array.dtype} is not of {', '.join(dtypes)}"
    return None


def elsewhere(platform: str) -> str | None:
    """Why what runs on a platform does not run here, or None where it does."""
    here = jax.default_backend()
    return None if here == platform else f"runs on a {platform.upper()}, here is {here}"


def on_many_devices(*arrays: Any, **options: Any) -> str | None:
    """Why a kernel is not for programs that several devices may share, or None where they do not.

    XLA cannot cut a kernel into parts: it would gather on every device all that the kernel takes.
    """
    if jax.device_count() > 1:
        return (
            "of several devices each must have its own part, as in pmap or shard_map: name it there"
        )
    return None


def no_gpu() -> str | None:
    """Why kernels for NVIDIA's GPUs do not run here, or None where they do."""
    if reason := elsewhere("gpu"):
        return reason
    device = jax.local_devices()[0]
    capability = str(device.compute_capability)
    if not capability[0].isdigit() or float(capability) < 8:
        return f"needs compute capability 8.0, {device.device_kind} has {capability}"
    return None


def without_batch(what: str, held: Any, batch: tuple[int, ...]) -> str | None:
    """Why arrays held by a part cannot be split by batch element, or None where they can."""
    if any(leaf.shape[: len(batch)] != batch for leaf in jax.tree.leaves(held)):
        return f"the {what} has an array without the batch axes {batch}"
    return None


def cost_of_tiles(
    query: Any,
    value: Any,
    layout: Int[np.ndarray, "rows cols"],
    tile: tuple[int, int],
    per_score: int,
) -> tuple[int, int]:
    """FLOPs of `per_score` for each score of a tile that is not empty, and bytes read and written.

    Queries are read and contexts written once, keys and values once for each tile.
    """
    *batch, num_queries, num_heads, width = query.shape
    rows, widths = math.prod(batch) * num_heads, width + value.shape[-1]
    visits = rows * np.count_nonzero(layout != Tile.EMPTY)
    tile_q, tile_k = tile
    moved = rows * num_queries * (widths + 1) + visits * tile_k * widths
    return int(visits * tile_q * tile_k * per_score), int(query.dtype.itemsize * moved)


def padded(array: Array, more: dict[int, int]) -> Array:
    """The array with so many zeros after it, by axis."""
    if not any(more.values()):
        return array
    return jnp.pad(array, [(0, more.get(axis, 0)) for axis in range(array.ndim)])


def name_of(part: Any) -> str:
    """What a score or normalizer is called."""
    return getattr(part, "__name__", type(part).__name__)
