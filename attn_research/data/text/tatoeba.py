"""Tatoeba: short everyday sentences and their translations, as exported by manythings.org/anki."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from attn_research.data.download import find_data_file
from attn_research.data.files import read_lines
from attn_research.data.text.corpus import Pair
from attn_research.data.text.parallel import fingerprint_pairs, make_pair

FILES = {"de": "deu-eng.tsv.gz", "fr": "fra-eng.tsv.gz"}  # a line: English, tab, translation
SPLITS = ("test", "dev", "train")
HELD_OUT = 1_000


@dataclasses.dataclass(frozen=True)
class Tatoeba:
    """Tatoeba in English and German or French, in either direction; dev and test have 1,000 pairs.

    The files are read from the folder tatoeba in `data_dir` (see `find_data_dir`). They have no
    splits of their own. Here the hash of an English sentence assigns all its translations to a
    split, and sentences that differ only in case, spaces or punctuation count as one. Test and dev
    have one translation of each of their sentences; pairs of train that share a sentence with them,
    in either language, are left out. `tokenize` applies `lowercase_and_tokenize`, which takes about
    0.1 ms a sentence: half a minute for a training split, so keep what `split` returned.
    """

    languages: tuple[str, str] = ("en", "fr")
    data_dir: str | Path | None = None
    tokenize: bool = False

    def __post_init__(self):
        if sorted(self.languages) not in (sorted(("en", other)) for other in FILES):
            raise ValueError(
                f"languages={self.languages!r}: Tatoeba takes en and one of {', '.join(FILES)}"
            )

    def split(self, name: str) -> Sequence[Pair]:
        """The pairs of one split, held in memory."""
        pairs = self._written(name)
        if not self.tokenize:
            return pairs
        source, target = map(functools.cache, map(lowercase_and_tokenize, self.languages))
        return [Pair(source(pair.source), target(pair.target)) for pair in pairs]

    def fingerprint(self, name: str) -> str:
        """The SHA-256, in hex, of the split's pairs as written and of `tokenize`."""
        text = fingerprint_pairs(self._written(name))
        return hashlib.sha256(f"{text} tokenize={self.tokenize}".encode()).hexdigest()

    def _written(self, name: str) -> list[Pair]:
        if name not in SPLITS:
            raise ValueError(f"no split {name!r}: there are {', '.join(SPLITS)}")
        by_key: dict[str, list[Pair]] = {}
        english = self.languages.index("en")
        for pair in self._read():
            by_key.setdefault(_key(pair[english]), []).append(pair)
        keys = sorted(by_key, key=lambda key: hashlib.sha256(key.encode()).digest())
        held_out = keys[: 2 * HELD_OUT]
        if name != "train":
            first = SPLITS.index(name) * HELD_OUT
            return [by_key[key][0] for key in held_out[first : first + HELD_OUT]]
        seen = {_key(side) for key in held_out for side in by_key[key][0][:2]}
        return [
            pair
            for key in keys[2 * HELD_OUT :]
            for pair in by_key[key]
            if seen.isdisjoint(map(_key, pair[:2]))
        ]

    def _read(self) -> Iterator[Pair]:
        """The pairs of the file, in its order."""
        (other,) = set(self.languages) - {"en"}
        path = find_data_file(f"tatoeba/{FILES[other]}", self.data_dir)
        for number, line in enumerate(read_lines(path), 1):
            match line.split("\t"):
                case [english, translation, *_]:
                    sides = {"en": english, other: translation}
                    yield make_pair(*(sides[language] for language in self.languages))
                case _:
                    raise ValueError(f"{path}, line {number}: no tab between two sentences")


def lowercase_and_tokenize(language: str) -> Callable[[str], str]:
    """A function that lowercases, normalizes punctuation and tokenizes as Moses does.

    The text `lc.norm.tok` of Multi30k was made so, with escapes (&apos;).
    """
    import sacremoses  # slow to import

    normalizer = sacremoses.MosesPunctNormalizer(language)
    tokenizer = sacremoses.MosesTokenizer(language)
    return lambda line: " ".join(tokenizer.tokenize(normalizer.normalize(line.lower())))


def _key(sentence: str) -> str:
    """The sentence without case, spaces and punctuation."""
    return "".join(filter(str.isalnum, sentence.lower()))
