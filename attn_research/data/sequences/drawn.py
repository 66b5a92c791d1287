"""The common part of labelled corpora that are drawn at random."""

import dataclasses
import functools
import hashlib
import random
from collections.abc import Sequence
from typing import ClassVar

from attn_research.data.text.classification import SPLITS
from attn_research.data.text.labelled import Example, Labels, fingerprint_examples


@dataclasses.dataclass(frozen=True)
class DrawnCorpus:
    """A labelled corpus of which every example is a function of (seed, split, index).

    A subclass defines `draw`, its name and its classes.
    """

    seed: int = 0
    train_size: int = 4_000
    dev_size: int = 500
    test_size: int = 1_000

    name: ClassVar[str]
    labels: ClassVar[Labels] = "classes"
    num_texts: ClassVar[int] = 1

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        raise NotImplementedError

    def draw(self, rng: random.Random) -> Example:
        """An example."""
        raise NotImplementedError

    def split(self, name: str) -> Sequence[Example]:
        """The examples of one split, drawn once."""
        if name not in SPLITS:
            raise ValueError(f"no split {name!r}: there are {', '.join(SPLITS)}")
        return _split(self, name)

    def fingerprint(self, name: str) -> str:
        """The SHA-256 of the split's examples, in hex."""
        return fingerprint_examples(self.split(name))


@functools.lru_cache(maxsize=3)  # the splits of one corpus
def _split(corpus: DrawnCorpus, name: str) -> tuple[Example, ...]:
    return tuple(
        corpus.draw(random.Random(_seed(f"{corpus.name} {corpus.seed} {name} {index}")))
        for index in range(getattr(corpus, f"{name}_size"))
    )


def _seed(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
