"""GGUF files, versions 2 and 3: keys and values about a model, and its tensors.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from attn_research.pretrained.formats.binary import (
    DAMAGED,
    BinaryReader,
    checked_bytes,
    load_array,
)
from attn_research.pretrained.formats.blocks import BLOCK, BLOCKS, BlockType
from attn_research.pretrained.tensors import StoredTensor

MAGIC = b"GGUF"

_VERSIONS = (2, 3)
_MAX_AXES = 4
_MAX_ALIGNMENT = 1 << 16
_STRING, _ARRAY, _BOOL = 8, 9, 7
# The letters of the module struct, by the number of a type.
_NUMBERS = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", _BOOL: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
_PLAIN = {
    0: np.float32, 1: np.float16, 24: np.int8, 25: np.int16, 26: np.int32, 27: np.int64,
    28: np.float64, 30: ml_dtypes.bfloat16,
}  # fmt: skip
_QUANTIZED = {2: "Q4_0", 3: "Q4_1", 8: "Q8_0"}
_OTHERS = {
    6: "Q5_0", 7: "Q5_1", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K",
    15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S",
    22: "IQ2_S", 23: "IQ4_XS", 29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4",
}  # fmt: skip


class GGUF(NamedTuple):
    """What a GGUF file holds.

    Values of `metadata` are numbers, strings, lists of strings and arrays of numbers; those of the
    tokenizer begin with "tokenizer.".
    """

    metadata: dict[str, Any]
    tensors: dict[str, StoredTensor]


class _Header(NamedTuple):
    """What stands of a tensor before the data: its shape, its type, and where its data begin."""

    shape: tuple[int, ...]
    kind: int
    offset: int


def read_gguf(path: Path) -> GGUF:
    """The metadata and the tensors of a GGUF file; quantized weights are read as float32.

    A shape has the order of NumPy's: its last axis is the one that lies together. A ValueError
    names a type of quantization that is not read, and what is damaged.
    """
    with path.open("rb") as file:
        reader = BinaryReader(file, path)
        if reader.take(len(MAGIC), "the magic number") != MAGIC:
            raise ValueError(f"{path}: no GGUF file, which begins with GGUF: {DAMAGED}")
        version = reader.number("I", "the version")
        if version not in _VERSIONS:
            raise ValueError(
                f"{path}: GGUF version {version} is not read, 2 and 3 little-endian are"
            )
        num_tensors = reader.count("Q", "tensors")
        num_values = reader.count("Q", "values")
        metadata: dict[str, Any] = {}
        for _ in range(num_values):
            key = _string(reader, "a key")
            _add(metadata, key, _value(reader, f"the value of {key[:80]!r}"), path)
        headers: dict[str, _Header] = {}
        for _ in range(num_tensors):
            name = _string(reader, "the name of a tensor")
            _add(headers, name, _header(reader, f"the header of {name[:80]!r}"), path)
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 0 < alignment <= _MAX_ALIGNMENT:
            raise ValueError(f"{path}: general.alignment is {alignment!r}: {DAMAGED}")
        start = math.ceil(reader.place / alignment) * alignment
    return GGUF(metadata, _place(headers, start, path, reader.size))


def _add(found: dict[str, Any], name: str, value: Any, path: Path) -> None:
    if name in found:
        raise ValueError(f"{path}: two entries are called {name[:80]!r}: {DAMAGED}")
    found[name] = value


def _string(reader: BinaryReader, what: str) -> str:
    return reader.text(reader.number("Q", f"the length of {what}"), what)


def _value(reader: BinaryReader, what: str) -> Any:
    kind = reader.number("I", f"the type of {what}")
    if kind != _ARRAY:
        return _string(reader, what) if kind == _STRING else _number(reader, kind, what)
    kind, count = (
        reader.number("I", f"the type of {what}"),
        reader.number("Q", f"the size of {what}"),
    )
    if kind == _STRING:
        return [_string(reader, what) for _ in range(count)]
    dtype = np.dtype(f"<{_letter(reader, kind, what)}")
    return np.frombuffer(reader.take(count * dtype.itemsize, what), dtype)


def _number(reader: BinaryReader, kind: int, what: str) -> int | float | bool:
    return reader.number(_letter(reader, kind, what), what)


def _letter(reader: BinaryReader, kind: int, what: str) -> str:
    if kind not in _NUMBERS:
        raise ValueError(f"{reader.path}: {what} is of the unknown type {kind}: {DAMAGED}")
    return _NUMBERS[kind]


def _header(reader: BinaryReader, what: str) -> _Header:
    rank = reader.number("I", what)
    if rank > _MAX_AXES:
        raise ValueError(f"{reader.path}: {what} says {rank:,} axes, GGUF has 4: {DAMAGED}")
    shape = tuple(reader.number("Q", what) for _ in range(rank))[::-1]
    return _Header(shape, reader.number("I", what), reader.number("Q", what))


def _place(
    headers: dict[str, _Header], start: int, path: Path, size: int
) -> dict[str, StoredTensor]:
    """The tensors, whose data lie one after the other from byte `start` on."""
    found, end = {}, start
    for name, header in sorted(headers.items(), key=lambda pair: pair[1].offset):
        where, offset = f"{path}, {name[:80]!r}", start + header.offset
        found[name], count = _stored(header, offset, path, where)
        if not end <= offset <= size - count:
            raise ValueError(f"{where}: overlaps another tensor or leaves the file: {DAMAGED}")
        end = offset + count
    return {name: found[name] for name in headers}


def _stored(header: _Header, offset: int, path: Path, where: str) -> tuple[StoredTensor, int]:
    """The tensor of a header, and the bytes that it takes in the file."""
    shape, kind = header.shape, header.kind
    if kind in _PLAIN:
        dtype = np.dtype(_PLAIN[kind])
        count = checked_bytes(shape, dtype, where)
        return StoredTensor(shape, dtype, lambda: load_array(path, offset, dtype, shape)), count
    if kind not in _QUANTIZED:
        known = [np.dtype(each).name for each in _PLAIN.values()] + list(BLOCKS)
        found = _OTHERS.get(kind, f"number {kind}")
        raise ValueError(f"{where}: weights of type {found}; {', '.join(known)} are read")
    if not shape or shape[-1] % BLOCK:
        raise ValueError(f"{where}: rows of {shape} are no blocks of {BLOCK} weights: {DAMAGED}")
    block, float32 = BLOCKS[_QUANTIZED[kind]], np.dtype(np.float32)
    num_blocks = checked_bytes(shape, float32, where) // (BLOCK * float32.itemsize)

    def read() -> np.ndarray:
        return _dequantize(path, offset, block, num_blocks).reshape(shape)

    return StoredTensor(shape, float32, read), num_blocks * block.size


def _dequantize(path: Path, offset: int, block: BlockType, num_blocks: int) -> np.ndarray:
    data = load_array(path, offset, np.dtype(np.uint8), (num_blocks, block.size))
    return block.dequantize(data)
