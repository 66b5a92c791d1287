"""The convolutional stem of speech models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.layers.audio import AudioStem, spread_sinusoids


def test_a_padded_sound_has_the_states_that_it_has_alone():
    stem = AudioStem(6, 9)
    rng = np.random.default_rng(0)
    features = jnp.array(rng.normal(size=(1, 17, 5)), jnp.float32)  # noise stands in padding
    params = stem.init(jax.random.key(0), features, jnp.ones((1, 17), bool))
    for length in (1, 8, 9, 17):
        valid = jnp.arange(17)[None] < length
        states, real = stem.apply(params, features, valid)
        alone, whole = stem.apply(params, features[:, :length], jnp.ones((1, length), bool))
        count = (length + 1) // 2
        assert states.shape == (1, 9, 6) and int(real.sum()) == count and bool(whole.all())
        np.testing.assert_allclose(states[:, :count], alone, atol=1e-6)


def test_a_sound_longer_than_the_positions_is_refused():
    stem = AudioStem(6, 2)
    with pytest.raises(ValueError, match="5 frames is longer than 4"):
        stem.init(jax.random.key(0), jnp.ones((1, 5, 3)), jnp.ones((1, 5), bool))


def test_wavelengths_run_from_the_shortest_to_the_longest():
    table = spread_sinusoids(3, 8)
    rates = 10_000.0 ** (-np.arange(4) / 3)
    np.testing.assert_allclose(table[2], [*np.sin(2 * rates), *np.cos(2 * rates)], atol=1e-6)
