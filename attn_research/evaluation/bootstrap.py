"""Paired bootstrap of differences in BLEU: how far test images and their captions decide them."""

from typing import NamedTuple

import numpy as np

from attn_research.types import Float, Int

ORDERS = 4


class Interval(NamedTuple):
    """A difference, and the interval that holds it in 95 of 100 resampled test sets."""

    difference: float
    low: float
    high: float


def bleu_by_order(counts: Int[np.ndarray, "*B 10"]) -> Float[np.ndarray, "*B 4"]:
    """BLEU-1 to BLEU-4 in percent, of sums over sentences of `bleu.bleu_counts`.

    Papineni et al. 2002, section 2.3: BLEU-n has the geometric mean of the precisions of 1- to
    n-grams, and is 0 where one of them is.
    """
    words, closest = (np.maximum(counts[..., i], 1) for i in (0, 1))
    matches, totals = counts[..., 2 : 2 + ORDERS], counts[..., 2 + ORDERS :]
    with np.errstate(divide="ignore"):
        logs = np.log(matches / np.maximum(totals, 1))
    means = np.cumsum(logs, axis=-1) / np.arange(1, ORDERS + 1)
    penalty = np.minimum(0, 1 - closest / words)
    return 100 * np.exp(means + penalty[..., None])


def bleu_difference(
    first: Int[np.ndarray, "seeds N 10"], second: Int[np.ndarray, "others N 10"], *,
    samples: int = 1000,
) -> Interval:  # fmt: skip
    """BLEU-4 of one system above another's, each the mean over its seeds, on the same N sentences.

    Koehn 2004, section 4: test sets are drawn from the sentences with replacement, the same ones
    for both systems.
    """
    size = first.shape[1]
    drawn = np.random.default_rng(0).multinomial(size, np.full(size, 1 / size), samples)
    every = np.concatenate([np.ones((1, size), int), drawn])

    def scores(counts):
        return bleu_by_order(np.einsum("rn,snc->rsc", every, counts))[..., -1].mean(axis=1)

    whole, *others = scores(first) - scores(second)
    low, high = np.percentile(others, [2.5, 97.5])
    return Interval(float(whole), float(low), float(high))
