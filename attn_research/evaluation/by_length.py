"""Corpus scores by source length: in buckets, or in a sliding window for a smooth curve."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence

from attn_research.evaluation.bleu import Bleu, Reference, has_words, tokenized_bleu


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
    hypotheses: Sequence[str],
    references: Sequence[Reference],
    *,
    edges: Sequence[int] = (1, 10, 20, 30, 40, 50, 61),
    score: Callable[[list[str], list[Reference]], Bleu] = tokenized_bleu,
) -> list[LengthScore]:
    """BLEU of each bucket edges[i] <= source length < edges[i + 1]; other lengths are left out."""
    if len(edges) < 2 or any(low >= high for low, high in itertools.pairwise(edges)):
        raise ValueError(f"bucket edges must rise, two at least; got {list(edges)}")
    spans = [(low, high - 1) for low, high in itertools.pairwise(edges)]
    return _score_spans(spans, source_lengths, hypotheses, references, score)


def bleu_by_window(
    source_lengths: Sequence[int],
    hypotheses: Sequence[str],
    references: Sequence[Reference],
    *,
    half_width: int,
    centers: Iterable[int] = range(61),
    score: Callable[[list[str], list[Reference]], Bleu] = tokenized_bleu,
) -> list[LengthScore]:
    """BLEU of the sentences whose source length lies within `half_width` of each center.

    For curves like those of Bahdanau et al. 2014, Figure 2, whose own smoothing is not stated.
    """
    if half_width < 0:
        raise ValueError(f"half_width must not be negative; got {half_width}")
    spans = [(center - half_width, center + half_width) for center in centers]
    return _score_spans(spans, source_lengths, hypotheses, references, score)


def _score_spans(
    spans: Sequence[tuple[int, int]],
    source_lengths: Sequence[int],
    hypotheses: Sequence[str],
    references: Sequence[Reference],
    score: Callable[[list[str], list[Reference]], Bleu],
) -> list[LengthScore]:
    if not len(source_lengths) == len(hypotheses) == len(references):
        raise ValueError(
            f"{len(source_lengths)} source lengths, {len(hypotheses)} hypotheses and "
            f"{len(references)} references: the counts must agree"
        )

    def score_span(low: int, high: int) -> LengthScore:
        chosen = [i for i, length in enumerate(source_lengths) if low <= length <= high]
        picked = [hypotheses[i] for i in chosen], [references[i] for i in chosen]
        return LengthScore(low, high, len(chosen), score(*picked) if has_words(picked[1]) else None)

    return [score_span(low, high) for low, high in spans]
