"""Attention rollout by hand."""

import numpy as np

from attn_research.evaluation.rollout import rollout


def test_rollout_of_two_layers_by_hand():
    first = np.array([[0.0, 1.0], [0.0, 1.0]])
    second = np.array([[1.0, 0.0], [1.0, 0.0]])
    # Heads are averaged; half of every layer is the identity.
    weights = np.stack([np.stack([first, first]), np.stack([second, second])])
    expected = np.array([[1.0, 0.0], [0.5, 0.5]]) @ np.array([[0.5, 0.5], [0.0, 1.0]])
    np.testing.assert_allclose(rollout(weights), expected)


def test_rows_sum_to_one():
    scores = np.random.default_rng(0).random((3, 2, 5, 5))
    weights = scores / scores.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(rollout(weights).sum(axis=-1), np.ones(5))
