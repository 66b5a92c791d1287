"""Captioned images: drawn scenes, a part of Flickr8k, or a folder with a file of captions.

Captions are read in lower case, as words without punctuation marks, which is how captions are
scored; those of scenes are as the grammar has them.

A folder's file of captions has a line IMAGE<TAB>CAPTION for each caption, as many as there are of
an image. IMAGE is a path below the folder; a number after it, as in 1.jpg#0, is left out. Images in
train/, dev/ (or val/) and test/ are of these splits; where there are no such folders a tenth is
test and a tenth is dev, drawn at random. ValueError for a line of another kind, a caption of no
words, a caption of an image that is not there and a file that is no image; images of no caption are
not read, which a warning says.
"""

import dataclasses
import functools
import hashlib
import logging
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from attn_research.data.arrays import cut, read_arrays
from attn_research.data.download import find_data_dir, find_data_file
from attn_research.data.files import DEV_NAMES, name_some, read_lines, shorten
from attn_research.data.images.datasets import IN_MEMORY
from attn_research.data.images.files import SUFFIXES, ImageFiles, decode
from attn_research.data.images.scenes import Scenes

SPLITS = ("train", "dev", "test")
IMAGES, CAPTIONS = "flickr8k_1000/images.npz", "captions/Flickr8k.token.txt.gz"
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_NUMBER = re.compile(r"#\d+$")


@dataclasses.dataclass(frozen=True, eq=False)
class CaptionedImages:
    """Images of one size with the captions of each, words with spaces between.

    `regions` are those of the words of the first caption, [T, grid, grid], where they are known.
    """

    images: UInt8[np.ndarray, "N size size 3"] | ImageFiles
    captions: tuple[tuple[str, ...], ...]
    regions: tuple[Bool[np.ndarray, "_ grid grid"], ...] | None = None

    def __len__(self) -> int:
        return len(self.captions)

    @functools.cached_property
    def fingerprint(self) -> str:
        """The SHA-256, in hex, of captions and images, or of the image files."""
        digest = hashlib.sha256(repr((self.images.shape, self.captions)).encode())
        kept = isinstance(self.images, ImageFiles)
        digest.update(self.images.digest if kept else np.ascontiguousarray(self.images).data)
        return digest.hexdigest()


def caption_words(text: str) -> list[str]:
    """The words of a caption in lower case, without punctuation marks."""
    return _WORD.findall(text.lower())


@functools.lru_cache(maxsize=4)
def draw_captioned(scenes: Scenes, seed: int, split: str, count: int) -> CaptionedImages:
    """The first scenes of a split. Those of test are the same for every seed."""
    numbers = (0 if split == "test" else seed, SPLITS.index(split))
    found = [scenes.draw(numbers, index) for index in range(count)]
    return CaptionedImages(
        np.stack([one.pixels for one in found]),
        tuple((one.caption,) for one in found),
        tuple(one.regions for one in found),
    )


def read_flickr8k(data_dir: str | Path | None, size: int) -> dict[str, CaptionedImages]:
    """The splits of the first 1,000 images of Flickr8k; those in no official split are left out."""
    root = find_data_dir(data_dir)
    path = find_data_file(IMAGES, root)
    arrays = read_arrays(path, ("jpeg", "offsets", "names", "split"))
    names, of_split = (arrays[key].astype(str).tolist() for key in ("names", "split"))
    if not len(names) == len(of_split) == len(arrays["offsets"]) - 1:
        raise ValueError(f"{path} has other numbers of names, splits and images: replace it")
    captions = read_captions(find_data_file(CAPTIONS, root))
    if unknown := [name for name in names if name not in captions]:
        raise ValueError(f"{path}: {len(unknown)} images have no caption, such as {unknown[0]}")
    pixels = np.empty((len(names), size, size, 3), np.uint8)
    for i, content in enumerate(cut(arrays["jpeg"], arrays["offsets"], path)):
        pixels[i] = decode(content.tobytes(), f"{names[i]} in {path}", size)
    found = {}
    for split in SPLITS:
        rows = [i for i, each in enumerate(of_split) if each == split]
        found[split] = CaptionedImages(pixels[rows], tuple(captions[names[i]] for i in rows))
    return found


def read_folder(root: Path, file: Path, size: int) -> dict[str, CaptionedImages]:
    """The splits of a folder of images with a file of captions, as this module says."""
    captions = read_captions(file)
    outside = [name for name in captions if Path(name).is_absolute() or ".." in Path(name).parts]
    if outside:
        raise ValueError(f"{file}: {_some(outside)} is not below {root}: name files in it")
    if missing := [name for name in captions if not (root / name).is_file()]:
        raise FileNotFoundError(
            f"{file} has captions of {len(missing)} images that are not in {root}, such as "
            f"{_some(missing)}: put them there, or remove the captions"
        )
    there = (path for path in sorted(root.rglob("*")) if path.suffix.lower() in SUFFIXES)
    known = {root / name for name in captions}
    if without := [path for path in there if path not in known and path.is_file()]:
        logging.getLogger(__name__).warning(
            "%s: %d images have no caption in %s and are not read: %s",
            root, len(without), file, name_some(without, root),
        )  # fmt: skip
    found = {}
    for split, names in _split(sorted(captions), file).items():
        images = ImageFiles(tuple(root / name for name in names), size)
        if math.prod(images.shape) <= IN_MEMORY:
            images = images[:]
        else:
            images.check()  # a broken one is to be known before training
        found[split] = CaptionedImages(images, tuple(captions[name] for name in names))
    return found


def read_captions(file: Path) -> dict[str, tuple[str, ...]]:
    """The captions of each image of a file of lines IMAGE<TAB>CAPTION."""
    found: dict[str, list[str]] = {}
    for number, line in enumerate(read_lines(file), 1):
        if not line.strip():
            continue
        name, tab, text = line.partition("\t")
        name, words = _NUMBER.sub("", name.strip()), caption_words(text)
        if not tab or not name or not words:
            raise ValueError(
                f"{file}, line {number}: {shorten(line)!r} is no image, tab and caption of words"
            )
        found.setdefault(name, []).append(" ".join(words))
    if not found:
        raise ValueError(f"{file} holds no captions: give lines of an image, a tab and a caption")
    return {name: tuple(captions) for name, captions in found.items()}


def _split(names: Sequence[str], file: Path) -> dict[str, list[str]]:
    """The names of each split, by the folders that they begin with, or a tenth held out twice."""
    folders = {name: "dev" for name in DEV_NAMES} | {"train": "train", "test": "test"}
    first = [folders.get(Path(name).parts[0]) for name in names]
    if not any(first):
        tenth = len(names) // 10
        if not tenth:
            raise ValueError(f"{file} names {len(names)} images: give at least 10, or splits")
        order = [names[i] for i in np.random.default_rng(0).permutation(len(names))]
        test, dev, train = order[:tenth], order[tenth : 2 * tenth], order[2 * tenth :]
        return {"train": train, "dev": dev, "test": test}
    if others := [name for name, split in zip(names, first, strict=True) if split is None]:
        raise ValueError(f"{file}: {_some(others)} is in none of the folders train, dev and test")
    found = {
        split: [name for name, each in zip(names, first, strict=True) if each == split]
        for split in SPLITS
    }
    if empty := [split for split, names in found.items() if not names]:
        raise ValueError(f"{file} names no image in {empty[0]}/: every split needs some")
    return found


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3])
