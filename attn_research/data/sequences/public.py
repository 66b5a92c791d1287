"""Public data as long sequences: pixels of CIFAR-10, and halves of IMDb's reviews."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from attn_research.data.images.datasets import CIFAR_10, ImageSet, load_images
from attn_research.data.text.classification import SPLITS, PublicCorpus
from attn_research.data.text.labelled import Example, Labels, fingerprint_examples

GRAY = np.array([0.299, 0.587, 0.114])  # luminance of red, green and blue (ITU-R BT.601)


@dataclasses.dataclass(frozen=True)
class Pixels:
    """CIFAR-10's images in gray, a text of 1,024 levels by row, "0" to "255".

    Tay et al. 2020, section 3.2.4. Read from `data_dir` (see `load_images`); of train and test the
    first so many.
    """

    data_dir: str | Path | None = None
    train_size: int = 49_000
    test_size: int = 10_000

    labels: ClassVar[Labels] = "classes"
    num_texts: ClassVar[int] = 1

    @property
    def classes(self) -> tuple[str, ...]:
        return CIFAR_10

    def split(self, name: str) -> Sequence[Example]:
        """The examples of one split, held in memory."""
        images = self._images(name)
        gray = np.rint(images.images[:] @ GRAY).astype(int).reshape(len(images), -1)
        return [
            Example((" ".join(map(str, levels)),), CIFAR_10[label])
            for levels, label in zip(gray.tolist(), images.labels.tolist(), strict=True)
        ]

    def fingerprint(self, name: str) -> str:
        """The fingerprint of the images of a split."""
        return self._images(name).fingerprint

    def _images(self, name: str) -> ImageSet:
        if name not in SPLITS:
            raise ValueError(f"no split {name!r}: there are {', '.join(SPLITS)}")
        sizes = {"train": self.train_size, "dev": None, "test": self.test_size}
        return _images(self.data_dir)[name][: sizes[name]]


@functools.lru_cache(maxsize=1)
def _images(data_dir: str | Path | None) -> dict[str, ImageSet]:
    return load_images("cifar10", data_dir)


@dataclasses.dataclass(frozen=True)
class Halves:
    """Pairs of halves of IMDb's reviews, "same" where both are of one review, "other" where not.

    A stand-in for the retrieval of Tay et al. 2020, section 3.2.3, whose articles are not at hand:
    every review gives one pair, and every other one the second half of the one after the next.
    Both sides of a pair have as many words, half of the shorter of these two reviews, whichever its
    class, so that lengths do not tell it.
    """

    data_dir: str | Path | None = None

    labels: ClassVar[Labels] = "classes"
    num_texts: ClassVar[int] = 2

    @property
    def classes(self) -> tuple[str, ...]:
        return "other", "same"

    @property
    def _reviews(self) -> PublicCorpus:
        return PublicCorpus("imdb", self.data_dir)

    def check(self) -> None:
        """FileNotFoundError for a file that is absent, before any is read."""
        self._reviews.check()

    def split(self, name: str) -> Sequence[Example]:
        """The examples of one split, held in memory."""
        reviews = [x.texts[0].split() for x in self._reviews.split(name)]
        reviews = [words for words in reviews if len(words) > 1]
        pairs = []
        for index, words in enumerate(reviews):
            same = index % 2
            other = reviews[(index + 2) % len(reviews)]
            half = min(len(words), len(other)) // 2
            first, second = words[:half], (words if same else other)[-half:]
            pairs.append(Example((" ".join(first), " ".join(second)), self.classes[same]))
        return pairs

    def fingerprint(self, name: str) -> str:
        """The SHA-256 of the split's examples, in hex."""
        return fingerprint_examples(self.split(name))
