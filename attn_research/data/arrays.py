"""Arrays of .npz files, read without trust in what their headers announce."""

import itertools
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped

from attn_research.data.files import MAX_CONTENT, one_line


def read_arrays(path: Path, keys: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Some arrays of a file; a ValueError where it is none, or lacks one."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {key: _read_array(archive, f"{key}.npy") for key in keys}
    except Exception as error:  # zip and NumPy raise many kinds for damaged files
        raise ValueError(
            f"{path} is not a file of arrays {', '.join(keys)} ({one_line(error)}): replace it"
        ) from None


def _read_array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """An array of an archive.

    NumPy's own reader takes the memory that the header of an array asks for, before it knows
    whether there are as many bytes.
    """
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"{name} has the version {version} and not 1.0")
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
        size = math.prod(shape) * dtype.itemsize
        if dtype.hasobject or not 0 <= size <= MAX_CONTENT:
            raise ValueError(f"{name} is an array of {dtype} {shape}")
        content = file.read(size + 1)
    if len(content) != size:
        raise ValueError(f"{name} has {len(content):,} bytes, not the {size:,} of {dtype} {shape}")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if by_columns else "C")


def cut(
    data: Shaped[np.ndarray, "_"], offsets: Int[np.ndarray, "N_plus_1"], path: Path
) -> Iterator[Shaped[np.ndarray, "_"]]:
    """The pieces that stand one after another in `data`; a ValueError names `path`."""
    bounds = offsets.tolist()
    if not bounds or bounds != sorted(bounds) or bounds[0] < 0 or bounds[-1] > len(data):
        raise ValueError(f"{path} holds offsets that do not fit its data: replace it")
    for start, end in itertools.pairwise(bounds):
        yield data[start:end]
