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


def scored(found, gold):
    return span_score(*([line.split() for line in side.split(";")] for side in (found, gold)))


def test_score_by_hand():
    score = scored("B-a I-a O B-a; B-a B-a; O B-b I-b", "B-a I-a O B-b; O B-a; O O O")
    assert score == SpanScore(num_found=5, num_gold=3, num_right=2)
    assert (score.precision, score.recall) == (2 / 5, 2 / 3)
    assert score.f1 == pytest.approx(2 * 0.4 * (2 / 3) / (0.4 + 2 / 3))


def test_a_part_of_a_span_is_wrong():
    assert scored("B-a O", "B-a I-a").num_right == 0


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
