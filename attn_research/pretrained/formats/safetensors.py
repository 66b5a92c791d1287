"""Safetensors files, read and written by the library of that name."""

from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
from jaxtyping import Shaped
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from attn_research.data.files import one_line, whole_file
from attn_research.pretrained.formats.binary import DAMAGED, checked_bytes
from attn_research.pretrained.tensors import StoredTensor

DTYPES = {
    "BOOL": np.dtype(np.bool),
    "U8": np.dtype(np.uint8),
    "I8": np.dtype(np.int8),
    "U16": np.dtype(np.uint16),
    "I16": np.dtype(np.int16),
    "U32": np.dtype(np.uint32),
    "I32": np.dtype(np.int32),
    "U64": np.dtype(np.uint64),
    "I64": np.dtype(np.int64),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F32": np.dtype(np.float32),
    "F64": np.dtype(np.float64),
}
_RESERVED = "__metadata__"  # a name of the header


def read_safetensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a safetensors file.

    The library checks the header: its size, that offsets neither overlap nor leave the file, and
    that they agree with shapes. A ValueError names what it finds, or a dtype that NumPy has not.
    """
    try:
        file = safe_open(path, framework="np")
        return {name: _stored(file, name, path) for name in file.offset_keys()}
    except SafetensorError as error:
        raise ValueError(
            f"{path}: no whole safetensors file ({one_line(error)}): {DAMAGED}"
        ) from None


def _stored(file: safe_open, name: str, path: Path) -> StoredTensor:
    about = file.get_slice(name)
    shape, dtype, where = tuple(about.get_shape()), about.get_dtype(), f"{path}, {name[:80]!r}"
    if dtype not in DTYPES:
        raise ValueError(f"{where}: values of type {dtype}, of {', '.join(DTYPES)} are read")
    checked_bytes(shape, DTYPES[dtype], where)

    def read() -> np.ndarray:
        try:
            return file.get_tensor(name)
        except SafetensorError as error:
            raise ValueError(f"{where}: {one_line(error)}") from None

    return StoredTensor(shape, DTYPES[dtype], read)


def write_safetensors(
    path: Path,
    tensors: Mapping[str, Shaped[np.ndarray, "..."]],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """An atomic write of tensors, and of a few words about them, to a safetensors file.

    PyTorch's libraries ask for the metadata {"format": "pt"}. A ValueError names a tensor that
    cannot be written; an OSError says why the file cannot.
    """
    # The library takes the memory of an array as it lies, whatever its strides are.
    arrays = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    for name, array in arrays.items():
        if name == _RESERVED or array.dtype.newbyteorder("=") not in DTYPES.values():
            raise ValueError(f"{path}: a tensor {name!r} of {array.dtype} cannot be written")
    with whole_file(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode  # that of any new file; the library's are the owner's alone
        try:
            save_file(arrays, temporary, metadata=dict(metadata or {}))
            temporary.chmod(mode)
        except SafetensorError as error:
            raise OSError(one_line(error)) from None
