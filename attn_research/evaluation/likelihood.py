"""Perplexity and bits, of log-probabilities that were kept line by line."""

import math
from collections.abc import Iterable
from typing import NamedTuple, SupportsFloat


class LineLikelihood(NamedTuple):
    """The log-probability of a line, in nats, with the tokens, words and characters it is of.

    The end of a line counts as one of each.
    """

    tokens: int
    words: int
    characters: int
    log_prob: float


def total(lines: Iterable[LineLikelihood]) -> LineLikelihood:
    """The sums over lines."""
    columns = list(zip(*lines, strict=True)) or [()] * 4
    return LineLikelihood(*map(sum, columns[:3]), math.fsum(columns[3]))


def perplexity(log_prob: float, count: SupportsFloat) -> float:
    """exp(-log p / count) of a log-probability in nats; infinite where it exceeds all numbers."""
    loss = -log_prob / float(count)
    return math.exp(loss) if loss < 700 else math.inf


def bits(log_prob: float, count: SupportsFloat) -> float:
    """-log₂ p / count of a log-probability in nats."""
    return -log_prob / (float(count) * math.log(2))
