"""Images with labels, and batches of them; every batch is a pure function of (seed, n)."""

import dataclasses
import functools
import hashlib
import io
import itertools
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped, UInt8

from attn_research.data.batching import Rows, all_rows
from attn_research.data.download import find_data_file

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


@dataclasses.dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one size, with the class of each, counted from 0."""

    images: UInt8[np.ndarray, "N H W C"]
    labels: Int[np.ndarray, "N"]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of images and labels, in hex."""
        digest = hashlib.sha256(repr((self.images.shape, self.classes)).encode())
        digest.update(np.ascontiguousarray(self.images).data)
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
    made `size` pixels square.
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


@dataclasses.dataclass(frozen=True)
class ImageBatches:
    """Batches {"image": uint8 [B, H, W, C], "label": int32 [B]} of shuffled epochs.

    `pad` pixels of border are added and a crop of the old size taken at a random place; with `flip`
    every other image is mirrored. What an image gets depends on (seed, epoch, its index) alone.
    """

    data: ImageSet
    batch_size: int
    seed: int
    pad: int = 0
    flip: bool = False

    def __post_init__(self):
        if len(self.data) < self.batch_size:
            raise ValueError(f"{len(self.data)} images do not fill a batch of {self.batch_size}")

    @property
    def per_epoch(self) -> int:
        """Batches in an epoch; the images that fill none wait for the next."""
        return len(self.data) // self.batch_size

    def iterate(
        self, start: int = 0, rows: Rows = all_rows
    ) -> Iterator[dict[str, Shaped[np.ndarray, "B ..."]]]:
        """Batches from `start` on, without end, the given rows of each."""
        step, mine = start, rows(self.batch_size)
        while True:
            epoch, number = divmod(step, self.per_epoch)
            order = self._order(epoch)
            chosen = order[number * self.batch_size : (number + 1) * self.batch_size][mine]
            yield {"image": self._augment(chosen, epoch), "label": self._labels(chosen)}
            step += 1

    @functools.lru_cache(maxsize=2)  # noqa: B019 (lives as long as the run)
    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.seed, epoch)).permutation(len(self.data))

    def _labels(self, chosen: np.ndarray) -> np.ndarray:
        return self.data.labels[chosen].astype(np.int32)

    def _augment(self, chosen: np.ndarray, epoch: int) -> np.ndarray:
        images = self.data.images[chosen]
        if not (self.pad or self.flip):
            return images
        pad, (height, width) = self.pad, images.shape[1:3]
        border = np.pad(images, [(0, 0), (pad, pad), (pad, pad), (0, 0)])
        # One row of draws for every image of the set, so that none depends on its batch mates.
        draws = self._draws(epoch)[chosen]
        top, left = (draws[:, :2] * (2 * pad + 1)).astype(int).T
        rows = top[:, None] + np.arange(height)
        columns = left[:, None] + np.arange(width)
        if self.flip:
            columns = np.where(draws[:, 2:] < 0.5, columns, columns[:, ::-1])
        each = np.arange(len(chosen))[:, None, None]
        return border[each, rows[:, :, None], columns[:, None, :]]

    @functools.lru_cache(maxsize=2)  # noqa: B019 (lives as long as the run)
    def _draws(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.seed, epoch, 1)).random((len(self.data), 3))


def ordered(
    data: ImageSet, batch_size: int
) -> Iterator[tuple[np.ndarray, dict[str, Shaped[np.ndarray, "B ..."]]]]:
    """Every image once, for evaluation: (indices, batch); the last batch is filled up, label -1."""
    for start in range(0, len(data), batch_size):
        members = np.arange(start, min(start + batch_size, len(data)))
        missing = batch_size - len(members)
        images = np.pad(data.images[members], [(0, missing), (0, 0), (0, 0), (0, 0)])
        labels = np.pad(data.labels[members].astype(np.int32), (0, missing), constant_values=-1)
        yield members, {"image": images, "label": labels}


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
    """Images kept as the bytes of JPEG files, end to end."""
    arrays = _read_npz(name, data_dir)
    ends, data = arrays["offsets"].tolist(), arrays["jpeg"]
    images = np.stack(
        [
            _decode(data[start:end].tobytes(), f"image {i} of {name}")
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
        paths = [
            (path, label)
            for label, name in enumerate(classes)
            for path in sorted((root / split / name).glob("*"))
            if path.suffix.lower() in SUFFIXES
        ]
        if paths:
            images = [_decode(path.read_bytes(), str(path), size) for path, _ in paths]
            labels = np.array([label for _, label in paths], np.int32)
            found[split] = ImageSet(np.stack(images), labels, classes)
    if "test" not in found:
        raise FileNotFoundError(f"{root / 'test'} holds no images of {', '.join(classes)}")
    if "dev" not in found:
        order = np.random.default_rng(0).permutation(len(found["train"]))
        tenth = len(order) // 10
        found |= {"dev": found["train"][order[:tenth]], "train": found["train"][order[tenth:]]}
    return found


def _decode(data: bytes, where: str, size: int | None = None) -> UInt8[np.ndarray, "H W 3"]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as image:
            image = image.convert("RGB")
            if size is not None and image.size != (size, size):
                image = image.resize((size, size), Image.Resampling.BILINEAR)
            return np.asarray(image)
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{where} is no image ({error}): replace or remove it") from None
