"""Number agreement: the words before a verb, labelled with the number that the verb must have.

Linzen, Dupoux, Goldberg 2016, section 2: the number is that of one noun, the head of the subject,
and other nouns may stand between it and the verb ("the book that the girls read").
"""

import dataclasses
import functools
import hashlib
import random
import zlib
from collections.abc import Sequence
from typing import NamedTuple

from attn_research.data.grammar.derivation import Derivation
from attn_research.data.grammar.french import Word
from attn_research.data.grammar.writer import Phrase
from attn_research.data.text.labelled import Example, Labels, fingerprint_examples

VERSION = 1  # raise it with any change to the examples
NUMBERS = ("singular", "plural")
LENGTHS = (10, 20)  # words of the sentences that the examples begin
DISTANCE = 3  # words from the head of the subject to the verb, at least


class Agreement(NamedTuple):
    """The words before a verb, the number of its subject, and the index of the subject's noun."""

    words: tuple[str, ...]
    number: str
    head: int


class _Observed(Derivation):
    """A derivation that keeps each subject, and the number of words before its predicate."""

    def __init__(self, rng: random.Random, length: int):
        self.subjects: list[tuple[int, Phrase]] = []
        super().__init__(rng, length)

    def predicate(self, n: int, subject: Phrase, tense: str) -> list[Word]:
        self.subjects.append((len(self.source), subject))
        return super().predicate(n, subject, tense)


@dataclasses.dataclass(frozen=True)
class AgreementCorpus:
    """The built-in labelled corpus, in sentences of the English-French grammar.

    Examples are a pure function of (seed, split, index); a text belongs to one split.
    """

    seed: int = 0
    train_size: int = 4_000
    dev_size: int = 500
    test_size: int = 1_000

    labels: Labels = dataclasses.field(default="classes", init=False)
    num_texts: int = dataclasses.field(default=1, init=False)

    @property
    def classes(self) -> tuple[str, ...]:
        return NUMBERS

    def split(self, name: str) -> Sequence[Example]:
        """The examples of one split, generated once."""
        return [Example((" ".join(each.words),), each.number) for each in self.agreements(name)]

    def fingerprint(self, name: str) -> str:
        """The SHA-256 of the split's examples, in hex."""
        return fingerprint_examples(self.split(name))

    def agreements(self, name: str) -> Sequence[Agreement]:
        """The examples of one split with the indices of the nouns that decide."""
        sizes = {"train": self.train_size, "dev": self.dev_size, "test": self.test_size}
        if name not in sizes:
            raise ValueError(f"no split {name!r}: there are {', '.join(sizes)}")
        return _agreements(self.seed, name, sizes[name])


@functools.lru_cache(maxsize=8)
def _agreements(seed: int, split: str, size: int) -> tuple[Agreement, ...]:
    return tuple(_draw(seed, split, index) for index in range(size))


def _draw(seed: int, split: str, index: int) -> Agreement:
    """The first agreement over a distance that falls in the split."""
    key = hashlib.sha256(f"{VERSION} {seed} {split} {index}".encode()).digest()
    rng = random.Random(int.from_bytes(key[:8], "little"))
    while True:
        derivation = _Observed(rng, rng.randint(*LENGTHS))
        for end, subject in derivation.subjects:
            if end - subject.head >= DISTANCE:
                words = tuple(derivation.source[:end])
                if _split_of(words) == split:
                    return Agreement(words, NUMBERS[subject.plural], subject.head)


def _split_of(words: tuple[str, ...]) -> str:
    bucket = zlib.crc32(" ".join(words).encode()) % 5
    return ("train", "train", "train", "dev", "test")[bucket]
