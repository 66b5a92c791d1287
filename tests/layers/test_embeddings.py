"""Positions of tokens among padding and segments, and sinusoids in halves."""

import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.layers.embeddings import SinusoidalPositions, sinusoids, token_positions


def test_padding_takes_no_position():
    ids = jnp.zeros((2, 6), jnp.int32)
    np.testing.assert_array_equal(token_positions(ids), np.arange(6)[None])
    valid = np.array([[0, 1, 1, 0, 1, 0], [1, 1, 1, 1, 0, 0]], bool)
    found = np.asarray(token_positions(ids, jnp.asarray(valid)))
    np.testing.assert_array_equal(found[valid], [0, 1, 2, 0, 1, 2, 3])
    np.testing.assert_array_equal(found[~valid], [0, 3, 5, 4, 5])  # where it stands
    segments = jnp.array([[1, 1, 2, 2, 2, 0], [1, 2, 2, 3, 0, 0]])
    expected = [[0, 1, 0, 1, 2, 0], [0, 0, 1, 0, 0, 1]]
    np.testing.assert_array_equal(token_positions(ids, segments=segments), expected)
    with pytest.raises(ValueError, match="valid and segments: give segments alone"):
        token_positions(ids, jnp.asarray(valid), segments)


def test_sinusoids_in_halves_have_all_sines_first():
    positions = jnp.array([[0, 3, 90]])
    pairs, halves = (sinusoids(positions, 8, pairing) for pairing in ("interleaved", "halves"))
    np.testing.assert_array_equal(halves[..., :4], pairs[..., 0::2])
    np.testing.assert_array_equal(halves[..., 4:], pairs[..., 1::2])
    np.testing.assert_array_equal(SinusoidalPositions("halves").apply({}, positions, 8), halves)
