"""Spans of tagged words, and their F1, as the shared task of CoNLL-2003 scores named entities."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

OUTSIDE = "O"


class Span(NamedTuple):
    """The words from `start` to before `stop`, counted from 0, of one kind."""

    start: int
    stop: int
    kind: str


@dataclasses.dataclass(frozen=True)
class SpanScore:
    """Counts of spans: predicted, in the gold tags, and in both."""

    num_found: int
    num_gold: int
    num_right: int

    @property
    def precision(self) -> float:
        """The fraction of predicted spans that are right; 0 where there are none."""
        return self.num_right / self.num_found if self.num_found else 0.0

    @property
    def recall(self) -> float:
        """The fraction of gold spans that were predicted; 0 where there are none."""
        return self.num_right / self.num_gold if self.num_gold else 0.0

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall; 0 where there is no span at all."""
        both = self.num_found + self.num_gold
        return 2 * self.num_right / both if both else 0.0


def spans_of(tags: Sequence[str]) -> list[Span]:
    """The spans of a sentence's tags O, B-KIND and I-KIND.

    A span begins at B-, and at an I- that does not continue a span of its kind (as in the layout IO
    and in predictions), as the evaluation script of CoNLL has it. ValueError for another tag.
    """
    spans, start, kind = [], 0, None
    for position, tag in enumerate([*tags, OUTSIDE]):
        prefix, _, now = tag.partition("-")
        if tag != OUTSIDE and (prefix not in ("B", "I") or not now):
            raise ValueError(f"the tag {tag!r} is not O, B-KIND or I-KIND")
        continues = prefix == "I" and now == kind
        if kind is not None and not continues:
            spans.append(Span(start, position, kind))
        if not continues:
            start, kind = position, now or None
    return spans


def span_score(found: Sequence[Sequence[str]], gold: Sequence[Sequence[str]]) -> SpanScore:
    """The score of the predicted tags of some sentences: a span is right if it and its kind are.

    Tjong Kim Sang, De Meulder 2003, section 2.3. ValueError where the words do not agree.
    """
    if len(found) != len(gold):
        raise ValueError(f"{len(found)} tagged sentences for {len(gold)}")
    num_found = num_gold = num_right = 0
    for number, (tags, right_tags) in enumerate(zip(found, gold, strict=True), 1):
        if len(tags) != len(right_tags):
            raise ValueError(f"sentence {number}: {len(tags)} tags for {len(right_tags)} words")
        spans, right_spans = set(spans_of(tags)), set(spans_of(right_tags))
        num_found += len(spans)
        num_gold += len(right_spans)
        num_right += len(spans & right_spans)
    return SpanScore(num_found, num_gold, num_right)
