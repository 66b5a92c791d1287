"""Word error rate against cases counted by hand, and attention inside the time of a word."""

import numpy as np
import pytest

from attn_research.evaluation.speech import WordErrors, weight_inside, word_errors


@pytest.mark.parametrize(
    ("found", "gold", "errors"),
    [
        ("one two three", "one two three", (0, 0, 0, 3)),
        ("one too three", "one two three", (1, 0, 0, 3)),
        ("one three", "one two three", (0, 1, 0, 3)),
        ("", "one two", (0, 2, 0, 2)),
        ("one one two two", "one two", (0, 0, 2, 2)),
        ("b c d", "a b c", (0, 1, 1, 3)),
    ],
)
def test_the_fewest_edits_are_counted(found, gold, errors):
    assert word_errors([found], [gold]) == WordErrors(*errors)


def test_errors_are_summed_before_they_are_divided():
    total = word_errors(["a", "x y z w"], ["a", "b"])
    assert total == WordErrors(1, 0, 3, 2) and total.rate == 2.0
    with pytest.raises(ValueError, match="1 hypotheses for 2 references"):
        word_errors(["a"], ["a", "b"])
    with pytest.raises(ValueError, match="no words"):
        word_errors(["a"], [" "])


def test_weight_inside_counts_covered_steps_in_proportion():
    weights = np.array([[0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 0.0, 0.0]])
    # Step s of 0.1 seconds is from s - 0.5 to s + 0.5 tenths.
    times = np.array([[0.05, 0.20], [0.0, 1.0]])
    np.testing.assert_allclose(weight_inside(weights, times, 0.1), [0.2 + 0.15, 0.0])
    heads = weight_inside(np.stack([weights, weights[:, ::-1]]), times, 0.1)
    np.testing.assert_allclose(heads[:, 0], [0.35, 0.3 + 0.1])
    even = weight_inside(np.full((1, 10), 0.1), np.array([[0.15, 0.45]]), 0.1)
    np.testing.assert_allclose(even, [0.3])
