"""cuDNN's attention, through `jax.nn.dot_product_attention`: bands of positions, in half precision.

What needs a T x S array there is refused here, for it costs more than the kernels save.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import numpy as np

from attn_research.attention.backends.capabilities import (
    cost_of_tiles,
    name_of,
    no_gpu,
    no_softmax_of_products,
    products,
)
from attn_research.attention.backends.reference import Attended
from attn_research.attention.masks import And, Causal, Full, Mask, Positions, Window
from attn_research.attention.normalizers import Dropout
from attn_research.types import Array, Float

# Tests set it to "xla", which takes the same arguments on a CPU.
BACKEND: Literal["cudnn", "xla"] = "cudnn"
MOST_WIDTH = 128
TILE = 128, 128  # that its costs are counted in


def unsupported(
    query: Any,
    key: Any,
    value: Any,
    *,
    score: Callable[..., Array],
    mask: Mask,
    bias: Any,
    normalizer: Callable[..., Array],
    dropout: Dropout | None,
    positions: Positions | None,
    capture: Any,
) -> str | None:
    """Why the arguments of `attend` are not supported, or None where they are."""
    if BACKEND == "cudnn" and (reason := no_gpu()):
        return reason
    for name, given in (("bias", bias), ("dropout", dropout), ("capture", capture)):
        if given is not None:
            return f"{name} is not for cuDNN: use {'pallas' if name != 'bias' else 'tiled'}"
    if positions is not None and not positions.counted:
        return "positions count from 0 in cuDNN: use pallas"
    if reason := no_softmax_of_products(score, normalizer, query, key):
        return reason
    operands = jax.eval_shape(lambda *a: products(*a)[:3], score, query, key, value)
    dtypes = {array.dtype.name for array in operands}
    if len(dtypes) > 1 or not dtypes <= {"bfloat16", "float16"}:
        found = ", ".join(array.dtype.name for array in operands)
        return f"it multiplies {found}, and cuDNN one dtype of 16 bits: use pallas"
    widths = {array.shape[-1] for array in operands}
    if len(widths) > 1 or widths.pop() % 8 or operands[0].shape[-1] > MOST_WIDTH:
        return f"head widths are not all one multiple of 8 up to {MOST_WIDTH}: use pallas"
    band = _band(mask)
    if band is None:
        return f"the mask {name_of(mask)} is no band of positions: use pallas"
    left, right = band
    if right != 0 and (left, right) != (np.inf, np.inf):
        return "a window that looks ahead is not for cuDNN: use pallas"
    if left < np.inf and query.shape[-3] > key.shape[-3]:
        return "a window over fewer keys than queries leaves some of those none: use pallas"
    return None


def attend(
    query: Float[Array, "*B T N H"],
    key: Float[Array, "*B S K H"],
    value: Float[Array, "*B S K H"],
    *,
    score: Callable[..., Array],
    mask: Mask,
    bias: None,
    normalizer: Callable[..., Array],
    dropout: None,
    positions: Positions | None,
    capture: None,
) -> Attended:
    """The reference, by cuDNN; see `api.attend`."""
    left, right = _band(mask)
    operands = products(score, query, key, value)
    batch = query.shape[:-3]
    context = jax.nn.dot_product_attention(
        *(array.reshape(math.prod(batch), *array.shape[-3:]) for array in operands[:3]),
        scale=operands.scale,
        is_causal=right == 0,
        local_window_size=None if left == np.inf else (left, 0),
        implementation=BACKEND,
    )
    return Attended(context.reshape(*batch, *context.shape[1:]), None)


def cost(query: Any, key: Any, value: Any, *, mask: Mask, **others: Any) -> tuple[int, int]:
    """FLOPs of the products and exponentials of tiles that are not empty, and the bytes moved."""
    layout = mask.layout(query.shape[-3], key.shape[-3], TILE)
    return cost_of_tiles(query, value, layout, TILE, 4 * query.shape[-1] + 4)


def _band(mask: Mask) -> tuple[int | float, int | float] | None:
    """(left, right): a query sees the keys from so far before it to so far after it."""
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
