"""Flash attention kernels for Hopper GPUs, forward and backward, in half precision.

They support what `pallas` does, save dropout, for the head widths that they are tuned for. The
kernels are in `forward` and `backward`.
"""

import functools
import importlib.util
from typing import Any

import jax

from attn_research.attention.backends.capabilities import (
    dot_operand_shapes,
    kernel_not_preferred,
    missing_gpu,
    unsupported_dtype,
)
from attn_research.attention.backends.pallas_gpu.backend import unsupported_in_tiles
from attn_research.attention.backends.tiles.calls import Kernels, attend_in_tiles, cost_in_tiles
from attn_research.attention.backends.tiles.numerics import LOG_2
from attn_research.attention.backends.tiles.rules import TileSize
from attn_research.attention.call import Attended, AttentionCall
from attn_research.types import Array

# Tests set it to the parameters of Mosaic's interpreter, to run the kernels on a CPU.
INTERPRET: Any = None
COMPILER = "jax.experimental.pallas.mosaic_gpu"
RELEASE = 0, 11  # of JAX: the first whose compiler has all that the kernels use
DTYPES = ("bfloat16", "float16")
WIDTHS = (64, 128)
# By head width, for each pass: queries and keys of a tile; stages of the inner side, which is
# loaded for every tile; buffers of the outer side. The forward ones are the best of those tried on
# an H200; for the gradients no others were tried: these fit into registers.
FORWARD = {64: ((128, 128), 4, 2), 128: ((128, 128), 2, 2)}
OF_QUERIES = {64: ((128, 128), 3, 2), 128: ((128, 64), 2, 2)}
OF_KEYS = {64: ((64, 128), 4, 2), 128: ((64, 128), 2, 2)}
PROGRAMS = 132  # multiprocessors of an H100 or H200

not_preferred = kernel_not_preferred


def unsupported(call: AttentionCall) -> str | None:
    """The reason why a call is not supported, or None."""
    if not INTERPRET and (reason := _missing_hopper()):
        return reason
    if call.dropout is not None:
        return "dropout is not for this kernel: use pallas"
    if reason := unsupported_dtype((call.query, call.key, call.value), DTYPES):
        return f"{reason}: use pallas"
    if reason := unsupported_in_tiles(call):
        return reason
    operands = dot_operand_shapes(call)
    if len({array.dtype for array in operands}) > 1 or unsupported_dtype(operands, DTYPES):
        return "queries, keys and values are not of one dtype: use pallas"
    widths = {array.shape[-1] for array in operands}
    if len(widths) > 1 or not widths <= set(WIDTHS):
        return f"head widths are not all one of {', '.join(map(str, WIDTHS))}: use pallas"
    return None


def attend(call: AttentionCall) -> Attended:
    """Attention by warp-specialized kernels; see `api.attend`."""
    return attend_in_tiles(Kernels(_attend_tiles, _tiles, lambda *operands: None), call)


def cost(call: AttentionCall) -> tuple[int, int]:
    """FLOPs of the tiles visited, and the bytes moved."""
    return cost_in_tiles(_tiles, call)


def _missing_hopper() -> str | None:
    if reason := missing_gpu() or _missing_compiler():
        return reason
    device = jax.local_devices()[0]
    if str(device.compute_capability) != "9.0":
        return f"is for compute capability 9.0, {device.device_kind} has another: use pallas"
    return None


def _missing_compiler() -> str | None:
    if jax.__version_info__ < RELEASE:
        needed = ".".join(map(str, RELEASE))
        return f"needs jax {needed} or later, here is {jax.__version__}: use pallas"
    if importlib.util.find_spec(COMPILER) is None:
        return f"jax {jax.__version__} has no {COMPILER}: use pallas"
    return None


def _tiles(lengths: tuple[int, int], query: Any, value: Any) -> list[TileSize]:
    return [tuned[query.shape[-1]][0] for tuned in (FORWARD, OF_QUERIES, OF_KEYS)]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend_tiles(plan: Any, *operands: Any) -> tuple[Array, Array]:
    context, log_sum = _forward_kernel(plan, *operands)
    return context, log_sum * LOG_2


# The kernels import modules that older releases of JAX do not have.
def _forward_kernel(plan: Any, *operands: Any) -> tuple[Array, Array]:
    from attn_research.attention.backends.hopper.forward import attend_forward

    tuning = _tuning(FORWARD, operands[0])
    return attend_forward(plan, *operands, tuning=tuning, interpret=INTERPRET)


def _forward(plan: Any, *operands: Any) -> tuple:
    context, log_sum = _forward_kernel(plan, *operands)
    return (context, log_sum * LOG_2), (*operands, context, log_sum)


def _backward(plan: Any, residuals: tuple, cotangents: tuple) -> tuple:
    from attn_research.attention.backends.hopper.backward import gradients

    tunings = tuple(_tuning(tuned, residuals[0]) for tuned in (OF_QUERIES, OF_KEYS))
    return gradients(plan, residuals, cotangents, tunings=tunings, interpret=INTERPRET)


def _tuning(tuned: dict[int, Any], query: Array) -> Any:
    from attn_research.attention.backends.hopper.blocks import Tuning

    _, stages, buffers = tuned[query.shape[-1]]
    return Tuning(stages, buffers, PROGRAMS)


_attend_tiles.defvjp(_forward, _backward)
