"""Kernels of our own for GPUs, of any mask that has a rule by tile; `pallas_kernels` holds them.

Widths are padded to powers of two, lengths to whole tiles. In a `jit` over several devices
XLA gathers what a kernel takes: call it in a `shard_map` there. Products of float32 are of the
precision that JAX is set to, which on a GPU is TF32 unless `jax.default_matmul_precision` says
otherwise, as for all products.
"""

import functools
import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

from jax.experimental import pallas as pl

from attn_research.attention.backends.capabilities import (
    no_gpu,
    no_softmax_of_products,
    other_dtype,
    without_batch,
)
from attn_research.attention.backends.pallas_gpu import kernels as pallas_kernels
from attn_research.attention.backends.reference import Attended
from attn_research.attention.backends.tiles.calls import (
    LEAST,
    attend_by_tiles,
    cost_by_tiles,
    no_tile_rule,
    power,
)
from attn_research.attention.backends.tiles.rules import TileSize
from attn_research.attention.masks import Mask, Positions
from attn_research.types import Array, Float

# Tests set it, to run the kernels on a CPU, an operation at a time.
INTERPRET = False
COMPILER = "jax.experimental.pallas.triton"
DTYPES = ("float32", "bfloat16", "float16")
# By the bytes of a row at most: queries and keys of a tile, forward and in the passes of gradients
# of queries and of keys; and loads ahead. Measured on an H200 in bfloat16, causal, at 4096 tokens.
# Tiles of still wider rows are smaller.
TILES = {128: ((64, 64), (64, 64), (64, 64)), 256: ((128, 64), (64, 64), (64, 64))}
STAGES = {128: 3, 256: 2}
MOST_WIDTH = 256


def unsupported(*arrays: Any, **options: Any) -> str | None:
    """Why the arguments of `attend` are not supported, or None where they are."""
    if not INTERPRET and (reason := no_gpu() or _no_compiler()):
        return reason
    return no_tiles(*arrays, **options)


def no_tiles(
    query: Any,
    key: Any,
    value: Any,
    *,
    score: Callable[..., Array],
    mask: Mask,
    bias: Any,
    normalizer: Callable[..., Array],
    positions: Positions | None,
    **others: Any,
) -> str | None:
    """Why no kernel that visits tiles has rules for the arguments, or None where one does."""
    if bias is not None:
        return "a bias is not added by the kernels: use tiled"
    if reason := no_softmax_of_products(score, normalizer, query, key):
        return reason
    if reason := other_dtype((query, key, value), DTYPES):
        return reason
    if (width := max(query.shape[-1], key.shape[-1], value.shape[-1])) > MOST_WIDTH:
        return f"a head width of {width} is more than {MOST_WIDTH}"
    batch, sizes = query.shape[:-3], (query.shape[-3], key.shape[-3])
    if reason := without_batch("mask", mask, batch):
        return reason
    return no_tile_rule(mask, positions, batch, *sizes)


def attend(
    query: Float[Array, "*B T N H"],
    key: Float[Array, "*B S K Hk"],
    value: Float[Array, "*B S K Hv"],
    **options: Any,
) -> Attended:
    """The reference, tile after tile in kernels; see `api.attend`."""
    how = pallas_kernels.attend_tiles, kernel_call, tiles
    return attend_by_tiles(*how, query, key, value, **options)


def cost(*arrays: Any, **options: Any) -> tuple[int, int]:
    """FLOPs of the tiles visited, and the bytes moved."""
    return cost_by_tiles(tiles, *arrays, **options)


def _no_compiler() -> str | None:
    if importlib.util.find_spec(COMPILER) is None:
        return f"this version of JAX has no {COMPILER}: use cudnn or tiled"
    return None


def kernel_call(query: Any, value: Any) -> Callable[..., Any]:
    """`pl.pallas_call`, for a GPU or interpreted."""
    if INTERPRET:
        return functools.partial(pl.pallas_call, interpret=True)
    compiler = importlib.import_module(COMPILER)
    row, most = _row(query, value), max(STAGES)
    # Wider rows overflow into memory with fewer warps.
    params = compiler.CompilerParams(
        num_warps=4 if row <= most else 8, num_stages=STAGES[_class(row, STAGES)]
    )
    return functools.partial(pl.pallas_call, compiler_params=params)


def tiles(lengths: tuple[int, int], query: Any, value: Any) -> list[TileSize]:
    """The tile of each pass: smaller where heads are wide or there is little to take."""
    row = _row(query, value)
    fewer = max(1, row // max(TILES))
    return [
        tuple(
            max(LEAST, min(size // fewer, power(length)))
            for size, length in zip(tile, lengths, strict=True)
        )
        for tile in TILES[_class(row, TILES)]
    ]


def _row(query: Any, value: Any) -> int:
    """Bytes of the widest row."""
    return max(power(query.shape[-1]), power(value.shape[-1])) * query.dtype.itemsize


def _class(row: int, classes: dict[int, Any]) -> int:
    return min((most for most in classes if row <= most), default=max(classes))
