"""Sentence pairs with gold word alignments made by hand, for the alignment error rate."""

import dataclasses
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from attn_research.data.download import find_data_file
from attn_research.data.files import read_lines, shorten
from attn_research.data.text.corpus import Pair
from attn_research.data.text.parallel import fingerprint_pairs

BLANK = "\u2423"  # ␣
_LINK = re.compile(r"([1-9][0-9]{0,5})([-p])([1-9][0-9]{0,5})")

# Languages, and by split the stem of the files NAME.src.gz, NAME.tgt.gz and NAME.gold.gz.
SETS = {
    "hansards": (
        ("en", "fr"),
        {"train": "enfr_train2383", "dev": "enfr_dev37", "test": "enfr"},
    ),
    "roen": (("ro", "en"), {"test": "roen"}),
    "jaen": (("ja", "en"), {"test": "jaen"}),
    "zhen": (("zh", "en"), {"test": "zhen"}),
    "deen100": (("de", "en"), {"test": "deen100"}),
}


@dataclasses.dataclass(frozen=True)
class AlignedText:
    """A gold-aligned set, read from the folder alignment in `data_dir` (see `find_data_dir`).

    `hansards` (Och & Ney 2003; HLT-NAACL 2003) has 2,383 training pairs without links and dev and
    test sets of 37 and 447 pairs with them; `roen` (248 pairs), `jaen` (582), `zhen` (450) and
    `deen100` (100) have a test set alone. Sentences are tokenized, not as Moses does: `'` is no
    &apos; here, and French elisions are undone (`le avis`). A word that is white space, such as
    the ideographic space in `jaen`, is written as BLANK, so that splitting a sentence at spaces
    gives the words that its links count. Links to words that a sentence does not have are left out:
    `deen100` has one of 1,233, in line 63.
    """

    name: str
    data_dir: str | Path | None = None
    lowercase: bool = True

    def __post_init__(self):
        if self.name not in SETS:
            raise ValueError(f"no aligned text {self.name!r}: there are {', '.join(SETS)}")

    @property
    def languages(self) -> tuple[str, str]:
        return SETS[self.name][0]

    def split(self, name: str) -> Sequence[Pair]:
        """The pairs of one split; those of a training split have no links."""
        stems = SETS[self.name][1]
        if name not in stems:
            raise ValueError(f"no split {name!r}: {self.name} has {', '.join(stems)}")
        kinds = ("src", "tgt") if name == "train" else ("src", "tgt", "gold")
        paths = [find_data_file(f"alignment/{stems[name]}.{k}.gz", self.data_dir) for k in kinds]
        columns = [list(read_lines(path)) for path in paths]
        for path, column in zip(paths, columns, strict=True):
            if len(column) != len(columns[0]):
                raise ValueError(
                    f"{path} has {len(column)} lines but {paths[0]} has {len(columns[0])}: "
                    "line i of each has to belong to pair i"
                )
        sources, targets = ([self._sentence(line) for line in column] for column in columns[:2])
        if name == "train":
            return list(map(Pair, sources, targets))
        links = [parse_links(line, f"{paths[2]}, line {n}") for n, line in enumerate(columns[2], 1)]
        return [_link(*row) for row in zip(sources, targets, links, strict=True)]

    def fingerprint(self, name: str) -> str:
        """The SHA-256 of the split's sentences and links, in hex."""
        pairs = self.split(name)
        digest = hashlib.sha256(fingerprint_pairs(pairs).encode())
        for pair in pairs:
            digest.update(f"\n{sorted(pair.sure)}\t{sorted(pair.possible)}".encode())
        return digest.hexdigest()

    def _sentence(self, line: str) -> str:
        line = line.lower() if self.lowercase else line
        # A single space separates the words of these files; other white space belongs to a word.
        return " ".join("".join(word.split()) or BLANK for word in line.split(" "))


def parse_links(line: str, where: str) -> tuple[frozenset, frozenset]:
    """The sure and the other possible links (source word, target word) of a gold line.

    A line holds `i-j` for a sure link and `ipj` for a possible one, i a source and j a target word,
    counted from 1; what is returned counts from 0. A ValueError for an entry that
    is no link begins with `where`.
    """
    links = {"-": set(), "p": set()}
    for entry in line.split():
        match = _LINK.fullmatch(entry)
        if not match:
            raise ValueError(
                f"{where}: {shorten(entry)!r} is no link; want i-j or ipj, words counted from 1"
            )
        source, kind, target = match.groups()
        links[kind].add((int(source) - 1, int(target) - 1))
    return frozenset(links["-"]), frozenset(links["p"] - links["-"])


def _link(source: str, target: str, links: tuple[frozenset, frozenset]) -> Pair:
    num_source, num_target = len(source.split(" ")), len(target.split(" "))
    sure, possible = (
        frozenset((i, j) for i, j in kind if i < num_source and j < num_target) for kind in links
    )
    return Pair(source, target, sure, possible)
