"""Image files that are decoded when a batch asks for them."""

import dataclasses
import hashlib
import io
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8


@dataclasses.dataclass(frozen=True)
class ImageFiles:
    """Images of files, resized to `size` pixels square; indexed as an array [N, size, size, 3].

    ValueError where a file that is read is no image.
    """

    paths: tuple[Path, ...]
    size: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape of the array of all images."""
        return len(self.paths), self.size, self.size, 3

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, part: slice | Int[np.ndarray, "M"]) -> UInt8[np.ndarray, "M size size 3"]:
        chosen = np.arange(len(self.paths))[part]
        found = np.empty((len(chosen), *self.shape[1:]), np.uint8)
        for row, number in enumerate(chosen):
            path = self.paths[number]
            found[row] = decode(path.read_bytes(), str(path), self.size)
        return found

    @property
    def digest(self) -> bytes:
        """The SHA-256 of the contents of the files, in order."""
        found = hashlib.sha256()
        for path in self.paths:
            with path.open("rb") as file:
                found.update(hashlib.file_digest(file, "sha256").digest())
        return found.digest()


def decode(data: bytes, where: str, size: int | None = None) -> UInt8[np.ndarray, "H W 3"]:
    """The pixels of an image file's bytes, resized to `size` pixels square if given."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as image:
            image = image.convert("RGB")
            if size is not None and image.size != (size, size):
                image = image.resize((size, size), Image.Resampling.BILINEAR)
            return np.asarray(image)
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{where} is no image ({error}): replace or remove it") from None
