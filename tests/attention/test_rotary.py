"""Rotary embeddings: values by hand, relative positions, and the error of angles far out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import Rotary, attend
from attn_research.attention.rotary import angles


def rotate(first, second, angle):
    return first * np.cos(angle) - second * np.sin(angle), second * np.cos(angle) + first * (
        np.sin(angle)
    )


def test_pairs_are_rotated_by_hand():
    # Base 100 and width 4: pair 0 turns by the position, pair 1 by a tenth of it.
    heads = jnp.array([1.0, 2, 3, 4]).reshape(1, 1, 1, 4)
    position = jnp.array([[2]])
    one, other = rotate(1, 2, 2.0), rotate(3, 4, 0.2)
    found = Rotary(4, 100.0, "interleaved").at(position)(heads)
    np.testing.assert_allclose(found.ravel(), [*one, *other], rtol=1e-6)
    one, other = rotate(1, 3, 2.0), rotate(2, 4, 0.2)
    found = Rotary(4, 100.0, "halves").at(position)(heads)
    np.testing.assert_allclose(found.ravel(), [one[0], other[0], one[1], other[1]], rtol=1e-6)


RNG = np.random.default_rng(0)
B, T, N, K, H = 2, 5, 4, 2, 6
QUERY, KEY, VALUE = (jnp.array(RNG.normal(size=(B, T, n, H)), jnp.float32) for n in (N, K, K))


@pytest.mark.parametrize("pairing", ["interleaved", "halves"])
def test_scores_depend_on_the_difference_of_positions_alone(pairing):
    rotary, places = Rotary(H, pairing=pairing), jnp.arange(T)[None]

    def weights(shift):
        at = rotary.at(places + shift)
        return attend(at(QUERY), at(KEY), VALUE, capture="all").weights

    plain = attend(QUERY, KEY, VALUE, capture="all").weights
    assert np.abs(weights(0) - plain).max() > 0.1
    np.testing.assert_array_equal(rotary.at(0 * places)(QUERY), QUERY)
    np.testing.assert_allclose(weights(-3), weights(0), atol=1e-6)
    np.testing.assert_allclose(weights(100_000), weights(0), atol=1e-4)
    norms = np.linalg.norm(rotary.at(places)(QUERY), axis=-1)
    np.testing.assert_allclose(norms, np.linalg.norm(QUERY, axis=-1), rtol=1e-6)


def test_pairings_differ_by_the_order_of_features_alone():
    order = np.arange(H).reshape(2, -1).T.ravel()  # neighbours from halves
    places = jnp.arange(T)[None]
    halves = Rotary(H).at(places)(QUERY)
    found = Rotary(H, pairing="interleaved").at(places)(QUERY[..., order])
    np.testing.assert_array_equal(found, halves[..., order])


@pytest.mark.parametrize("base", [10_000.0, 500_000.0])
def test_angles_are_exact_far_out(base):
    positions = np.array([0, 1, 7, 4095, 100_000, 1_000_003, -2, -513])
    rates = base ** (-np.arange(0, 64, 2) / 64)
    exact = np.exp(1j * positions[:, None] * rates)
    found = np.exp(1j * np.float64(angles(jnp.array(positions), 64, base)))
    error = np.abs(found - exact).max(axis=1)
    assert (error <= np.abs(positions) * 7.4e-10 + 4e-7).all()
    assert error[4] <= 7.4e-5
    # The product of floats is far from that.
    product = np.float32(positions)[:, None] * np.float32(rates)
    assert np.abs(np.exp(1j * np.float64(product)) - exact)[4].max() > 1e-3


def test_heads_keep_their_dtype_and_a_rotation_is_a_pytree():
    run = jax.jit(lambda rotation, heads: rotation(heads))
    rotation = Rotary(H).at(jnp.arange(T)[None])
    half = QUERY.astype(jnp.bfloat16)
    found = run(rotation, half)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(
        np.float32(found), rotation(half.astype(jnp.float32)), rtol=2**-7, atol=2**-7
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Rotary(5).at(jnp.arange(3)), "width 5 is odd"),
        (lambda: Rotary(4, 0.5).at(jnp.arange(3)), "base 0.5 of the angles: give 1 or more"),
        (lambda: Rotary(4).at(jnp.arange(T)[None])(QUERY), "width 4 is not for heads of width 6"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
