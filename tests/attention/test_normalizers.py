"""Softmax where allowed, by hand and at its edges."""

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.attention import softmax

LOG_3 = np.log(3)
SCORES = np.array([[0, LOG_3, np.inf], [9, np.inf, -9], [0, -np.inf, LOG_3], [-np.inf] * 3])
ALLOWED = np.array([[1, 1, 0], [0, 0, 0], [1, 1, 1], [1, 1, 1]], bool)
WEIGHTS = np.array([[0.25, 0.75, 0], [0, 0, 0], [0.25, 0, 0.75], [0, 0, 0]])


def four_axes(array, dtype=None):
    return jnp.asarray(np.asarray(array, dtype)[None, None])


def test_by_hand_and_no_step_of_it_is_nan():
    with jax.debug_nans(True):  # raises at the first operation that gives one
        weights, pull = jax.vjp(
            lambda scores: softmax(scores, four_axes(ALLOWED)), four_axes(SCORES, jnp.float32)
        )
        (gradient,) = pull(four_axes([[1, 5, 7]] * 4, jnp.float32))
    np.testing.assert_allclose(weights[0, 0], WEIGHTS, rtol=1e-6)
    np.testing.assert_array_equal(np.asarray(weights)[0, 0] == 0, WEIGHTS == 0)
    means = np.array([4, 0, 5.5, 0])[:, None]
    expected = WEIGHTS * (np.array([1, 5, 7]) - means)
    np.testing.assert_allclose(gradient[0, 0], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(gradient[0, 0])[WEIGHTS == 0], 0)


def test_masked_scores_and_cotangents_may_be_anything():
    spoiled = four_axes(np.where(ALLOWED, SCORES, np.nan), jnp.float32)
    weights, pull = jax.vjp(lambda scores: softmax(scores, four_axes(ALLOWED)), spoiled)
    np.testing.assert_allclose(weights[0, 0], WEIGHTS, rtol=1e-6)
    (gradient,) = pull(four_axes(np.where(ALLOWED, 1, np.nan), jnp.float32))
    np.testing.assert_allclose(gradient[0, 0], np.zeros((4, 3)), atol=1e-7)


def test_scores_far_apart_do_not_overflow():
    weights = softmax(four_axes([[3e38, -3e38, 3e38]], jnp.float32), four_axes([[True] * 3]))
    np.testing.assert_array_equal(weights[0, 0], [[0.5, 0, 0.5]])
