"""Per-example keys: draws follow the example, not the part of a batch it is in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from attn_research.rng import per_example_key

KEY = jax.random.key(7)


@pytest.mark.parametrize(("first", "stride"), [(0, 1), (3, 1), (1, 4), (2, 2)])
def test_a_part_of_a_batch_draws_the_same_per_example(first, stride):
    def draw(key, rows):
        key = jax.random.split(jax.random.fold_in(key, 5), 3)[1]
        return jax.random.bits(key, (rows, 5, 7))

    whole = draw(per_example_key(KEY), 16)
    part = jax.jit(draw, static_argnums=1)(per_example_key(KEY, first, stride), 3)
    np.testing.assert_array_equal(part, whole[first::stride][:3])


def test_flax_modules_draw_per_example():
    module = nn.Dropout(0.5, deterministic=False)
    x = jnp.ones((8, 6, 5))
    whole = module.apply({}, x, rngs={"dropout": per_example_key(KEY)})
    part = module.apply({}, x[:2], rngs={"dropout": per_example_key(KEY, 4)})
    np.testing.assert_array_equal(part, whole[4:6])


def test_random_bits_are_uniform_and_independent():
    """Over rows, places, and keys made by both functions: within 5 standard deviations."""
    keys = [per_example_key(KEY), jax.random.fold_in(per_example_key(KEY), 0)]
    keys += list(jax.random.split(per_example_key(KEY), 2))
    draws = np.stack([np.asarray(jax.random.bits(key, (64, 512))) for key in keys])
    bits = np.unpackbits(draws.view(np.uint8), axis=-1).astype(float) * 2 - 1  # ±1
    limit = 5 / np.sqrt(bits[0].size)
    assert (abs(bits.mean((1, 2))) < limit).all()
    for other in (np.roll(bits, 1, 0), np.roll(bits, 1, 1), np.roll(bits, 32, 2)):
        assert (abs((bits * other).mean((1, 2))) < limit).all()
    of_bit = bits.reshape(4, 64, 512, 32).mean((0, 1, 2))
    assert (abs(of_bit) < 5 / np.sqrt(4 * 64 * 512)).all()


def test_keys_of_other_implementations_are_refused():
    assert (
        jax.random.key_data(per_example_key(per_example_key(KEY, 3), 2, 4)).tolist()
        == jax.random.key_data(per_example_key(KEY, 2, 4)).tolist()
    )
    with pytest.raises(ValueError, match="not a threefry key"):
        per_example_key(jax.random.key(0, impl="rbg"))
