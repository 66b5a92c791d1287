"""Kernels of our own for Hopper, forward and of gradients, for products in half precision.

They take what `pallas` takes, save dropout, of the head widths that they are tuned for; what blocks
do stands in `hopper_forward` and `hopper_backward`.
"""

import functools
import importlib.util
from typing import Any

import jax

from attn_research.attention.backends.capabilities import no_gpu, other_dtype, products
from attn_research.attention.backends.pallas_gpu import backend as pallas
from attn_research.attention.backends.pallas_gpu import kernels as pallas_kernels
from attn_research.attention.backends.reference import Attended
from attn_research.attention.backends.tiles.calls import attend_by_tiles, cost_by_tiles
from attn_research.attention.backends.tiles.rules import TileSize
from attn_research.types import Array, Float

# Tests set it to the parameters of Mosaic's interpreter, to run the kernels on a CPU.
INTERPRET: Any = None
COMPILER = "jax.experimental.pallas.mosaic_gpu"
RELEASE = 0, 11  # of JAX: the first whose compiler knows all that the kernels say
DTYPES = ("bfloat16", "float16")
WIDTHS = (64, 128)
# By head width, for each pass: queries and keys of a tile, tiles of the side that is loaded again
# and again in shared memory at a time, and those of the other side. The forward ones are the best
# of those tried on an H200; of those for gradients no others were: they fit into registers.
FORWARD = {64: ((128, 128), 4, 2), 128: ((128, 128), 2, 2)}
OF_QUERIES = {64: ((128, 128), 3, 2), 128: ((128, 64), 2, 2)}
OF_KEYS = {64: ((64, 128), 4, 2), 128: ((64, 128), 2, 2)}
PROGRAMS = 132  # multiprocessors of an H100 or H200


def unsupported(query: Any, key: Any, value: Any, *, dropout: Any, **options: Any) -> str | None:
    """Why the arguments of `attend` are not supported, or None where they are."""
    if not INTERPRET and (reason := _elsewhere()):
        return reason
    if dropout is not None:
        return "dropout is not for this kernel: use pallas"
    if reason := other_dtype((query, key, value), DTYPES):
        return f"{reason}: use pallas"
    if reason := pallas.no_tiles(query, key, value, **options):
        return reason
    pair = jax.eval_shape(lambda *a: products(*a)[:3], options["score"], query, key, value)
    if len({array.dtype for array in pair}) > 1 or other_dtype(pair, DTYPES):
        return "queries, keys and values are not of one dtype: use pallas"
    widths = {array.shape[-1] for array in pair}
    if len(widths) > 1 or not widths <= set(WIDTHS):
        return f"head widths are not all one of {', '.join(map(str, WIDTHS))}: use pallas"
    return None


def attend(
    query: Float[Array, "*B T N H"],
    key: Float[Array, "*B S K H"],
    value: Float[Array, "*B S K H"],
    **options: Any,
) -> Attended:
    """The reference, by warpgroups; see `api.attend`."""
    how = _attend_tiles, lambda *operands: None, _tiles
    return attend_by_tiles(*how, query, key, value, **options)


def cost(*arrays: Any, **options: Any) -> tuple[int, int]:
    """FLOPs of the tiles visited, and the bytes moved."""
    return cost_by_tiles(_tiles, *arrays, **options)


def _elsewhere() -> str | None:
    if reason := no_gpu() or _no_compiler():
        return reason
    device = jax.local_devices()[0]
    if str(device.compute_capability) != "9.0":
        return f"is for compute capability 9.0, {device.device_kind} has another: use pallas"
    return None


def _no_compiler() -> str | None:
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
    return context, log_sum * pallas_kernels.LOG_2


# The kernels import what older releases of JAX do not have.
def _forward_kernel(plan: Any, query: Array, *others: Any) -> tuple[Array, Array]:
    from attn_research.attention.backends.hopper import forward as hopper_forward

    tuning = _tuning(FORWARD, query)
    return hopper_forward.attend_forward(plan, tuning, INTERPRET, query, *others)


def _forward(plan: Any, *operands: Any) -> tuple:
    context, log_sum = _forward_kernel(plan, *operands)
    return (context, log_sum * pallas_kernels.LOG_2), (*operands, context, log_sum)


def _backward(plan: Any, residuals: tuple, cotangents: tuple) -> tuple:
    from attn_research.attention.backends.hopper import backward as hopper_backward

    tunings = tuple(_tuning(tuned, residuals[0]) for tuned in (OF_QUERIES, OF_KEYS))
    return hopper_backward.backward(plan, tunings, INTERPRET, residuals, cotangents)


def _tuning(tuned: dict[int, Any], query: Array) -> Any:
    from attn_research.attention.backends.hopper import blocks as hopper_parts

    _, stages, buffers = tuned[query.shape[-1]]
    return hopper_parts.Tuning(stages, buffers, PROGRAMS)


_attend_tiles.defvjp(_forward, _backward)
