"""Numbers, strings and arrays of a binary file, never beyond its end."""

import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Shaped

from attn_research.data.files import shorten

DAMAGED = "the file is incomplete or damaged, download it again"
MAX_RANK = 8  # axes of a tensor
MAX_ENTRIES = 1 << 17  # tensors of a model, or other entries that take memory of their own
_LARGEST = 1 << 62  # bytes; NumPy counts with 63 bits


class BinaryReader:
    """A reader of little-endian values of an open file, one after the other.

    What a file says to be longer than its rest is refused before it is read; `what` names it.
    """

    def __init__(self, file: BinaryIO, path: Path):
        self._file, self.path = file, path
        self.place, self.size = file.tell(), path.stat().st_size

    def take(self, count: int, what: str) -> bytes:
        """The next `count` bytes."""
        self._advance(count, what)
        return self._file.read(count)

    def skip(self, count: int, what: str) -> int:
        """The place of the next `count` bytes, which are left out."""
        self._advance(count, what)
        return self._file.seek(count, 1) - count

    def number(self, code: str, what: str) -> int | float:
        """The next number, by its letter of the module struct."""
        (value,) = struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}"), what))
        return value

    def count(self, code: str, what: str) -> int:
        """The next number, which says how many entries follow."""
        count = self.number(code, f"the number of {what}")
        if count > MAX_ENTRIES:
            raise ValueError(f"{self.path}: says {count:,} {what}, no model has: {DAMAGED}")
        return count

    def text(self, count: int, what: str) -> str:
        """The next `count` bytes as UTF-8 text."""
        data = self.take(count, what)
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise ValueError(f"{self.path}: {what} is no UTF-8 text: {DAMAGED}") from None

    def check_end(self) -> None:
        """A ValueError where something is left of the file."""
        if self.place != self.size:
            raise ValueError(
                f"{self.path}: {self.size - self.place:,} bytes after its end: {DAMAGED}"
            )

    def _advance(self, count: int, what: str) -> None:
        if count > self.size - self.place:
            raise ValueError(
                f"{self.path}: {what} takes {count:,} bytes from byte {self.place:,} on, where "
                f"{self.size - self.place:,} are left: {DAMAGED}"
            )
        self.place += count


def checked_bytes(shape: Sequence[int], dtype: np.dtype, where: str) -> int:
    """The bytes that an array takes; a ValueError for a shape that no array of ours has."""
    if len(shape) > MAX_RANK or math.prod((dtype.itemsize, *(n or 1 for n in shape))) > _LARGEST:
        found = shorten(str(tuple(shape)), 80)
        raise ValueError(f"{where}: no tensor has the shape {found}: {DAMAGED}")
    return math.prod(shape) * dtype.itemsize


def load_array(
    path: Path, offset: int, dtype: np.dtype, shape: tuple[int, ...]
) -> Shaped[np.ndarray, "..."]:
    """An array stored whole in a file from byte `offset` on; a ValueError where the file ends."""
    count = math.prod(shape) * dtype.itemsize
    data = np.fromfile(path, np.uint8, count, offset=offset)
    if data.size != count:
        raise ValueError(f"{path}: {count - data.size:,} bytes were cut off since it was opened")
    return data.view(dtype).reshape(shape)
