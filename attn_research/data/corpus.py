"""What a corpus is to the rest of the code: sentence pairs by split, and a fingerprint of each."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Pair(NamedTuple):
    """One sentence pair: words separated by single spaces, with gold links where they are known."""

    source: str
    target: str
    sure: frozenset[tuple[int, int]] = frozenset()  # 0-based (source word, target word)
    possible: frozenset[tuple[int, int]] = frozenset()  # may or may not be drawn; not in sure


class Corpus(Protocol):
    """Sentence pairs in two languages, by split."""

    languages: tuple[str, str]

    def split(self, name: str) -> Sequence[Pair]:
        """Returns a split for random access; a ValueError names the splits there are."""
        ...

    def fingerprint(self, name: str) -> str:
        """Returns the SHA-256 of the split's content, in hex."""
        ...
