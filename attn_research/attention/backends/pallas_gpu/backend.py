"""Pallas flash attention for NVIDIA GPUs: any mask that has a rule by tile.

Head widths are padded to powers of two, lengths to whole tiles. In a `jit` over several devices
XLA gathers the operands of a kernel: call it in a `shard_map` there. Products of float32 have the
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
    kernel_not_preferred,
    missing_batch_axes,
    missing_gpu,
    unsupported_dtype,
    unsupported_mechanism,
)
from attn_research.attention.backends.pallas_gpu.kernels import attend_tiles
from attn_research.attention.backends.tiles.calls import (
    LEAST,
    Kernels,
    attend_in_tiles,
    cost_in_tiles,
    missing_tile_rule,
    power_of_two,
)
from attn_research.attention.backends.tiles.rules import TileSize
from attn_research.attention.call import Attended, AttentionCall

# Tests set it, to run the kernels on a CPU, an operation at a time.
INTERPRET = False
COMPILER = "jax.experimental.pallas.triton"
DTYPES = ("float32", "bfloat16", "float16")
# By the most bytes of a row: queries and keys of a tile, in the forward pass and in the passes for
# the gradients of queries and of keys; and the stages of loads ahead of their use. Measured on an
# H200 in bfloat16, causal, at 4096 tokens. Tiles of still wider rows are smaller.
TILES = {128: ((64, 64), (64, 64), (64, 64)), 256: ((128, 64), (64, 64), (64, 64))}
STAGES = {128: 3, 256: 2}
MOST_WIDTH = 256

not_preferred = kernel_not_preferred


def unsupported(call: AttentionCall) -> str | None:
    """The reason why a call is not supported, or None."""
    if not INTERPRET and (reason := missing_gpu() or _missing_compiler()):
        return reason
    return unsupported_in_tiles(call)


def unsupported_in_tiles(call: AttentionCall) -> str | None:
    """The reason why no kernel that visits tiles supports a call, or None where one does."""
    if call.bias is not None:
        return "a bias is not added by the kernels: use tiled"
    if reason := unsupported_mechanism(call):
        return reason
    operands = call.query, call.key, call.value
    if reason := unsupported_dtype(operands, DTYPES):
        return reason
    if (width := max(array.shape[-1] for array in operands)) > MOST_WIDTH:
        return f"a head width of {width} is more than {MOST_WIDTH}"
    return missing_batch_axes(call, "mask") or missing_tile_rule(call)


def attend(call: AttentionCall) -> Attended:
    """Attention by Pallas kernels; see `api.attend`."""
    return attend_in_tiles(Kernels(attend_tiles, tiles, pallas_call), call)


def cost(call: AttentionCall) -> tuple[int, int]:
    """FLOPs of the tiles visited, and the bytes moved."""
    return cost_in_tiles(tiles, call)


def _missing_compiler() -> str | None:
    if importlib.util.find_spec(COMPILER) is None:
        return f"this version of JAX has no {COMPILER}: use cudnn or tiled"
    return None


def pallas_call(query: Any, value: Any) -> Callable[..., Any]:
    """`pl.pallas_call`, for a GPU or interpreted."""
    if INTERPRET:
        return functools.partial(pl.pallas_call, interpret=True)
    compiler = importlib.import_module(COMPILER)
    row, most = _row_bytes(query, value), max(STAGES)
    # Wider rows spill registers with fewer warps.
    params = compiler.CompilerParams(
        num_warps=4 if row <= most else 8, num_stages=STAGES[_size_class(row, STAGES)]
    )
    return functools.partial(pl.pallas_call, compiler_params=params)


def tiles(lengths: tuple[int, int], query: Any, value: Any) -> list[TileSize]:
    """The tile of each pass: smaller where heads are wide or sequences short."""
    row = _row_bytes(query, value)
    fewer = max(1, row // max(TILES))
    return [
        tuple(
            max(LEAST, min(size // fewer, power_of_two(length)))
            for size, length in zip(tile, lengths, strict=True)
        )
        for tile in TILES[_size_class(row, TILES)]
    ]


def _row_bytes(query: Any, value: Any) -> int:
    """The bytes of the widest row."""
    return max(power_of_two(query.shape[-1]), power_of_two(value.shape[-1])) * query.dtype.itemsize


def _size_class(row: int, classes: dict[int, Any]) -> int:
    return min((most for most in classes if row <= most), default=max(classes))
