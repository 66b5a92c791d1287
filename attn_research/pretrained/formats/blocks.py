"""Block quantization of GGML: 32 weights of a row share a scale, and in Q4_1 a minimum.

Each block is a float16 scale, the float16 minimum if there is one, and the weights: 32 signed bytes
in Q8_0; 16 bytes in Q4_0 and Q4_1, whose low halves are weights 0 to 15 and whose high halves are
weights 16 to 31.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

BLOCK = 32  # weights

Bytes = UInt8[np.ndarray, "blocks bytes"]
Weights = Float32[np.ndarray, "blocks 32"]


class BlockType(NamedTuple):
    """A kind of block: its bytes, and the function that gives the weights of blocks."""

    size: int
    dequantize: Callable[[Bytes], Weights]


def dequantize_q8_0(blocks: Bytes) -> Weights:
    """scale · q of signed bytes q."""
    return _scaled(blocks[:, 2:].view(np.int8), blocks)


def dequantize_q4_0(blocks: Bytes) -> Weights:
    """scale · (q - 8) of q in 0 to 15."""
    return _scaled(_halves(blocks[:, 2:]).astype(np.int8) - np.int8(8), blocks)


def dequantize_q4_1(blocks: Bytes) -> Weights:
    """scale · q + minimum of q in 0 to 15."""
    return _scaled(_halves(blocks[:, 4:]), blocks) + _float16(blocks[:, 2:4])


def _halves(packed: np.ndarray) -> np.ndarray:
    return np.concatenate([packed & 15, packed >> 4], axis=1)


def _float16(pair: np.ndarray) -> np.ndarray:
    """Two bytes of each block as a number, a column."""
    return np.ascontiguousarray(pair).view("<f2").astype(np.float32)


def _scaled(levels: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # a scale that is not finite, as any weight may be
        return levels.astype(np.float32) * _float16(blocks[:, :2])


BLOCKS = {
    "Q4_0": BlockType(18, dequantize_q4_0),
    "Q4_1": BlockType(20, dequantize_q4_1),
    "Q8_0": BlockType(34, dequantize_q8_0),
}
