"""cuDNN attention, through `jax.nn.dot_product_attention`: bands of positions in half precision.

A mask that would need a T x S array there is refused here, for the array costs more than the
kernels save.
"""

import math
from typing import Literal

import jax
import numpy as np

from attn_research.attention.backends.capabilities import (
    cost_of_tiles,
    dot_operand_shapes,
    dot_operands,
    missing_gpu,
    name_of,
    too_few_scores,
    unsupported_request,
)
from attn_research.attention.call import Attended, AttentionCall
from attn_research.attention.masks import And, Causal, Full, Mask, Window

# Tests set it to "xla", which takes the same arguments on a CPU.
BACKEND: Literal["cudnn", "xla"] = "cudnn"
MOST_WIDTH = 128
TILE = 128, 128  # the unit of its costs

not_preferred = too_few_scores


def unsupported(call: AttentionCall) -> str | None:
    """The reason why a call is not supported, or None."""
    if BACKEND == "cudnn" and (reason := missing_gpu()):
        return reason
    if reason := unsupported_request(call, "cuDNN", use="pallas"):
        return reason
    operands = dot_operand_shapes(call)
    dtypes = {array.dtype.name for array in operands}
    if len(dtypes) > 1 or not dtypes <= {"bfloat16", "float16"}:
        found = ", ".join(array.dtype.name for array in operands)
        return f"it multiplies {found}, and cuDNN one dtype of 16 bits: use pallas"
    widths = {array.shape[-1] for array in operands}
    if len(widths) > 1 or widths.pop() % 8 or operands[0].shape[-1] > MOST_WIDTH:
        return f"head widths are not all one multiple of 8 up to {MOST_WIDTH}: use pallas"
    band = _band(call.mask)
    if band is None:
        return f"the mask {name_of(call.mask)} is no band of positions: use pallas"
    left, right = band
    if right != 0 and (left, right) != (np.inf, np.inf):
        return "a window over later keys is not for cuDNN: use pallas"
    num_queries, num_keys = call.lengths
    if left < np.inf and num_queries > num_keys:
        return "a window over fewer keys than queries leaves some of those none: use pallas"
    return None


def attend(call: AttentionCall) -> Attended:
    """Attention by cuDNN; see `api.attend`."""
    left, right = _band(call.mask)
    operands, batch = dot_operands(call), call.batch
    context = jax.nn.dot_product_attention(
        *(array.reshape(math.prod(batch), *array.shape[-3:]) for array in operands[:3]),
        scale=operands.scale,
        is_causal=right == 0,
        local_window_size=None if left == np.inf else (left, 0),
        implementation=BACKEND,
    )
    return Attended(context.reshape(*batch, *context.shape[1:]), None)


def cost(call: AttentionCall) -> tuple[int, int]:
    """FLOPs of the products and exponentials of tiles that are not empty, and the bytes moved."""
    layout = call.mask.layout(*call.lengths, TILE)
    return cost_of_tiles(call.query, call.value, layout, TILE, 4 * call.query.shape[-1] + 4)


def _band(mask: Mask) -> tuple[int | float, int | float] | None:
    """(left, right): a query attends to keys from so far before it to so far after it."""
    match mask:
        case Full():
            return np.inf, np.inf
        case Causal():
            return np.inf, 0
        case Window(left, right):
            return left, right
        case And(a, b) if (of_a := _band(a)) and (of_b := _band(b)):
            return min(of_a[0], of_b[0]), min(of_a[1], of_b[1])
    return None
