"""CTranslate2's model.bin: the variables of a converted model, and aliases of them.

A file is the version of its layout, the name and revision of the specification, the variables
(name, shape, type, bytes) and the aliases (name, name of a variable). Only a quantized weight has a
scale beside it, under its name and "_scale": int8 one for each row, int16 one for the whole.
https://github.com/OpenNMT/CTranslate2/blob/master/python/ctranslate2/specs/model_spec.py
"""

from pathlib import Path
from typing import NamedTuple

import ml_dtypes
import numpy as np

from attn_research.pretrained.formats.binary import (
    DAMAGED,
    BinaryReader,
    checked_bytes,
    load_array,
)
from attn_research.pretrained.tensors import StoredTensor

_VERSIONS = (4, 5, 6)  # of one layout
_SCALE = "_scale"
_DTYPES = tuple(
    np.dtype(kind)
    for kind in (np.float32, np.int8, np.int16, np.int32, np.float16, ml_dtypes.bfloat16)
)


class CTranslate2(NamedTuple):
    """What a model.bin holds; `spec` is the kind of model, such as WhisperSpec."""

    spec: str
    revision: int
    tensors: dict[str, StoredTensor]


def read_ctranslate2(path: Path) -> CTranslate2:
    """The variables of a model.bin, aliases among them; quantized weights are read as float32."""
    with path.open("rb") as file:
        reader = BinaryReader(file, path)
        version = reader.number("I", "the version")
        if version not in _VERSIONS:
            raise ValueError(
                f"{path}: no model.bin of CTranslate2 of version 4 to 6 (its first number is "
                f"{version:,}): convert the model again, or name another folder"
            )
        spec = _string(reader, "the name of the specification")
        revision = reader.number("I", "the revision")
        stored: dict[str, StoredTensor] = {}
        for _ in range(reader.count("I", "variables")):
            name = _string(reader, "the name of a variable")
            _add(stored, name, _variable(reader, name), path)
        tensors = _dequantized(stored, path)
        for _ in range(reader.count("I", "aliases")):
            alias, name = (
                _string(reader, f"the {each} of an alias") for each in ("name", "variable")
            )
            if name not in tensors:
                raise ValueError(f"{path}: {alias[:80]!r} is an alias of no variable: {DAMAGED}")
            _add(tensors, alias, tensors[name], path)
        reader.check_end()
    return CTranslate2(spec, revision, tensors)


def _string(reader: BinaryReader, what: str) -> str:
    text = reader.text(reader.number("H", f"the length of {what}"), what)
    if not text.endswith("\0"):
        raise ValueError(f"{reader.path}: {what} has no end: {DAMAGED}")
    return text[:-1]


def _add(found: dict[str, StoredTensor], name: str, tensor: StoredTensor, path: Path) -> None:
    if name in found:
        raise ValueError(f"{path}: two variables are called {name[:80]!r}: {DAMAGED}")
    found[name] = tensor


def _variable(reader: BinaryReader, name: str) -> StoredTensor:
    what, path = f"the variable {name[:80]!r}", reader.path
    shape = tuple(reader.number("I", what) for _ in range(reader.number("B", what)))
    kind, count = reader.number("B", what), reader.number("I", what)
    if kind >= len(_DTYPES):
        raise ValueError(f"{path}: {what} is of the unknown type {kind}: {DAMAGED}")
    dtype = _DTYPES[kind]
    if count != checked_bytes(shape, dtype, f"{path}, {what}"):
        raise ValueError(f"{path}: {what} of {shape} has {count:,} bytes: {DAMAGED}")
    offset = reader.skip(count, what)
    return StoredTensor(shape, dtype, lambda: load_array(path, offset, dtype, shape))


def _dequantized(stored: dict[str, StoredTensor], path: Path) -> dict[str, StoredTensor]:
    """The variables in which weights and their scales are one."""
    found = dict(stored)
    for name, weight in stored.items():
        if weight.dtype == np.int32 and name + _SCALE in stored:
            raise ValueError(f"{path}: {name[:80]!r} is quantized by AWQ, which is not read")
        if weight.dtype not in (np.int8, np.int16) or not weight.shape:
            continue
        scale = found.pop(name + _SCALE, None)
        if scale is not None:
            found[name] = _rescaled(weight, scale, f"{path}, {name[:80]!r}")
        elif name.endswith("weight"):
            raise ValueError(f"{path}: {name[:80]!r} of {weight.dtype} has no scale: {DAMAGED}")
    return found


def _rescaled(weight: StoredTensor, scale: StoredTensor, where: str) -> StoredTensor:
    """The weight divided by its scale."""
    expected = weight.shape[:1] if weight.dtype == np.int8 else ()
    if scale.dtype != np.float32 or scale.shape != expected:
        raise ValueError(
            f"{where}: {weight.dtype} of {weight.shape} with a scale of {scale.dtype} and "
            f"{scale.shape} is not read, only float32 of {expected}"
        )
    axes = tuple(range(len(expected), len(weight.shape)))

    def read() -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):  # a scale of 0, which no writer gives
            return weight.read() / np.expand_dims(scale.read(), axes)

    return StoredTensor(weight.shape, np.dtype(np.float32), read)
