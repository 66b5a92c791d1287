"""Labelled image data sets, by name or from a folder."""

import dataclasses
import functools
import hashlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from attn_research.data.download import find_data_dir
from attn_research.data.files import user_path
from attn_research.data.images import archives, packed
from attn_research.data.images.files import ImageFiles
from attn_research.data.images.folders import list_images

# Images of a folder that need more bytes than this are decoded anew for each batch.
IN_MEMORY = 2**31


@dataclasses.dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one size with their labels, which are indices of `classes`.

    `copy` names the copy of a data set that there are several of (see `load_images`).
    """

    images: UInt8[np.ndarray, "N H W C"] | ImageFiles
    labels: Int[np.ndarray, "N"]
    classes: tuple[str, ...]
    copy: str = ""

    def __len__(self) -> int:
        return len(self.images)

    @property
    def lossy(self) -> str:
        """What was lost in this copy of the data set; empty where nothing was."""
        return LOSSY.get(self.copy, "")

    @functools.cached_property
    def fingerprint(self) -> str:
        """The SHA-256, in hex, of labels and images, or of the image files."""
        digest = hashlib.sha256(repr((self.images.shape, self.classes)).encode())
        kept = isinstance(self.images, ImageFiles)
        digest.update(self.images.digest if kept else np.ascontiguousarray(self.images).data)
        digest.update(self.labels.astype("<i4").tobytes())
        return digest.hexdigest()

    def __getitem__(self, part: slice | np.ndarray) -> "ImageSet":
        return dataclasses.replace(self, images=self.images[part], labels=self.labels[part])


def load_images(
    name: str,
    data_dir: str | Path | None = None,
    *,
    folder: str | Path | None = None,
    size: int = 32,
    copy: str | None = None,
) -> dict[str, ImageSet]:
    """The splits train, dev and test of a data set by name.

    `digits`: 1,797 digits of 8 x 8 gray pixels (1,437 / 180 / 180), built into scikit-learn.
    `mnist`: a copy in the data folder, `idx`, the files of its authors, whose last 5,000 of train
    are dev, or `npz`, mnist/{train10k,test}.npz, whose last 500 are.
    `cifar10`: a copy in the data folder, `binary`, the binary version of its authors, or `jpeg`,
    cifar10/{train,test}_jpeg.npz, which is lossy; the last 1,000 of train are dev.
    `folder`: a folder of images train/CLASS/*, test/CLASS/* and, or a tenth of train, dev/CLASS/*
    (see `folders`), resized to `size` pixels square; those of a very large split stay files.

    `copy` names the copy that is read; the first one that is there where None. See `archives` for
    where the files of authors stand.
    """
    match name:
        case "digits":
            return _digits()
        case "mnist" | "cifar10":
            return _read_copy(name, data_dir, copy)
        case "folder":
            if not folder:
                raise ValueError("--data=folder needs --image_dir")
            return _read_folder(user_path(folder), size)
    raise ValueError(f"no images {name!r}: there are digits, mnist, cifar10 and folder")


DIGITS = tuple(map(str, range(10)))
CIFAR_10 = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
LOSSY = {"jpeg": "images recompressed as JPEG"}  # by copy


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
    every = ImageSet(images, found.target, DIGITS)[order]
    return {"train": every[:1437], "dev": every[1437:1617], "test": every[1617:]}


def _read_copy(name: str, data_dir: str | Path | None, copy: str | None) -> dict[str, ImageSet]:
    """A data set of several copies: the one named, or the first that is there."""
    root, copies = find_data_dir(data_dir), _COPIES[name]
    for title, (read, num_dev) in copies.items():
        if copy in (title, None) and (found := read(root)) is not None:
            sets = {
                split: ImageSet(one.images, one.labels.astype(np.int32), _CLASSES[name], title)
                for split, one in found.items()
            }
            return _hold_out(sets, num_dev)
    if copy is not None:
        raise FileNotFoundError(
            f"{root} holds no copy {copy!r} of {name}, there may be {', '.join(copies)}: name "
            "another folder with --data_dir"
        )
    raise FileNotFoundError(_MISSING[name].format(root=root))


def _hold_out(sets: dict[str, ImageSet], num_dev: int) -> dict[str, ImageSet]:
    """The splits, the last `num_dev` images of train being dev, or a tenth of a small one."""
    train, test = sets["train"], sets["test"]
    count = min(num_dev, max(1, len(train) // 10))
    return {"train": train[:-count], "dev": train[-count:], "test": test}


def _idx(root: Path) -> Mapping[str, archives.Labelled] | None:
    paths = archives.find_mnist(root)
    found = paths and {split: archives.read_mnist(pair) for split, pair in paths.items()}
    if found and found["train"].images.shape[1:] != found["test"].images.shape[1:]:
        raise ValueError(f"{paths['train'][0]} and {paths['test'][0]} hold images of two sizes")
    return found


def _binary(root: Path) -> Mapping[str, archives.Labelled] | None:
    path = archives.find_cifar10(root)
    return None if path is None else archives.read_cifar10(path)


_Reader = Callable[[Path], Mapping[str, archives.Labelled] | None]
# Copies of a data set, the best first: its reader, and how many images of train are dev.
_COPIES: dict[str, dict[str, tuple[_Reader, int]]] = {
    "mnist": {"idx": (_idx, 5000), "npz": (packed.read_mnist, 500)},
    "cifar10": {"binary": (_binary, 1000), "jpeg": (packed.read_cifar10, 1000)},
}
_CLASSES = {"mnist": DIGITS, "cifar10": CIFAR_10}
_MISSING = {
    "mnist": "no MNIST in {root}: put train-images-idx3-ubyte.gz and its three fellows into "
    "{root}/mnist, or mnist/train10k.npz and mnist/test.npz, or name the folder with --data_dir",
    "cifar10": "no CIFAR-10 in {root}: put cifar-10-binary.tar.gz, of "
    "https://www.cs.toronto.edu/~kriz/cifar.html, into {root}/cifar10, or name the folder with "
    "--data_dir",
}


def _read_folder(root: Path, size: int) -> dict[str, ImageSet]:
    classes, found = list_images(root)
    if not found["dev"]:
        count = len(found["train"])
        if count < 10:
            raise ValueError(
                f"{root / 'train'} holds {count} images, too few to hold out a tenth: "
                f"give some in {root / 'dev'}"
            )
        order = [found["train"][i] for i in np.random.default_rng(0).permutation(count)]
        found |= {"dev": order[: count // 10], "train": order[count // 10 :]}
    trained = {label for _, label in found["train"]}
    for label, name in enumerate(classes):
        if label not in trained:
            raise ValueError(
                f"{root / 'train' / name} holds no images, or none but the tenth that is held out: "
                f"put some there, give some in {root / 'dev'}, or remove the folder"
            )
    return {split: _of_files(pairs, size, classes) for split, pairs in found.items()}


def _of_files(pairs: list[tuple[Path, int]], size: int, classes: tuple[str, ...]) -> ImageSet:
    paths, labels = zip(*pairs, strict=True)
    images = ImageFiles(paths, size)
    in_memory = math.prod(images.shape) <= IN_MEMORY
    return ImageSet(images[:] if in_memory else images, np.array(labels, np.int32), classes)
