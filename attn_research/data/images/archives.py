"""MNIST and CIFAR-10 as their authors offer them: idx files, and the binary version of CIFAR-10.

No pickle is loaded: the version of CIFAR-10 for Python, which consists of them, is refused.
"""

import math
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from attn_research.data.files import one_line, open_content, read_content

MNIST_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
CIFAR_FILES = {
    "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    "test": ("test_batch.bin",),
}
CIFAR_ARCHIVES = ("cifar-10-binary.tar.gz", "cifar-10-binary.tar")
CIFAR_FOLDER = "cifar-10-batches-bin"
# Of the same data, in pickles or in MATLAB's format.
CIFAR_OTHERS = (
    "cifar-10-python.tar.gz", "cifar-10-batches-py",
    "cifar-10-matlab.tar.gz", "cifar-10-batches-mat",
)  # fmt: skip

_CIFAR_IMAGE = 1 + 3 * 32 * 32  # bytes: the label, then red, green and blue
_MAX_BYTES = 1 << 28  # of a file or an archive, decompressed; CIFAR-10 has 184 million
_DAMAGE = (OSError, EOFError, ValueError, tarfile.TarError, zlib.error)


class Labelled(NamedTuple):
    """Images with the numbers of their classes."""

    images: UInt8[np.ndarray, "N H W C"]
    labels: UInt8[np.ndarray, "N"]


def find_mnist(folder: Path) -> dict[str, tuple[Path, Path]] | None:
    """The paths of images and labels by split, below a folder of data sets; None if there are none.

    The files stand in mnist, mnist/raw, MNIST/raw or the folder itself, plain or gzip, and are
    called train-images-idx3-ubyte or train-images.idx3-ubyte. A FileNotFoundError names the file
    that is missing beside others.
    """
    for place in ("mnist", "mnist/raw", "MNIST", "MNIST/raw", ""):
        names = [name for pair in MNIST_FILES.values() for name in pair]
        found = {name: _find_idx(folder / place, name) for name in names}
        if any(found.values()):
            for name, path in found.items():
                if path is None:
                    raise FileNotFoundError(f"{folder / place / name} is missing, plain or .gz")
            pairs = MNIST_FILES.items()
            return {split: tuple(found[name] for name in pair) for split, pair in pairs}
    return None


def _find_idx(folder: Path, name: str) -> Path | None:
    for spelling in (name, name.replace("-idx", ".idx")):
        for path in (folder / spelling, folder / f"{spelling}.gz"):
            if path.is_file():
                return path
    return None


def read_mnist(paths: tuple[Path, Path]) -> Labelled:
    """The images and labels of a split; a ValueError names the file that is none of MNIST's."""
    images, labels = (_read_idx(path, rank) for path, rank in zip(paths, (3, 1), strict=True))
    if len(images) != len(labels):
        raise ValueError(f"{paths[0]} has {len(images)} images for {len(labels)} labels")
    _check_labels(labels, paths[1])
    return Labelled(images[..., None], labels)


def _read_idx(path: Path, rank: int) -> np.ndarray:
    """The bytes of an idx file: a magic number, the size of each axis, then the values."""
    content, start = _read_bytes(path), 4 * (1 + rank)
    # The magic number: 0, 0, 8 for bytes, and the number of axes.
    if len(content) < start or content[:4] != bytes((0, 0, 8, rank)):
        raise ValueError(f"{path} is no idx file of bytes with {rank} axes: download it again")
    shape = tuple(map(int, np.frombuffer(content[4:start], ">u4")))
    found = len(content) - start
    if math.prod(shape) != found or not found:
        raise ValueError(
            f"{path} has {found:,} values, not the {shape} of its header: download it again"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def find_cifar10(folder: Path) -> Path | None:
    """The archive or folder of the binary version, below a folder of data sets; None without any.

    It stands in cifar10 or in the folder itself. A ValueError names a version that is not read,
    where it is the only one.
    """
    others = []
    for place in (folder / "cifar10", folder):
        for name in (*CIFAR_ARCHIVES, CIFAR_FOLDER, ""):
            path = place / name
            whole = path.is_file() or (path / CIFAR_FILES["train"][0]).is_file()
            if whole or (name and path.is_dir()):
                return path
        others += [place / name for name in CIFAR_OTHERS if (place / name).exists()]
    if others and not (folder / "cifar10" / "train_jpeg.npz").is_file():
        raise ValueError(
            f"{others[0]} holds pickles or MATLAB's files, which are never loaded: download "
            f"{CIFAR_ARCHIVES[0]}, the binary version, to {folder / 'cifar10'} from "
            "https://www.cs.toronto.edu/~kriz/cifar.html"
        )
    return None


def read_cifar10(path: Path) -> dict[str, Labelled]:
    """The images and labels by split, of an archive or folder of the binary version."""
    names = [name for batches in CIFAR_FILES.values() for name in batches]
    found = dict(_read_folder(path, names) if path.is_dir() else _read_archive(path, names))
    for name in names:
        if name not in found:
            raise ValueError(f"{path} holds no {name}: download it again")
    return {
        split: _from_batches([found[name] for name in batches], [path / name for name in batches])
        for split, batches in CIFAR_FILES.items()
    }


def _read_folder(folder: Path, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    for name in names:
        if (folder / name).is_file():
            yield name, _read_bytes(folder / name)


def _read_archive(path: Path, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """The files of some names in a tar archive, plain or gzip."""
    total = 0
    try:
        with open_content(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                total += member.size
                if total > _MAX_BYTES:
                    raise ValueError(f"its files have more than {_MAX_BYTES:,} bytes")
                name = Path(member.name).name
                if name in names and member.isreg():
                    yield name, archive.extractfile(member).read()
            while file.read(1 << 20):  # at its end gzip checks its sum
                pass
    except _DAMAGE as error:
        raise ValueError(
            f"{path} is no whole archive of CIFAR-10 ({one_line(error)}): download it again"
        ) from None


def _from_batches(batches: Sequence[bytes], paths: Sequence[Path]) -> Labelled:
    """The images and labels of some batches, each image a label and three planes of 32 x 32."""
    for batch, path in zip(batches, paths, strict=True):
        if not batch or len(batch) % _CIFAR_IMAGE or len(batch) != len(batches[0]):
            raise ValueError(
                f"{path} has {len(batch):,} bytes, which is no whole batch of CIFAR-10's images: "
                "download it again"
            )
    rows = np.frombuffer(b"".join(batches), np.uint8).reshape(-1, _CIFAR_IMAGE)
    _check_labels(rows[:, 0], paths[0].parent)
    planes = rows[:, 1:].reshape(-1, 3, 32, 32)
    return Labelled(np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), rows[:, 0].copy())


def _check_labels(labels: np.ndarray, path: Path) -> None:
    if labels.max() > 9:
        raise ValueError(
            f"{path} holds the label {labels.max()}, and there are 10 classes: download it again"
        )


def _read_bytes(path: Path) -> bytes:
    """The content of a file, decompressed where it is gzip, of _MAX_BYTES at most."""
    try:
        return read_content(path, _MAX_BYTES)
    except ValueError as error:
        raise ValueError(f"{error}: download it again") from None
