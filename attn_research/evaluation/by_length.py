"""Corpus scores by source length: in buckets, or in a sliding window for a smooth curve."""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

from attn_research.evaluation.bleu import Bleu, BleuStatistics


@dataclasses.dataclass(frozen=True)
class LengthScore:
    """The score of the `count` sentences with low <= source length <= high.

    None where there are none, or where their references hold no words.
    """

    low: int
    high: int
    count: int
    bleu: Bleu | None

    @property
    def center(self) -> float:
        return (self.low + self.high) / 2


def bleu_by_bucket(
    source_lengths: Sequence[int],
    statistics: BleuStatistics,
    *,
    edges: Sequence[int] = (1, 10, 20, 30, 40, 50, 61),
) -> list[LengthScore]:
    """BLEU of each bucket edges[i] <= source length < edges[i + 1]; other lengths are left out."""
    if len(edges) < 2 or any(low >= high for low, high in itertools.pairwise(edges)):
        raise ValueError(f"bucket edges must rise, two at least; got {list(edges)}")
    spans = [(low, high - 1) for low, high in itertools.pairwise(edges)]
    return _score_spans(spans, source_lengths, statistics)


def bleu_by_window(
    source_lengths: Sequence[int],
    statistics: BleuStatistics,
    *,
    half_width: int,
    centers: Iterable[int] = range(61),
) -> list[LengthScore]:
    """BLEU of the sentences whose source length lies within `half_width` of each center.

    For curves like those of Bahdanau et al. 2014, Figure 2, whose own smoothing is not stated.
    """
    if half_width < 0:
        raise ValueError(f"half_width must not be negative; got {half_width}")
    spans = [(center - half_width, center + half_width) for center in centers]
    return _score_spans(spans, source_lengths, statistics)


def _score_spans(
    spans: Sequence[tuple[int, int]], source_lengths: Sequence[int], statistics: BleuStatistics
) -> list[LengthScore]:
    if len(source_lengths) != len(statistics.matches):
        raise ValueError(
            f"{len(source_lengths)} source lengths but {len(statistics.matches)} sentences"
        )

    def score_span(low: int, high: int) -> LengthScore:
        chosen = [i for i, length in enumerate(source_lengths) if low <= length <= high]
        return LengthScore(low, high, len(chosen), statistics.score(chosen))

    return [score_span(low, high) for low, high in spans]
