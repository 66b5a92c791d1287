"""Capabilities of implementations: scores, dtypes, platforms and masks; and the cost of tiles.

A function here that returns `str | None` gives the reason why a capability is missing, or None.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.attention.call import AttentionCall
from attn_research.attention.masks import Tile
from attn_research.attention.normalizers import softmax
from attn_research.attention.scores import Dot, ScaledDot
from attn_research.types import Array, ArrayLike, Float, Int, PyTree, wide_dtype

# Up to here the reference is as fast as tiles, and needs no more memory than they do.
FEW_SCORES, FEW_QUERIES = 2**15, 4


class DotOperands(NamedTuple):
    """The operands of scores (query · key) · scale; no query attends to keys past S' <= S."""

    query: Float[Array, "*B T N H"]
    key: Float[Array, "*B S' K H"]
    value: Float[Array, "*B S' K Hv"]
    scale: float


def dot_operands(call: AttentionCall) -> DotOperands:
    """The operands of a call for which `unsupported_mechanism` gives no reason.

    Dot and ScaledDot keep the dtypes they are given, for kernels accumulate products in float32;
    other scores map queries or keys first, to float32.
    """
    query, key, value, scale = call.query, call.key, call.value, 1.0
    if isinstance(call.score, Dot | ScaledDot):
        scale = 1.0 if isinstance(call.score, Dot) else query.shape[-1] ** -0.5
        both = query.dtype if query.dtype == key.dtype else wide_dtype(query, key)
        query, key = query.astype(both), key.astype(both)
    else:
        _, query, key = call.score.pairwise(query, key)
    return DotOperands(query, *match_heads(key, value[..., : key.shape[-3], :, :]), scale)


def dot_operand_shapes(call: AttentionCall) -> tuple[Any, Any, Any]:
    """The shapes and dtypes of the query, key and value of `dot_operands`."""
    return call.abstract(lambda call: dot_operands(call)[:3])


def match_heads(key: Array, value: Array) -> tuple[Array, Array]:
    """Keys and values repeated to as few heads as both can have."""
    num_heads = math.lcm(key.shape[-2], value.shape[-2])
    key, value = (
        each if each.shape[-2] == num_heads else jnp.repeat(each, num_heads // each.shape[-2], -2)
        for each in (key, value)
    )
    return key, value


def unsupported_mechanism(call: AttentionCall) -> str | None:
    """The reason why the weights are not a plain softmax of products of queries and keys."""
    if call.normalizer != softmax:
        return f"the normalizer {name_of(call.normalizer)} is no plain softmax: use tiled"
    if reason := no_pairwise_form(call):
        return reason
    pair, *_ = call.abstract(lambda call: call.score.pairwise(call.query, call.key))
    return (
        None
        if isinstance(pair, Dot)
        else f"the score {name_of(call.score)} is no product: use tiled"
    )


def unsupported_request(call: AttentionCall, library: str, use: str) -> str | None:
    """The reason why a library of plain softmax attention cannot serve a call; `use` may do so."""
    if name := call.given("bias", "dropout", "capture"):
        return f"{name} is not for {library}: use {'tiled' if name == 'bias' else use}"
    if not call.counted:
        return f"positions count from 0 in {library}: use {use}"
    return unsupported_mechanism(call)


def no_pairwise_form(call: AttentionCall) -> str | None:
    """The reason why scores cannot be computed a tile at a time."""
    if hasattr(call.score, "pairwise"):
        return None
    return f"the score {name_of(call.score)} has no pairwise form: use reference"


def unsupported_dtype(arrays: Sequence[Any], dtypes: Sequence[str]) -> str | None:
    """The first dtype of the arrays that is not supported."""
    for array in arrays:
        if array.dtype not in dtypes:
            return f"{array.dtype} is not of {', '.join(dtypes)}"
    return None


def missing_platform(platform: str) -> str | None:
    """The reason why an implementation for that platform does not run here."""
    here = jax.default_backend()
    return None if here == platform else f"runs on a {platform.upper()}, here is {here}"


def missing_gpu() -> str | None:
    """The reason why kernels for NVIDIA GPUs do not run here."""
    if reason := missing_platform("gpu"):
        return reason
    device = jax.local_devices()[0]
    capability = str(device.compute_capability)
    if not capability[0].isdigit() or float(capability) < 8:
        return f"needs compute capability 8.0, {device.device_kind} has {capability}"
    return None


def missing_batch_axes(call: AttentionCall, name: str) -> str | None:
    """The reason why the arrays of a mask or normalizer cannot be split by batch element."""
    batch = call.batch

    def fits(shape: tuple[int, ...]) -> bool:
        sizes = zip(shape, batch, strict=False)
        return len(shape) >= len(batch) and all(n in (1, size) for n, size in sizes)

    if not all(fits(leaf.shape) for leaf in jax.tree.leaves(getattr(call, name))):
        return f"the {name} has an array without the batch axes {batch}: use reference"
    return None


def too_few_scores(call: AttentionCall) -> str | None:
    """The reason to prefer the reference to tiles of scores."""
    num_queries, num_keys = call.lengths
    if num_queries <= FEW_QUERIES or num_queries * num_keys <= FEW_SCORES:
        return f"{num_queries} x {num_keys} scores are few enough to be whole"
    return None


def kernel_not_preferred(call: AttentionCall) -> str | None:
    """The reason to prefer another implementation to a kernel.

    XLA cannot partition a kernel: on each of several devices it would gather all operands.
    """
    if reason := too_few_scores(call):
        return reason
    if jax.device_count() > 1:
        return "XLA cannot partition a kernel over several devices: name it in pmap or shard_map"
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


def pad_end(array: Array, amounts: dict[int, int]) -> Array:
    """The array with so many zeros after its end, by axis."""
    if not any(amounts.values()):
        return array
    return jnp.pad(array, [(0, amounts.get(axis, 0)) for axis in range(array.ndim)])


def flatten_batch(array: ArrayLike, num_axes: int) -> Array:
    """The leading batch axes as one."""
    array = jnp.asarray(array)
    return array.reshape(math.prod(array.shape[:num_axes]), *array.shape[num_axes:])


def to_wide(tree: PyTree) -> PyTree:
    """The arrays in float32 or wider."""
    return jax.tree.map(lambda array: array.astype(wide_dtype(array)), tree)


def name_of(part: Any) -> str:
    """The name of a score, mask or normalizer."""
    return getattr(part, "__name__", type(part).__name__)
