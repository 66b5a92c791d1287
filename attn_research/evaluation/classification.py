"""Accuracy, F1 and Matthews correlation of predicted classes; Pearson and Spearman of numbers."""

import math
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

from attn_research.types import Float

Numbers = Sequence[float | int] | Float[np.ndarray, "B"]


def accuracy(found: Sequence[Hashable], gold: Sequence[Hashable]) -> float:
    """The fraction of predictions that are right."""
    _check(found, gold)
    return sum(one == other for one, other in zip(found, gold, strict=True)) / len(gold)


def f1(found: Sequence[Hashable], gold: Sequence[Hashable], positive: Hashable) -> float:
    """The harmonic mean of precision and recall of one class; 0 where it is never right.

    2 tp / (2 tp + fp + fn), with true and false positives and false negatives. van Rijsbergen 1979.
    """
    _check(found, gold)
    right = sum(one == other == positive for one, other in zip(found, gold, strict=True))
    both = sum(one == positive for one in found) + sum(one == positive for one in gold)
    return 2 * right / both if both else 0.0


def macro_f1(found: Sequence[Hashable], gold: Sequence[Hashable]) -> float:
    """The mean of `f1` over the classes that occur, in the gold labels or in the predictions."""
    _check(found, gold)
    classes = set(found) | set(gold)
    return sum(f1(found, gold, each) for each in classes) / len(classes)


def matthews_correlation(found: Sequence[Hashable], gold: Sequence[Hashable]) -> float:
    """Matthews correlation coefficient of any number of classes; 0 where a side has one class.

        (n c - Σ_k p_k t_k) / √((n² - Σ_k p_k²) (n² - Σ_k t_k²))

    n examples, of which c are right; class k is predicted p_k times and is right t_k times.
    Gorodkin 2004, equation 8; of two classes it is that of Matthews 1975.
    """
    _check(found, gold)
    size, predicted, true = len(gold), Counter(found), Counter(gold)
    right = sum(one == other for one, other in zip(found, gold, strict=True))
    # Whole numbers to the end, so that a side of one class gives exactly 0.
    above = size * right - sum(predicted[each] * true[each] for each in true)
    spread = [size**2 - sum(n**2 for n in counts.values()) for counts in (predicted, true)]
    return above / math.sqrt(math.prod(spread)) if all(spread) else 0.0


def pearson_correlation(found: Numbers, gold: Numbers) -> float:
    """Pearson's correlation coefficient; 0 where one side is constant."""
    _check(found, gold)
    one, other = (_centered(np.asarray(side, np.float64)) for side in (found, gold))
    norms = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / norms if norms else 0.0


def spearman_correlation(found: Numbers, gold: Numbers) -> float:
    """Spearman's rank correlation; equal numbers share the mean of their ranks. Spearman 1904."""
    _check(found, gold)
    return pearson_correlation(_ranks(found), _ranks(gold))


def _centered(values: Float[np.ndarray, "B"]) -> Float[np.ndarray, "B"]:
    # The mean of equal numbers may differ from them in the last bit.
    return np.zeros_like(values) if np.ptp(values) == 0 else values - values.mean()


def _ranks(values: Numbers) -> Float[np.ndarray, "B"]:
    """Ranks from 1 on, the mean rank for each of equal numbers."""
    _, index, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[index]


def _check(found: Sequence | Numbers, gold: Sequence | Numbers) -> None:
    if len(found) != len(gold):
        raise ValueError(f"{len(found)} predictions for {len(gold)} examples")
    if not len(gold):
        raise ValueError("no examples to score")
