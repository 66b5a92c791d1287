"""Kernels of accelerators interpreted on a CPU, an operation at a time."""

from collections.abc import Callable
from typing import Any

import jax

from attn_research.attention.backends import cudnn, splash
from attn_research.attention.backends.hopper import backend as hopper
from attn_research.attention.backends.pallas_gpu import backend as pallas_gpu


def interpret_kernels(assign: Callable[[Any, str, Any], None] = setattr) -> None:
    """Makes every kernel run on this CPU; `assign` sets the attributes of modules that say so."""
    assign(cudnn, "BACKEND", "xla")
    for kernels in (pallas_gpu, splash):
        assign(kernels, "INTERPRET", True)
    if jax.__version_info__ >= hopper.RELEASE:  # before, it is refused for that
        from jax.experimental.pallas import mosaic_gpu

        assign(hopper, "INTERPRET", mosaic_gpu.InterpretGPUParams())
