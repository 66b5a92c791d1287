"""Spans of tags and their score, by hand."""

import pytest

from attn_research.evaluation.spans import Span, SpanScore, span_score, spans_of


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("O O", []),
        ("B-a I-a O", [(0, 2, "a")]),
        ("B-a B-a I-a", [(0, 1, "a"), (1, 3, "a")]),
        ("B-a I-b I-b", [(0, 1, "a"), (1, 3, "b")]),
        ("O I-a I-a O I-a", [(1, 3, "a"), (4, 5, "a")]),  # as CoNLL's script reads it
        ("B-creative-work I-creative-work", [(0, 2, "creative-work")]),
        ("", []),
    ],
)
def test_spans(tags, spans):
    assert spans_of(tags.split()) == [Span(*each) for each in spans]


def test_score_by_hand():
    gold = ["B-a I-a O B-b".split(), "O B-a".split(), "O O O".split()]
    found = ["B-a I-a O B-a".split(), "B-a B-a".split(), "O B-b I-b".split()]
    score = span_score(found, gold)
    assert score == SpanScore(num_found=5, num_gold=3, num_right=2)
    assert (score.precision, score.recall) == (2 / 5, 2 / 3)
    assert score.f1 == pytest.approx(2 * 0.4 * (2 / 3) / (0.4 + 2 / 3))


def test_a_part_of_a_span_is_wrong():
    assert span_score(["B-a O".split()], ["B-a I-a".split()]).num_right == 0


def test_no_spans_at_all():
    score = span_score([["O"]], [["O"]])
    assert (score.precision, score.recall, score.f1) == (0, 0, 0)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="sentence 2: 1 tags for 2 words"):
        span_score([["O"], ["O"]], [["O"], ["O", "O"]])
    with pytest.raises(ValueError, match="1 tagged sentences for 2"):
        span_score([["O"]], [["O"], ["O"]])
    with pytest.raises(ValueError, match="the tag 'E-a' is not O, B-KIND or I-KIND"):
        spans_of(["E-a"])
