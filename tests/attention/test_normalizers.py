"""Softmax where allowed, by hand and at its edges; the Gaussian; dropout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from attn_research.attention import Dropout, Gaussian, softmax

LOG_3 = np.log(3)
SCORES = np.array([[0, LOG_3, np.inf], [9, np.inf, -9], [0, -np.inf, LOG_3], [-np.inf] * 3])
ALLOWED = np.array([[1, 1, 0], [0, 0, 0], [1, 1, 1], [1, 1, 1]], bool)
WEIGHTS = np.array([[0.25, 0.75, 0], [0, 0, 0], [0.25, 0, 0.75], [0, 0, 0]])
K_POS = np.arange(3)[None, None, None]


def four_axes(array, dtype=None):
    return jnp.asarray(np.asarray(array, dtype)[None, None])


def test_softmax_and_gradient_by_hand_without_nan():
    with jax.debug_nans(True):  # raises at the first operation that gives one
        weights, pull = jax.vjp(
            lambda scores: softmax(scores, four_axes(ALLOWED), K_POS),
            four_axes(SCORES, jnp.float32),
        )
        (gradient,) = pull(four_axes([[1, 5, 7]] * 4, jnp.float32))
    np.testing.assert_allclose(weights[0, 0], WEIGHTS, rtol=1e-6)
    np.testing.assert_array_equal(np.asarray(weights)[0, 0] == 0, WEIGHTS == 0)
    means = np.array([4, 0, 5.5, 0])[:, None]
    expected = WEIGHTS * (np.array([1, 5, 7]) - means)
    np.testing.assert_allclose(gradient[0, 0], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(gradient[0, 0])[WEIGHTS == 0], 0)


def test_masked_scores_and_cotangents_have_no_effect():
    spoiled = four_axes(np.where(ALLOWED, SCORES, np.nan), jnp.float32)
    weights, pull = jax.vjp(lambda scores: softmax(scores, four_axes(ALLOWED), K_POS), spoiled)
    np.testing.assert_allclose(weights[0, 0], WEIGHTS, rtol=1e-6)
    (gradient,) = pull(four_axes(np.where(ALLOWED, 1, np.nan), jnp.float32))
    np.testing.assert_allclose(gradient[0, 0], np.zeros((4, 3)), atol=1e-7)


def test_derivatives_of_every_order_and_direction():
    rng = np.random.default_rng(0)
    allowed = rng.random((1, 2, 3, 5)) < 0.7

    def weights_of_scores(scores):
        return softmax(jnp.asarray(scores), jnp.asarray(allowed), np.arange(5)[None, None, None])

    with jax.enable_x64(True):
        scores = jnp.asarray(rng.standard_normal(allowed.shape))
        check_grads(weights_of_scores, (scores,), order=2, modes=("fwd", "rev"))
        # The change of a masked score reaches no weight.
        changes = jnp.where(allowed, 1, jnp.nan)
        _, changed = jax.jvp(weights_of_scores, (scores,), (changes,))
    np.testing.assert_allclose(changed, 0, atol=1e-12)


def test_scores_far_apart_do_not_overflow():
    weights = softmax(four_axes([[3e38, -3e38, 3e38]], jnp.float32), four_axes([[True] * 3]), K_POS)
    np.testing.assert_array_equal(weights[0, 0], [[0.5, 0, 0.5]])


EQUAL, EVERY = np.zeros((1, 1, 2, 21), np.float32), np.ones((1, 1, 2, 21), bool)


def weights_of(normalizer, scores=EQUAL, allowed=EVERY):
    return normalizer(jnp.asarray(scores), allowed, np.arange(21)[None, None, None])


def test_gaussian_is_1_at_its_center_and_e_to_the_minus_2_at_two_deviations():
    center, half_width = jnp.array([[10.0, 7.0]]), 6
    factor = 21 * weights_of(Gaussian(center, half_width / 2))[0, 0]
    np.testing.assert_allclose(factor[[0, 1], [10, 7]], 1, rtol=1e-6)
    at_the_edge = factor[[0, 0, 1, 1], [4, 16, 1, 13]]
    np.testing.assert_allclose(at_the_edge, np.exp(-2), rtol=1e-5)


def test_gaussian_multiplies_softmax_weights_without_renormalizing():
    rng = np.random.default_rng(0)
    scores, allowed = rng.standard_normal(EQUAL.shape, np.float32), rng.random(EQUAL.shape) < 0.5
    center = jnp.array([[3.25, 30.0]])  # the second stands past the keys
    got = np.asarray(weights_of(Gaussian(center, 2.5), scores, allowed))
    inner = weights_of(softmax, scores, allowed)
    offset = np.arange(21) - np.array([[3.25], [30.0]])
    np.testing.assert_allclose(got[0, 0], inner[0, 0] * np.exp(-(offset**2) / 12.5), rtol=1e-5)
    assert (got.sum(-1) < 1).all()
    assert not got[~allowed].any()


def test_gaussian_takes_another_inner_normalizer():
    def uniform(scores, allowed, k_pos):
        return jnp.where(allowed, 0.5, 0.0)

    got = weights_of(Gaussian(jnp.array([[1.0, 1.0]]), 1.0, inner=uniform))
    np.testing.assert_allclose(got[0, 0, :, 1], 0.5)


def test_invalid_gaussians_are_refused():
    with pytest.raises(ValueError, match=r"deviation=0.*give a positive deviation"):
        Gaussian(jnp.zeros((1, 2)), 0.0)
    with pytest.raises(ValueError, match=r"Gaussian\(center\) has shape \(1, 3\): give \(1, 2\)"):
        weights_of(Gaussian(jnp.zeros((1, 3)), 1.0))


def test_dropout_rate_and_independence():
    rate, size = 0.3, (4, 8, 64, 256)
    factors = np.asarray(Dropout(rate, jax.random.key(5))(jnp.ones(size)))
    dropped = (factors == 0).astype(np.float64)
    np.testing.assert_allclose(factors[factors != 0], 1 / (1 - rate), rtol=1e-6)
    count = dropped.size
    assert abs(dropped.mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / count)
    # Neighbors along each axis, and the next row's next key, agree as often as strangers.
    centered = dropped - rate
    for axes in ((0,), (1,), (2,), (3,), (2, 3), (0, 3)):
        moved = centered
        for axis in axes:
            moved = np.roll(moved, 1, axis)
        correlation = (centered * moved).mean() / (rate * (1 - rate))
        assert abs(correlation) < 4 / np.sqrt(count), axes
    for axis in range(4):  # every row, column, head and batch element at that rate
        means = dropped.mean(axis=tuple(a for a in range(4) if a != axis))
        deviation = np.sqrt(rate * (1 - rate) / (count / size[axis]))
        assert abs(means - rate).max() < 4.5 * deviation
    other = np.asarray(Dropout(rate, jax.random.key(6))(jnp.ones(size)))
    assert ((other == 0) != (factors == 0)).mean() > 0.4
