"""The Perceiver resampler: as many tokens for any number of features, and whence they come."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.layers.feed_forward import BlockConfig
from attn_research.layers.resampler import PerceiverResampler, Resampled

R, D = 3, 4


@pytest.fixture(scope="module")
def resampler():
    network = PerceiverResampler(R, 2, D, 7, 2, config=BlockConfig(pre_norm=True))
    features = jnp.array(np.random.default_rng(0).normal(size=(2, 5, D)), jnp.float32)
    params = jax.jit(network.init)(jax.random.key(1), features)
    program = jax.jit(network.apply, static_argnames="capture")
    found = program(params, features, capture="all")
    return functools.partial(program, params), features, params["params"], found


def test_tokens_are_as_many_for_any_number_of_features(resampler):
    apply, features, _, found = resampler
    assert found.tokens.shape == (2, R, D)
    fewer = apply(features[:, :1])
    assert fewer.tokens.shape == (2, R, D) and fewer.weights is None


def test_keys_and_values_are_features_and_latents(resampler):
    _, features, params, found = resampler
    assert found.weights.shape == (2, 2, 2, R, 5 + R)  # B L N R P + R
    np.testing.assert_allclose(found.weights.sum(-1), 1, atol=1e-5)
    p = jax.tree.map(lambda x: np.asarray(x, np.float64)[0], params["blocks"])

    def norm(x):
        x = np.asarray(x, np.float64)
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)

    latents = norm(params["latents"])
    both = np.concatenate([norm(features[0]), latents])
    query, key = (
        (x @ p["attention"][name]["kernel"]).reshape(-1, 2, D // 2)
        for name, x in (("query", latents), ("key", both))
    )
    scores = np.exp(np.einsum("rnh,snh->nrs", query, key) / np.sqrt(D // 2))
    expected = scores / scores.sum(-1, keepdims=True)
    np.testing.assert_allclose(found.weights[0, 0], expected, atol=1e-5)


def test_the_attention_to_features_goes_through_the_layers(resampler):
    found = resampler[-1]
    weights = np.asarray(found.weights).mean(axis=2)
    first, second = weights[:, 0], weights[:, 1]
    expected = second[..., :5] + second[..., 5:] @ first[..., :5]
    np.testing.assert_allclose(found.over_features(), expected, atol=1e-6)
    with pytest.raises(ValueError, match='capture="all"'):
        Resampled(found.tokens, None).over_features()
