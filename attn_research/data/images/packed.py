"""MNIST and CIFAR-10 packed into files of NumPy arrays: a part of MNIST, and CIFAR-10 as JPEG."""

from pathlib import Path

import numpy as np

from attn_research.data.arrays import cut, read_arrays
from attn_research.data.download import find_data_file
from attn_research.data.images.archives import Labelled
from attn_research.data.images.files import decode

MNIST_FILES = {"train": "mnist/train10k.npz", "test": "mnist/test.npz"}
CIFAR_FILES = {"train": "cifar10/train_jpeg.npz", "test": "cifar10/test_jpeg.npz"}
_CIFAR_SHAPE = (32, 32, 3)


def read_mnist(root: Path) -> dict[str, Labelled] | None:
    """The images and labels by split below a folder of data sets; None if there are none."""
    if not (root / MNIST_FILES["train"]).is_file():
        return None
    return {split: _read_gray(name, root) for split, name in MNIST_FILES.items()}


def read_cifar10(root: Path) -> dict[str, Labelled] | None:
    """The images and labels by split below a folder of data sets; None if there are none."""
    if not (root / CIFAR_FILES["train"]).is_file():
        return None
    return {split: _read_jpegs(name, root) for split, name in CIFAR_FILES.items()}


def _read_gray(name: str, root: Path) -> Labelled:
    """Images from an array [N, 28, 28]."""
    arrays = _read_arrays(name, root, ("images", "labels"))
    images, labels = arrays["images"], arrays["labels"]
    if images.shape != (len(labels), 28, 28):
        raise ValueError(
            f"{root / name} holds images of the shape {images.shape} for {len(labels)} labels, not "
            f"{(len(labels), 28, 28)}: replace it"
        )
    return Labelled(images[..., None], labels.astype(np.uint8))


def _read_jpegs(name: str, root: Path) -> Labelled:
    """Images from an array of concatenated JPEG files."""
    arrays = _read_arrays(name, root, ("jpeg", "offsets", "labels"))
    labels = arrays["labels"]
    images = np.empty((len(labels), *_CIFAR_SHAPE), np.uint8)
    for i, content in enumerate(cut(arrays["jpeg"], arrays["offsets"], root / name)):
        where = f"image {i} of {root / name}"
        pixels = decode(content.tobytes(), where)
        if pixels.shape != _CIFAR_SHAPE:
            raise ValueError(f"{where} has {pixels.shape[:2]} pixels and not 32 x 32: replace it")
        images[i] = pixels
    return Labelled(images, labels.astype(np.uint8))


def _read_arrays(name: str, root: Path, keys: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Some arrays of a file: bytes of pixels, and whole numbers, the labels from 0 to 9."""
    path = find_data_file(name, root)
    found = read_arrays(path, keys)
    labels = found["labels"]
    wrong = [
        key
        for key, array in found.items()
        if array.ndim != (3 if key == "images" else 1)
        or not np.issubdtype(array.dtype, np.uint8 if key in ("images", "jpeg") else np.integer)
    ]
    if not wrong and (not len(labels) or labels.min() < 0 or labels.max() > 9):
        wrong = ["labels"]
    if not wrong and "offsets" in found and len(found["offsets"]) != len(labels) + 1:
        wrong = ["offsets"]
    if wrong:
        raise ValueError(
            f"{path} is not a file of arrays {', '.join(keys)}, for {wrong[0]} is "
            f"{found[wrong[0]].dtype} {found[wrong[0]].shape}, or has other values: replace it"
        )
    return found
