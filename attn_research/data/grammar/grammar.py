"""The built-in English-French corpus: a synchronous grammar with gold word links.

Any pair is a pure function of (seed, split, index), so nothing is stored or downloaded. Pronouns,
agreement and ambiguous words depend on context, and sentences have from 3 to 60 words, for which
attention was introduced (Bahdanau et al., 2015, section 5).
"""

import dataclasses
import hashlib
import random
import zlib
from collections.abc import Sequence

from attn_research.data.grammar.derivation import Derivation, Pronoun
from attn_research.data.text.corpus import Pair

VERSION = 1  # raise it with any change to the pairs
STRATA = ((3, 9), (10, 19), (20, 29), (30, 39), (40, 49), (50, 60))  # source words, with the stop
TRAIN_WEIGHTS = (0.22, 0.26, 0.20, 0.14, 0.10, 0.08)
LONGEST_TARGET = 66


@dataclasses.dataclass(frozen=True)
class Grammar:
    """The corpus of one seed; dev and test hold each stratum of source lengths equally often.

    Two nouns are possible antecedents of "it". They differ in French gender, except in a fraction
    `same_gender` of the pairs. At 0 neither the genders nor the adjective alone predict il or elle,
    which is hard for gradient descent; above 0 the gender of each noun alone has information.
    ValueError where it is no fraction.
    """

    seed: int = 0
    train_size: int = 100_000
    dev_size: int = 600
    test_size: int = 1_200
    same_gender: float = 0.0

    languages = ("en", "fr")

    def __post_init__(self):
        if not 0 <= self.same_gender <= 1:
            raise ValueError(f"same_gender {self.same_gender}: give a fraction, from 0 to 1")

    def split(self, name: str) -> Sequence[Pair]:
        """A split whose pairs are generated on access."""
        return _Split(self, name, self._size(name))

    def fingerprint(self, name: str) -> str:
        """The SHA-256 of the parameters, the version and the first 1,000 pairs."""
        share = f" {self.same_gender}" if self.same_gender else ""
        about = f"{VERSION} {self.seed} {name} {self._size(name)}{share}"
        digest = hashlib.sha256(about.encode())
        pairs = self.split(name)
        for index in range(min(1_000, len(pairs))):
            pair = pairs[index]
            links = sorted(pair.sure), sorted(pair.possible)
            digest.update(f"\n{pair.source}\t{pair.target}\t{links}".encode())
        return digest.hexdigest()

    def pronouns(self, split: str, index: int) -> tuple[Pronoun, ...]:
        """The pronouns of a pair whose gender depends on which of two nouns is the antecedent."""
        return tuple(self._derive(split, index).pronouns)

    def _size(self, name: str) -> int:
        sizes = {"train": self.train_size, "dev": self.dev_size, "test": self.test_size}
        if name not in sizes:
            raise ValueError(f"no split {name!r}: there are {', '.join(sizes)}")
        return sizes[name]

    def _derive(self, split: str, index: int) -> Derivation:
        """The first derivation that falls in the split: a source sentence belongs to one split."""
        if not 0 <= index < self._size(split):
            raise IndexError(f"pair {index} of {split}, which has {self._size(split)}")
        key = hashlib.sha256(f"{VERSION} {self.seed} {split} {index}".encode()).digest()
        rng = random.Random(int.from_bytes(key[:8], "little"))
        if split == "train":
            (stratum,) = rng.choices(STRATA, TRAIN_WEIGHTS)
        else:
            stratum = STRATA[index % len(STRATA)]
        length = rng.randint(*stratum)
        while True:
            derivation = Derivation(rng, length, self.same_gender)
            if len(derivation.target) <= LONGEST_TARGET and _split_of(derivation) == split:
                return derivation


def _split_of(derivation: Derivation) -> str:
    bucket = zlib.crc32(" ".join(derivation.source).encode()) % 5
    return ("train", "train", "train", "dev", "test")[bucket]


@dataclasses.dataclass(frozen=True)
class _Split(Sequence):
    grammar: Grammar
    name: str
    size: int

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int | slice) -> Pair | list[Pair]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self.size))]
        if index < 0:
            index += self.size
        derivation = self.grammar._derive(self.name, index)
        words = derivation.target
        return Pair(
            " ".join(derivation.source),
            " ".join([word.text for word in words]),
            frozenset([(i, j) for j, word in enumerate(words) for i in word.sure]),
            frozenset([(i, j) for j, word in enumerate(words) for i in word.possible]),
        )
