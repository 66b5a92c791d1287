"""Labelled text: a class, a number or a tag for each word, of one sentence or of two."""

import dataclasses
import functools
import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from attn_research.data.files import read_lines, shorten

Labels = Literal["classes", "numbers", "tags"]
# From a label as a file has it to our name of it; a ValueError says why it is none.
ParseLabel = Callable[[str], str]


class Example(NamedTuple):
    """One or two texts and their label: a class, a number, or a tag for each word between spaces.

    Words of a text are separated by single spaces.
    """

    texts: tuple[str, ...]
    label: str


@runtime_checkable
class LabelledCorpus(Protocol):
    """Labelled examples by split; `classes` are those of texts or of words, none for numbers.

    Of two classes the second is the positive one.
    """

    labels: Labels
    num_texts: int

    @property
    def classes(self) -> tuple[str, ...]: ...

    def split(self, name: str) -> Sequence[Example]:
        """A split in memory; a ValueError names the splits there are."""
        ...

    def fingerprint(self, name: str) -> str:
        """The SHA-256 of the split's content, in hex."""
        ...


def fingerprint_examples(examples: Iterable[Example]) -> str:
    """The SHA-256, in hex, of labels and texts: a line for each example, tabs between."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(("\t".join([example.label, *example.texts]) + "\n").encode())
    return digest.hexdigest()


def class_label(names: Mapping[str, str]) -> ParseLabel:
    """A class by its name in a file, as `names` translate it."""

    def parse(text: str) -> str:
        if text not in names:
            raise ValueError(f"the label {shorten(text)!r} is not one of {', '.join(names)}")
        return names[text]

    return parse


def any_label(text: str) -> str:
    """A class of any name."""
    if not text:
        raise ValueError("no label before the tab")
    return text


def number_label(text: str) -> str:
    """A finite number."""
    try:
        finite = math.isfinite(float(text))
    except ValueError:
        finite = False
    if not finite:
        raise ValueError(f"the label {shorten(text)!r} is no finite number")
    return text


def read_table(
    path: str | Path, parse_label: ParseLabel, num_texts: int, *, label_column: int = 0
) -> Iterator[Example]:
    """The examples of a file of tab-separated columns: a label, and a text or two.

    A ValueError names the file and the line at fault.
    """
    for number, line in enumerate(read_lines(path), 1):
        where, columns = f"{path}, line {number}", line.split("\t")
        if len(columns) != num_texts + 1:
            wanted = "a label and a text" if num_texts == 1 else f"a label and {num_texts} texts"
            raise ValueError(
                f"{where}: {len(columns)} columns between tabs; {wanted} are {num_texts + 1}"
            )
        yield make_example(columns.pop(label_column).strip(), columns, parse_label, where)


def make_example(label: str, texts: Sequence[str], parse_label: ParseLabel, where: str) -> Example:
    """An example; any run of whitespace in its texts becomes a single space.

    A ValueError, which begins with `where`, for a label that is none or a text without a word.
    """
    try:
        parsed = parse_label(label)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    words = tuple(" ".join(text.split()) for text in texts)
    if not all(words):
        raise ValueError(f"{where}: a text without a word")
    return Example(words, parsed)


def read_tagged(path: str | Path, parse_label: ParseLabel) -> Iterator[Example]:
    """The sentences of a file with a word and its tag a line, and an empty line after each.

    That is CoNLL's layout; the word is in the first column and the tag in the last, between tabs or
    spaces. Lines -DOCSTART- are left out. A ValueError names the file and the line at fault.
    """
    words, tags = [], []
    for number, line in enumerate(read_lines(path), 1):
        columns = line.split()
        if columns and columns[0] != "-DOCSTART-":
            where = f"{path}, line {number}"
            if len(columns) < 2:
                raise ValueError(f"{where}: the word {shorten(columns[0])!r} has no tag")
            (word,), tag = make_example(columns[-1], columns[:1], parse_label, where)
            words.append(word)
            tags.append(tag)
        elif words:
            yield Example((" ".join(words),), " ".join(tags))
            words, tags = [], []
    if words:
        yield Example((" ".join(words),), " ".join(tags))


@dataclasses.dataclass(frozen=True)
class LabelledFiles:
    """Labelled text of the user: a file for each split, plain or gzip.

    A line is a label, a tab and a text, or two texts with a tab between; of labels "tags" the
    layout is that of `read_tagged`. The classes are those of train, in order of their names; a
    label of another split that is none of them is an error, as the files' other faults are: a
    ValueError that names the file and the line.
    """

    files: Mapping[str, str | Path]
    labels: Labels = "classes"
    num_texts: int = 1

    @functools.cached_property
    def classes(self) -> tuple[str, ...]:
        if self.labels == "numbers":
            return ()
        labels = (example.label for example in self._train)
        if self.labels == "tags":
            labels = (tag for label in labels for tag in label.split())
        return tuple(sorted(set(labels)))

    def split(self, name: str) -> Sequence[Example]:
        """The examples of one split, held in memory."""
        if name not in self.files:
            raise ValueError(f"no split {name!r}: there are {', '.join(self.files) or 'none'}")
        if name == "train":
            return self._train
        parse = number_label
        if self.labels != "numbers":
            parse = class_label({each: each for each in self.classes})
        return self._read(name, parse)

    def fingerprint(self, name: str) -> str:
        """The SHA-256 of the split's examples, in hex."""
        return fingerprint_examples(self.split(name))

    @functools.cached_property
    def _train(self) -> list[Example]:
        return self._read("train", number_label if self.labels == "numbers" else any_label)

    def _read(self, name: str, parse: ParseLabel) -> list[Example]:
        path = self.files[name]
        if self.labels == "tags":
            found = list(read_tagged(path, parse))
        else:
            found = list(read_table(path, parse, self.num_texts))
        if not found:
            raise ValueError(f"{path} is empty")
        return found
