"""Word error rate of transcripts, and how much attention falls on the time of the spoken word."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from attn_research.types import Float


@dataclasses.dataclass(frozen=True)
class WordErrors:
    """The fewest word edits that turn hypotheses into references, and the references' words."""

    substitutions: int
    deletions: int
    insertions: int
    words: int

    @property
    def rate(self) -> float:
        """(S + D + I) / N, which exceeds 1 where much is inserted."""
        return (self.substitutions + self.deletions + self.insertions) / self.words


def word_errors(hypotheses: Sequence[str], references: Sequence[str]) -> WordErrors:
    """The word errors of a corpus, summed before they are divided.

    Words stand between spaces and are compared as they are. Of edits that are as few, those with
    most substitutions count. ValueError where the references hold no words.
    """
    if len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} hypotheses for {len(references)} references")
    edits = np.zeros(3, int)
    for found, gold in zip(hypotheses, references, strict=True):
        edits += _edits(found.split(), gold.split())
    words = sum(len(gold.split()) for gold in references)
    if not words:
        raise ValueError("the references hold no words, so their error rate is undefined")
    return WordErrors(*map(int, edits), words)


def _edits(found: Sequence[str], gold: Sequence[str]) -> tuple[int, int, int]:
    """Substitutions, deletions and insertions. Levenshtein 1966; Wagner and Fischer 1974."""
    row = [(j, 0, 0, j) for j in range(len(found) + 1)]  # edits, then of each kind
    for i, word in enumerate(gold, 1):
        previous, row = row, [(i, 0, i, 0)]
        for j, other in enumerate(found, 1):
            wrong = word != other
            both, below, left = previous[j - 1], previous[j], row[j - 1]
            row.append(
                min(
                    (both[0] + wrong, both[1] + wrong, *both[2:]),
                    (below[0] + 1, below[1], below[2] + 1, below[3]),
                    (left[0] + 1, *left[1:3], left[3] + 1),
                    key=lambda edits: edits[0],
                )
            )
    return row[-1][1:]


def weight_inside(
    weights: Float[np.ndarray, "*heads T S"],
    times: Float[np.ndarray, "T 2"],
    step_seconds: float,
) -> Float[np.ndarray, "*heads T"]:
    """The fraction of each word's attention that falls on the time in which the word is spoken.

    `times` are the begin and end of each word in seconds. State s stands for the `step_seconds`
    around s · step_seconds; one that the interval covers in part counts in proportion. Even
    attention has the fraction of the sound that the word takes.
    """
    begin, end = (times[:, side, None] / step_seconds + 0.5 for side in (0, 1))
    steps = np.arange(weights.shape[-1])
    covered = np.clip(np.minimum(steps + 1, end) - np.maximum(steps, begin), 0, 1)
    total = weights.sum(axis=-1)
    return np.sum(weights * covered, axis=-1) / np.where(total > 0, total, 1)
