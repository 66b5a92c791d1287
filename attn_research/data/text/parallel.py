"""Parallel text of the user: pairs of files, and data sets in Hugging Face's layout."""

import dataclasses
import hashlib
import itertools
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attn_research.data.files import check_characters, read_lines, user_path
from attn_research.data.text.corpus import Pair
from attn_research.data.text.segmented import refuse_subwords


def make_pair(source: str, target: str) -> Pair:
    """A pair of two lines; any run of whitespace in them becomes a single space."""
    return Pair(" ".join(source.split()), " ".join(target.split()))


def fingerprint_pairs(pairs: Iterable[Pair]) -> str:
    """The SHA-256, in hex, of the sentences of `pairs`: a line each, tab between sides."""
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(f"{pair.source}\t{pair.target}\n".encode())
    return digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class TextFiles:
    """A corpus of parallel files, plain or gzip: `files` gives (source, target) paths by split.

    Line i of one file translates line i of the other; empty lines are kept, so that the pairs of
    a test set stay aligned with its references. A ValueError names the file and the line at fault;
    text that was cut into subwords already is refused (see `refuse_subwords`).
    """

    languages: tuple[str, str]
    files: Mapping[str, tuple[str | Path, str | Path]]

    def split(self, name: str) -> Sequence[Pair]:
        """The pairs of one split, held in memory."""
        return list(self.stream(name))

    def stream(self, name: str) -> Iterator[Pair]:
        """The pairs of one split as a stream, in constant memory."""
        if name not in self.files:
            raise ValueError(f"no split {name!r}: there are {', '.join(self.files) or 'none'}")
        source_path, target_path = map(str, self.files[name])
        yield from refuse_subwords(self._read(source_path, target_path), (source_path, target_path))

    def _read(self, source_path: str, target_path: str) -> Iterator[Pair]:
        sources, targets = read_lines(source_path), read_lines(target_path)
        number = 0
        for number, (source, target) in enumerate(itertools.zip_longest(sources, targets), 1):
            if source is None or target is None:
                longer = number + sum(1 for _ in (sources if target is None else targets))
                counts = (longer, number - 1) if target is None else (number - 1, longer)
                raise ValueError(
                    f"{source_path} has {counts[0]} lines but {target_path} has {counts[1]}: "
                    f"line i of one has to translate line i of the other"
                )
            yield make_pair(source, target)
        if not number:
            raise ValueError(f"{source_path} and {target_path} are empty")

    def fingerprint(self, name: str) -> str:
        """The SHA-256 of the split's pairs, in hex."""
        return fingerprint_pairs(self.stream(name))


@dataclasses.dataclass(frozen=True)
class HuggingFace:
    """A corpus of the package `datasets`, with rows of {"translation": {"en": ..., "fr": ...}}.

    `name` is a data set of the hub or a folder, `config` its configuration, as in
    `HuggingFace("wmt14", ("en", "fr"), "fr-en")`. Rows stay on disk, memory-mapped; all of a split
    are read once for the ValueError that names a row without text in one of the languages.
    """

    name: str
    languages: tuple[str, str]
    config: str | None = None

    def split(self, name: str) -> Sequence[Pair]:
        """The pairs of one split, read from disk row by row."""
        found = self._rows(name)
        names = tuple(f"{self.name}, split {name!r} in {side}" for side in self.languages)
        for _ in refuse_subwords(iter(found), names):
            pass
        return found

    def fingerprint(self, name: str) -> str:
        """The SHA-256 of the split's pairs, in hex."""
        return fingerprint_pairs(iter(self._rows(name)))

    def _rows(self, name: str) -> "_Rows":
        splits = self._load()
        if name not in splits:
            raise ValueError(f"no split {name!r}: {self.name} has {', '.join(splits)}")
        rows = splits[name]
        there = (rows[0].get("translation") or {}) if len(rows) else {}
        if not set(self.languages) <= set(there):
            raise ValueError(
                f"{self.name}, split {name!r}: its rows have no translation in "
                f"{' and '.join(self.languages)} (they have: {', '.join(there) or 'none'})"
            )
        return _Rows(rows, self.languages, f"{self.name}, split {name!r}")

    def _load(self) -> Mapping[str, Any]:
        try:
            import datasets  # ty: ignore[import-not-found]
        except ImportError:
            raise ImportError(
                f"reading {self.name} needs the package datasets: pip install datasets"
            ) from None
        folder = user_path(self.name)
        if (folder / "dataset_dict.json").is_file():  # as save_to_disk leaves it
            return datasets.load_from_disk(str(folder))
        name = str(folder) if folder.is_dir() else self.name
        return datasets.load_dataset(name, self.config)


class _Rows(Sequence[Pair]):
    """The rows of a Hugging Face data set as pairs."""

    def __init__(self, rows: Any, languages: tuple[str, str], where: str):
        self._rows, self._languages, self._where = rows, languages, where

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[operator.index(index)]
        return self._pair(index, self._rows[index])

    def __iter__(self) -> Iterator[Pair]:
        return itertools.starmap(self._pair, enumerate(self._rows))

    def _pair(self, number: int, row: Mapping[str, Any]) -> Pair:
        sides = row.get("translation") or {}
        for language in self._languages:
            text, where = sides.get(language), f"{self._where}, row {number}"
            if not isinstance(text, str):
                raise ValueError(
                    f"{where}: its text in {language} is {text!r}; leave such rows out, as by the "
                    "method filter of a data set"
                )
            check_characters(text, f"{where}, {language}")
        return make_pair(*(sides[language] for language in self._languages))
