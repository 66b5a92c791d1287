"""Attention over a memory, by hand; its keys are computed once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.layers.attention import MemoryAttention
from attn_research.layers.scoring import make_scoring

B, T, S, DSTATE, D, H = 2, 5, 7, 4, 6, 3


@pytest.fixture(scope="module")
def attention():
    module = MemoryAttention(make_scoring("additive", features=H))
    keys = jax.random.split(jax.random.key(0), 3)
    states = jax.random.normal(keys[0], (B, T, DSTATE))
    annotations = jax.random.normal(keys[1], (B, S, D))
    valid = jnp.arange(S)[None] < jnp.array([[4], [S]])

    def read(module, states, annotations, valid, capture=None):
        return module(states, module.project(annotations, valid), capture=capture)

    initial = jax.jit(lambda k: module.init(k, states, annotations, valid, method=read))(keys[2])
    run = jax.jit(lambda p, *xs: module.apply(p, *xs, capture="all", method=read))
    return module, read, run, initial, (states, annotations, valid)


def test_initial_attention_is_uniform_over_words(attention):
    *_, run, initial, (states, annotations, valid) = attention
    assert not initial["params"]["scoring"]["vector"].any()
    context, weights = run(initial, states, annotations, valid)
    words = np.asarray(valid) / np.asarray(valid).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(weights, np.repeat(words[:, None], T, axis=1), atol=1e-7)
    means = np.einsum("bs,bsd->bd", words, annotations)
    np.testing.assert_allclose(context, np.repeat(means[:, None], T, axis=1), atol=1e-6)


def test_attention_by_hand(attention):
    *_, run, initial, (states, annotations, valid) = attention
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda x: x + np.float32(rng.normal(size=x.shape)), initial)
    context, weights = run(params, states, annotations, valid)
    p = jax.tree.map(np.asarray, params["params"]["scoring"])
    states, annotations, valid = map(np.asarray, (states, annotations, valid))
    query = states @ p["query"]["kernel"] + p["query"]["bias"]
    keys = annotations @ p["key"]["kernel"]
    energies = np.tanh(query[:, :, None] + keys[:, None]) @ p["vector"]
    shares = np.exp(energies) * valid[:, None]
    expected = shares / shares.sum(axis=-1, keepdims=True)
    assert expected[:, :, :4].std(axis=-1).mean() > 0.03  # far from uniform
    np.testing.assert_allclose(weights, expected, atol=1e-6)
    np.testing.assert_allclose(context, expected @ annotations, atol=1e-5)
    np.testing.assert_allclose(weights.sum(axis=-1), np.ones((B, T)), atol=1e-6)
    assert not np.asarray(weights)[0, :, 4:].any()


def test_the_context_of_one_annotation_is_that_annotation(attention):
    *_, run, initial, (states, annotations, _) = attention
    context, _ = run(initial, states, annotations, jnp.arange(S)[None] < jnp.array([[1], [1]]))
    first = np.repeat(np.asarray(annotations)[:, :1], T, axis=1)
    np.testing.assert_allclose(context, first, atol=1e-6)


def test_weights_are_returned_only_if_captured(attention):
    module, read, _, initial, arrays = attention
    found = jax.eval_shape(lambda p: module.apply(p, *arrays, method=read), initial)
    assert found.context.shape == (B, T, D)
    assert found.weights is None
