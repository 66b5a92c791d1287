"""Labelled image data sets, by name or from a folder."""

import dataclasses
import functools
import hashlib
import itertools
import math
import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from attn_research.data.download import find_data_file
from attn_research.data.images.files import ImageFiles, decode

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
# Images of a folder that need more bytes than this are decoded anew for each batch.
IN_MEMORY = 2**31


@dataclasses.dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one size with their labels, which are indices of `classes`."""

    images: UInt8[np.ndarray, "N H W C"] | ImageFiles
    labels: Int[np.ndarray, "N"]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    @functools.cached_property
    def fingerprint(self) -> str:
        """The SHA-256, in hex, of labels and images, or of the image files."""
        digest = hashlib.sha256(repr((self.images.shape, self.classes)).encode())
        kept = isinstance(self.images, ImageFiles)
        digest.update(self.images.digest if kept else np.ascontiguousarray(self.images).data)
        digest.update(self.labels.astype("<i4").tobytes())
        return digest.hexdigest()

    def __getitem__(self, part: slice | np.ndarray) -> "ImageSet":
        return ImageSet(self.images[part], self.labels[part], self.classes)


def load_images(
    name: str,
    data_dir: str | Path | None = None,
    *,
    folder: str | Path | None = None,
    size: int = 32,
) -> dict[str, ImageSet]:
    """The splits train, dev and test of a data set by name.

    `digits`: 1,797 digits of 8 x 8 gray pixels (1,437 / 180 / 180), built into scikit-learn.
    `mnist`: mnist/{train10k,test}.npz of the data folder; 500 of the 10,000 are dev.
    `cifar10`: cifar10/{train,test}_jpeg.npz of the data folder; the last 1,000 of train are dev.
    `folder`: a folder of images train/CLASS/*, test/CLASS/* and, or a tenth of train, dev/CLASS/*,
    resized to `size` pixels square; the images of a very large split stay files.
    """
    match name:
        case "digits":
            return _digits()
        case "mnist":
            classes = tuple(map(str, range(10)))
            train, test = (
                _read_npz(f"mnist/{part}.npz", data_dir) for part in ("train10k", "test")
            )
            train, test = (_gray(one, classes) for one in (train, test))
            return {"train": train[:-500], "dev": train[-500:], "test": test}
        case "cifar10":
            train, test = (_read_jpegs(f"cifar10/{part}_jpeg.npz", data_dir) for part in SPLITS)
            return {"train": train[:-1000], "dev": train[-1000:], "test": test}
        case "folder":
            if not folder:
                raise ValueError("--data=folder needs --image_dir")
            return _read_folder(Path(folder), size)
    raise ValueError(f"no images {name!r}: there are digits, mnist, cifar10 and folder")


SPLITS = ("train", "test")
CIFAR_10 = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


def _digits() -> dict[str, ImageSet]:
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "--data=digits comes with scikit-learn: pip install scikit-learn"
        ) from error
    found = load_digits()
    images = np.round(found.images * (255 / 16)).astype(np.uint8)[..., None]
    order = np.random.default_rng(0).permutation(len(images))
    every = ImageSet(images, found.target, tuple(map(str, range(10))))[order]
    return {"train": every[:1437], "dev": every[1437:1617], "test": every[1617:]}


def _read_npz(name: str, data_dir: str | Path | None) -> dict[str, np.ndarray]:
    path = find_data_file(name, data_dir)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a file of arrays ({error}): replace it") from None


def _gray(arrays: dict[str, np.ndarray], classes: tuple[str, ...]) -> ImageSet:
    return ImageSet(arrays["images"][..., None], arrays["labels"].astype(np.int32), classes)


def _read_jpegs(name: str, data_dir: str | Path | None) -> ImageSet:
    """Images from an array of concatenated JPEG files."""
    arrays = _read_npz(name, data_dir)
    ends, data = arrays["offsets"].tolist(), arrays["jpeg"]
    images = np.stack(
        [
            decode(data[start:end].tobytes(), f"image {i} of {name}")
            for i, (start, end) in enumerate(itertools.pairwise(ends))
        ]
    )
    return ImageSet(images, arrays["labels"].astype(np.int32), CIFAR_10)


def _read_folder(root: Path, size: int) -> dict[str, ImageSet]:
    classes = tuple(sorted(path.name for path in (root / "train").glob("*") if path.is_dir()))
    if not classes:
        raise FileNotFoundError(
            f"{root / 'train'} holds no folder of images: --image_dir names a folder with "
            "train/CLASS/* and test/CLASS/*"
        )
    found = {}
    for split in ("train", "dev", "test"):
        found[split] = [
            (path, label)
            for label, name in enumerate(classes)
            for path in sorted((root / split / name).glob("*"))
            if path.suffix.lower() in SUFFIXES
        ]
    for split in SPLITS:
        if not found[split]:
            raise FileNotFoundError(f"{root / split} holds no images of {', '.join(classes)}")
    if not found["dev"]:
        count = len(found["train"])
        if count < 10:
            raise ValueError(
                f"{root / 'train'} holds {count} images, too few to hold out a tenth: "
                f"give some in {root / 'dev'}"
            )
        order = [found["train"][i] for i in np.random.default_rng(0).permutation(count)]
        found |= {"dev": order[: count // 10], "train": order[count // 10 :]}
    return {split: _of_files(pairs, size, classes) for split, pairs in found.items()}


def _of_files(pairs: list[tuple[Path, int]], size: int, classes: tuple[str, ...]) -> ImageSet:
    paths, labels = zip(*pairs, strict=True)
    images = ImageFiles(paths, size)
    in_memory = math.prod(images.shape) <= IN_MEMORY
    return ImageSet(images[:] if in_memory else images, np.array(labels, np.int32), classes)
