"""Public data sets of text classification: SST-2, TREC, CoLA, MRPC, RTE, STS-B, WNUT17, IMDb."""

import dataclasses
import functools
import hashlib
import io
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from attn_research.data.download import find_data_dir, find_data_file
from attn_research.data.files import decode_lines, read_lines
from attn_research.data.text.labelled import (
    Example,
    Labels,
    ParseLabel,
    class_label,
    fingerprint_examples,
    make_example,
    number_label,
    read_table,
    read_tagged,
)

SPLITS = ("train", "dev", "test")
HELD_OUT = 10  # one in so many examples of train is held out where there is no file of dev
Read = Callable[[Path, ParseLabel], Iterator[Example]]


def read_questions(path: Path, parse_label: ParseLabel) -> Iterator[Example]:
    """The questions of a file of TREC, `CLASS:kind question` a line in Latin-1, by their class.

    The path is that of a file, or of one in a ZIP archive, ARCHIVE.zip/FILE. A ValueError names the
    file and the line at fault.
    """
    text = io.BytesIO(_content(path).decode("latin-1").encode())
    for number, line in enumerate(decode_lines(text, str(path)), 1):
        label, space, question = line.partition(" ")
        where = f"{path}, line {number}"
        if not space or ":" not in label:
            raise ValueError(f"{where}: no CLASS:kind and question")
        yield make_example(label.partition(":")[0], [question], parse_label, where)


def read_reviews(path: Path, parse_label: ParseLabel) -> Iterator[Example]:
    """The reviews of a file with a label, a number of stars and a text in each line.

    A ValueError names the file and the line at fault.
    """
    for number, line in enumerate(read_lines(path), 1):
        where, columns = f"{path}, line {number}", line.split("\t", 2)
        if len(columns) != 3:
            raise ValueError(f"{where}: no label, stars and text with tabs between")
        yield make_example(columns[0], columns[2:], parse_label, where)


def _content(path: Path) -> bytes:
    archive = next((each for each in path.parents if each.suffix == ".zip"), None)
    if archive is None:
        return path.read_bytes()
    try:
        with zipfile.ZipFile(archive) as opened:
            return opened.read(path.relative_to(archive).as_posix())
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise ValueError(
            f"{archive} cannot be read as the archive of {path.name} ({error})"
        ) from None


def _table(num_texts: int, label_column: int = 0) -> Read:
    return functools.partial(read_table, num_texts=num_texts, label_column=label_column)


@dataclasses.dataclass(frozen=True)
class DataSet:
    """The layout of a data set: files in the data folder by split, and the names of its classes.

    `classes` are ours by the file's own. A file may also stand there without its suffix .gz or .xz.
    """

    files: Mapping[str, str]
    classes: Mapping[str, str]
    read: Read
    labels: Labels = "classes"
    num_texts: int = 1


def _files(pattern: str, **splits: str) -> dict[str, str]:
    return {name: pattern.format(stem) for name, stem in splits.items()}


_NAMED = ("corporation", "creative-work", "group", "location", "person", "product")
_TAGS = ("O", *(f"{begin}-{kind}" for kind in _NAMED for begin in "BI"))
_ANY_SPLIT = dict(train="train", dev="dev", test="test")
_SENTIMENT = {"0": "negative", "1": "positive"}
# CoLA and RTE have no public test labels: what they call dev is the test set here.
DATA_SETS = {
    "sst2": DataSet(
        _files("text_classification/sst2.{}.tsv.gz", **_ANY_SPLIT), _SENTIMENT, _table(1, 1)
    ),
    "sst2_phrases": DataSet(
        _files("glue_small/sst2.{}.tsv.gz", **_ANY_SPLIT), _SENTIMENT, _table(1)
    ),
    "trec": DataSet(
        _files("text_classification/qc.zip/qc/{}.txt", train="train", test="test"),
        {name: name for name in ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")},
        read_questions,
    ),
    "cola": DataSet(
        _files("glue_small/cola.{}.tsv.gz", train="train", test="dev"),
        {"0": "unacceptable", "1": "acceptable"},
        _table(1),
    ),
    "mrpc": DataSet(
        _files("glue_small/mrpc.{}.tsv.gz", train="train", test="test"),
        {"0": "different", "1": "paraphrase"},
        _table(2),
        num_texts=2,
    ),
    "rte": DataSet(
        _files("glue_small/rte.{}.tsv.gz", train="train", test="dev"),
        {"0": "entailment", "1": "not_entailment"},
        _table(2),
        num_texts=2,
    ),
    "stsb": DataSet(
        _files("glue_small/stsb.{}.tsv.gz", **_ANY_SPLIT), {}, _table(2), "numbers", num_texts=2
    ),
    "wnut17": DataSet(
        _files("ner/wnut17.{}.conll.gz", **_ANY_SPLIT),
        {tag: tag for tag in _TAGS},
        read_tagged,
        "tags",
    ),
    "imdb": DataSet(_files("imdb/{}.tsv.xz", train="train", test="test"), _SENTIMENT, read_reviews),
}


@dataclasses.dataclass(frozen=True)
class PublicCorpus:
    """A data set of `DATA_SETS` by name, read from `data_dir` (see `find_data_dir`).

    Where it has no dev of its own, a tenth of train is held out, by the hash of the texts, so that
    equal texts are in one split. FileNotFoundError for a file that is absent; other faults are a
    ValueError that names the file and the line.
    """

    name: str
    data_dir: str | Path | None = None

    def __post_init__(self):
        if self.name not in DATA_SETS:
            raise ValueError(f"no data set {self.name!r}: there are {', '.join(DATA_SETS)}")

    @property
    def labels(self) -> Labels:
        return DATA_SETS[self.name].labels

    @property
    def num_texts(self) -> int:
        return DATA_SETS[self.name].num_texts

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(DATA_SETS[self.name].classes.values())

    def split(self, name: str) -> Sequence[Example]:
        """The examples of one split, held in memory."""
        if name not in SPLITS:
            raise ValueError(f"no split {name!r}: there are {', '.join(SPLITS)}")
        files = DATA_SETS[self.name].files
        if "dev" in files or name == "test":
            return self._read(files[name])
        return [x for x in self._read(files["train"]) if held_out(x) == (name == "dev")]

    def fingerprint(self, name: str) -> str:
        """The SHA-256 of the split's examples, in hex."""
        return fingerprint_examples(self.split(name))

    def check(self) -> None:
        """FileNotFoundError for a file that is absent, before any is read."""
        for name in DATA_SETS[self.name].files.values():
            self._find(name)

    def _read(self, name: str) -> list[Example]:
        about = DATA_SETS[self.name]
        parse = number_label if about.labels == "numbers" else class_label(about.classes)
        return list(about.read(self._find(name), parse))

    def _find(self, name: str) -> Path:
        archive, inside, member = name.partition(".zip/")
        if inside:
            return find_data_file(f"{archive}.zip", self.data_dir) / member
        plain = find_data_dir(self.data_dir) / name.removesuffix(".gz").removesuffix(".xz")
        return plain if plain.is_file() else find_data_file(name, self.data_dir)


def held_out(example: Example) -> bool:
    """Whether an example of train is one of dev, where a data set has no dev of its own."""
    digest = hashlib.sha256("\t".join(example.texts).lower().encode()).digest()
    return int.from_bytes(digest[:4], "little") % HELD_OUT == 0
