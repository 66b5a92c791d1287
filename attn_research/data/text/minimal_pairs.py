"""Minimal pairs of sentences, of which one is acceptable: BLiMP (Warstadt et al. 2020)."""

import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from attn_research.data.download import find_data_file
from attn_research.data.files import decode_lines, one_line

_FILE = "blimp/blimp.tsv.xz"
_COLUMNS = ["uid", "field", "term", "simple_lm", "good", "bad"]


class MinimalPair(NamedTuple):
    """Two sentences that differ in what a paradigm is about; a field has several paradigms."""

    paradigm: str
    field: str
    good: str
    bad: str


def blimp_file(data_dir: str | Path | None = None) -> Path:
    """BLiMP's file below the data folder; FileNotFoundError where it is not there."""
    return find_data_file(_FILE, data_dir)


def read_blimp(data_dir: str | Path | None = None) -> dict[str, list[MinimalPair]]:
    """BLiMP's pairs by paradigm, in the order of blimp/blimp.tsv.xz below the data folder.

    FileNotFoundError where there is no such file; a ValueError names it, and the line at fault.
    """
    path = blimp_file(data_dir)
    found: dict[str, list[MinimalPair]] = {}
    for pair in _read(path):
        found.setdefault(pair.paradigm, []).append(pair)
    if not found:
        raise ValueError(f"{path} holds no pairs")
    return found


def draw_pairs(
    paradigms: dict[str, list[MinimalPair]], count: int | None, seed: int, repeats: bool = False
) -> list[MinimalPair]:
    """`count` pairs of each paradigm, drawn by one generator; all where None.

    With `repeats` a pair may be drawn twice. ValueError for a paradigm that has fewer.
    """
    rng, found = np.random.default_rng(seed), []
    for name, pairs in paradigms.items():
        if count is None:
            found += pairs
            continue
        if count > len(pairs):
            raise ValueError(f"the paradigm {name} has {len(pairs)} pairs, fewer than {count}")
        found += [pairs[index] for index in rng.choice(len(pairs), count, replace=repeats)]
    return found


def _read(path: Path) -> Iterator[MinimalPair]:
    try:
        with lzma.open(path) as file:
            lines = decode_lines(file, str(path))
            if next(lines, "").split("\t") != _COLUMNS:
                raise ValueError(f"{path}: the first line is not {' '.join(_COLUMNS)}, with tabs")
            for number, line in enumerate(lines, 2):
                columns = line.split("\t")
                if len(columns) != len(_COLUMNS) or not all(columns):
                    raise ValueError(f"{path}, line {number}: not {len(_COLUMNS)} columns of text")
                paradigm, field, _, _, good, bad = columns
                # The file has one field under two names.
                yield MinimalPair(paradigm, field.replace("/", "_"), good, bad)
    except (lzma.LZMAError, EOFError) as error:
        raise ValueError(f"{path}: damaged xz file ({one_line(error)})") from None
