"""Minimal pairs judged at the end of a run: the log-probabilities of both sentences are kept.

A line of blimp.tsv has the paradigm and the field of a pair, and the log-probabilities, in nats, of
its acceptable sentence and of the other: sums over the tokens, each given those before it, or all
others where a mask stands for it (pseudo-log-likelihood; Salazar et al. 2020, equation 1). Scores
are computed from this file alone.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attn_research.data.files import read_lines, write_whole
from attn_research.data.text.minimal_pairs import MinimalPair
from attn_research.data.text.tokenizers import BOS
from attn_research.types import Float
from experiments.harness.task import kept_file
from experiments.tasks.language_modeling.blanks import Reader

FILE = "blimp.tsv"
_HEADER = "paradigm\tfield\tacceptable\tother"


def write_pairs(
    path: Path, pairs: Sequence[MinimalPair], reader: Reader, encode: Callable[[str], list[int]]
) -> None:
    """Writes the log-probabilities of the sentences of pairs; ValueError for one that is long."""
    good, bad = (
        _of_texts(reader, [np.array([BOS, *encode(text)], np.int32) for text in texts])
        for texts in zip(*((pair.good, pair.bad) for pair in pairs), strict=True)
    )
    lines = [_HEADER] + [
        f"{pair.paradigm}\t{pair.field}\t{one:.4f}\t{other:.4f}"
        for pair, one, other in zip(pairs, good, bad, strict=True)
    ]
    write_whole(path, "\n".join([*lines, ""]).encode())


def _of_texts(reader: Reader, texts: Sequence[np.ndarray]) -> Float[np.ndarray, "texts"]:
    """The sum over the tokens of each text after the first."""
    owners = np.repeat(np.arange(len(texts)), [len(ids) - 1 for ids in texts])
    places = [place for ids in texts for place in range(1, len(ids))]
    found = reader.of_right([texts[owner] for owner in owners], places)
    return np.bincount(owners, found, minlength=len(texts))


def score_pairs(path: Path) -> tuple[dict[str, Any], str]:
    """The share of pairs whose acceptable sentence is likelier, by field too, and the SHA-256."""
    header, *lines = read_lines(kept_file(path))
    rows = [line.split("\t") for line in lines]
    if header != _HEADER or not rows or any(len(row) != 4 for row in rows):
        raise ValueError(f"{path} is no file of pairs")
    by_field = defaultdict(list)
    for _, field, good, bad in rows:
        by_field[field].append(float(good) > float(bad))
    right = [each for found in by_field.values() for each in found]
    scores = {"pairs": len(right), "accuracy": _share(right)}
    scores["by_field"] = {field: _share(found) for field, found in sorted(by_field.items())}
    return scores, hashlib.sha256(path.read_bytes()).hexdigest()


def _share(right: Sequence[bool]) -> float:
    return round(sum(right) / len(right), 6)
