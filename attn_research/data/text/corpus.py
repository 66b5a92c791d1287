"""Parallel corpora: sentence pairs by split, with a fingerprint of each split."""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable


class Pair(NamedTuple):
    """A sentence pair: words separated by single spaces, with gold links where they are known."""

    source: str
    target: str
    sure: frozenset[tuple[int, int]] = frozenset()  # 0-based (source word, target word)
    possible: frozenset[tuple[int, int]] = frozenset()  # may or may not be predicted; not in sure


@runtime_checkable
class Corpus(Protocol):
    """A parallel corpus: sentence pairs in two languages, by split."""

    languages: tuple[str, str]

    def split(self, name: str) -> Sequence[Pair]:
        """A split for random access; a ValueError names the splits there are."""
        ...

    def fingerprint(self, name: str) -> str:
        """The SHA-256 of the split's content, in hex."""
        ...


@dataclasses.dataclass(frozen=True)
class Mixture:
    """A mixture of corpora in the same languages, for training.

    The split `train` is all of theirs, one after the other; every other split is that of the first.
    """

    corpora: tuple[Corpus, ...]

    def __post_init__(self):
        languages = {corpus.languages for corpus in self.corpora}
        if len(languages) != 1:
            found = ", ".join("-".join(pair) for pair in sorted(languages)) or "none"
            raise ValueError(f"a mixture is of corpora in the same two languages; got {found}")

    @property
    def languages(self) -> tuple[str, str]:
        return self.corpora[0].languages

    def split(self, name: str) -> Sequence[Pair]:
        """The pairs of one split, those of `train` held in memory."""
        if name != "train":
            return self.corpora[0].split(name)
        return [pair for corpus in self.corpora for pair in corpus.split(name)]

    def fingerprint(self, name: str) -> str:
        """The SHA-256 of the split, in hex; for `train`, of its corpora's fingerprints."""
        if name != "train":
            return self.corpora[0].fingerprint(name)
        fingerprints = "\n".join(corpus.fingerprint(name) for corpus in self.corpora)
        return hashlib.sha256(fingerprints.encode()).hexdigest()
