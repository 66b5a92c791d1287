"""Image files as pixels: which formats are read, and what becomes of their modes.

Every format of FORMATS is read by its content, whatever its suffix, and becomes 8-bit RGB:

- The first frame of a file that has several is read.
- An EXIF orientation is applied; a damaged EXIF block has none.
- What is transparent is laid over white: alpha channels, transparent colors of palettes, and a
  transparent color of gray or RGB pixels. No color hidden under alpha 0 is seen.
- Gray of 16 bits is scaled by its range, 0 to 65535 or what the bits of a TIFF are, to 0 to 255.
  32-bit integers, signed 16-bit integers and floats have no range of their own: a ValueError.
- Black and white, gray, palettes, CMYK, YCbCr and LAB are converted to RGB as Pillow does it.

`decode` raises a ValueError, one line with the name of the file, for whatever is damaged, of
another format, or has more than MAX_PIXELS.
"""

import dataclasses
import hashlib
import io
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int, UInt8

from attn_research.data.files import one_line

if TYPE_CHECKING:
    from PIL.Image import Image

# Among JPEG are the files of several pictures (MPO) that cameras write.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM")
SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".bmp", ".dib", ".webp", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip
MAX_PIXELS = 1 << 26  # as many as 8192 x 8192: a decoded image and its copies fit into 1 GiB
MAX_BYTES = 1 << 28  # of a file
BACKGROUND = "white"

_ORIENTATION, _BITS, _PHOTOMETRIC = 0x0112, 0x0102, 0x0106  # tags of EXIF and TIFF
_WHITE_IS_ZERO = 0
# Raw modes of PNG, and what a transparent color of theirs, given in the file's own bits, is
# multiplied by to be one of Pillow's pixels.
_KEY_SCALES = {"L;2": 85, "L;4": 17, "RGB;16B": 1 / 256}


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
            found[row] = self._read(self.paths[number])
        return found

    def check(self) -> None:
        """Decodes every file once, for the ValueError that names one that is no image."""
        with ThreadPoolExecutor() as pool:  # Pillow decodes without Python's lock
            for start in range(0, len(self), 256):  # few are in memory at once
                list(pool.map(self._read, self.paths[start : start + 256]))

    def _read(self, path: Path) -> UInt8[np.ndarray, "size size 3"]:
        return read_image(path, self.size)

    @property
    def digest(self) -> bytes:
        """The SHA-256 of the contents of the files, in order."""
        found = hashlib.sha256()
        for path in self.paths:
            with path.open("rb") as file:
                found.update(hashlib.file_digest(file, "sha256").digest())
        return found.digest()


def read_image(path: Path, size: int | None = None) -> UInt8[np.ndarray, "H W 3"]:
    """The pixels of an image file, resized to `size` pixels square if given."""
    if not path.is_file():
        raise FileNotFoundError(f"no such image file: {path}")
    if (length := path.stat().st_size) > MAX_BYTES:
        raise ValueError(f"{path} has {length:,} bytes, more than {MAX_BYTES:,}: scale it down")
    return decode(path.read_bytes(), str(path), size)


def decode(data: bytes, where: str, size: int | None = None) -> UInt8[np.ndarray, "H W 3"]:
    """The pixels of an image file's bytes, resized to `size` pixels square if given."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            image = to_rgb(image)
            if size is not None and image.size != (size, size):
                image = image.resize((size, size), Image.Resampling.BILINEAR)
            return np.asarray(image)
    except UnidentifiedImageError:
        reason = "its content is of none of the formats PNG, JPEG, GIF, BMP, WebP, TIFF and PNM"
    except MemoryError:
        raise
    except Exception as error:  # of many kinds: a damaged file may fail anywhere in Pillow
        reason = one_line(error)
    raise ValueError(f"{where} is no image that can be read ({reason}): replace or remove it")


def to_rgb(image: "Image") -> "Image":
    """An open image as 8-bit RGB, upright and without transparency, as this module says."""
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"its {image.width} x {image.height} pixels are more than {MAX_PIXELS:,}")
    if image.mode == "F" or (image.mode == "I" and image.format != "PPM"):
        raise ValueError(
            f"its pixels of Pillow's mode {image.mode} have no range of their own; write it with 8 "
            "or 16 bits"
        )
    key, tags = _transparent_color(image), getattr(image, "tag_v2", {})
    image = _upright(image)
    if image.mode.startswith("I"):
        return _from_16_bits(image, key, tags).convert("RGB")
    if key is not None:
        image.info["transparency"] = key
    return _over_background(image) if image.has_transparency_data else image.convert("RGB")


_SAY_ORIENTATION = {"exif", "xmp", "XML:com.adobe.xmp"}


def _upright(image: "Image") -> "Image":
    """The image turned and mirrored as its EXIF orientation says."""
    from PIL.Image import Transpose

    image.load()
    if image.format == "JPEG" and not _SAY_ORIENTATION & image.info.keys():
        return image  # of thousands of small files, most of the time of reading them
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # the kinds of errors of a damaged block are many
        return image
    turn = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }.get(orientation)
    return image if turn is None else image.transpose(turn)


def _transparent_color(image: "Image") -> int | bytes | tuple[int, ...] | None:
    """What is transparent, in the pixels of Pillow, of an image that has not been loaded."""
    key, scale = image.info.get("transparency"), 1.0
    if image.format == "PNG" and image.tile:
        scale = _KEY_SCALES.get(image.tile[0][3], 1.0)
    if isinstance(key, tuple):
        return tuple(int(part * scale) for part in key)
    return int(key * scale) if isinstance(key, int) else key


def _from_16_bits(image: "Image", key: int | None, tags: Mapping[int, Any]) -> "Image":
    """Gray pixels of 16 bits scaled by their range; those of the color `key` are white.

    `tags` are those of a TIFF, which may have fewer bits.
    """
    from PIL import Image

    white = 2 ** tags.get(_BITS, (16,))[0] - 1
    pixels = np.asarray(image).astype(np.uint32)
    scaled = (pixels * 255 + white // 2) // white
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # which Pillow reads for 8 bits alone
        scaled = 255 - scaled
    return Image.fromarray(np.where(pixels == key, 255, scaled).clip(0, 255).astype(np.uint8))


def _over_background(image: "Image") -> "Image":
    from PIL import Image

    image = image.convert("RGBA")
    below = Image.new("RGBA", image.size, BACKGROUND)
    return Image.alpha_composite(below, image).convert("RGB")
