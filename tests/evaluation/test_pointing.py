"""Pointing: weights inside gold regions, and the baselines."""

import numpy as np
import pytest

from attn_research.evaluation.pointing import (
    Pointing,
    center_weights,
    pointing,
    uniform_weights,
)

REGIONS = np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]], bool)


def test_weights_inside_the_region_of_words_that_have_one():
    weights = np.array([[0.5, 0.1, 0.4, 0], [1, 0, 0, 0], [0.6, 0.1, 0.2, 0.1]])
    found = pointing(weights, REGIONS)
    assert found == Pointing(pytest.approx((0.6 + 0.2) / 2), 0.5, 2)
    assert pointing(10 * weights, REGIONS) == found


def test_ties_count_by_their_share():
    weights = np.array([[0.0, 0.5, 0.5, 0.0], [1, 0, 0, 0], [0.5, 0, 0.5, 0]])
    assert pointing(weights, REGIONS).argmax == 0.5
    found = pointing(uniform_weights(3, (2, 2)), REGIONS)
    assert found.argmax == found.weight == (2 / 4 + 1 / 4) / 2


def test_the_center():
    np.testing.assert_array_equal(center_weights(2, (3, 3)), [[0] * 4 + [1] + [0] * 4] * 2)
    even = center_weights(1, (2, 4)).reshape(2, 4)
    np.testing.assert_array_equal(even, [[0, 0.25, 0.25, 0]] * 2)


def test_no_gold_region_is_an_error():
    with pytest.raises(ValueError, match="no word has a gold region"):
        pointing(np.ones((2, 4)), np.zeros((2, 4), bool))
