"""Reformer's attention as the heads of a model."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import Causal, Full, Padding
from attn_research.layers.embeddings import LearnedPositions
from attn_research.layers.lsh import LSHAttention
from attn_research.models.gpt import GPT
from tests.comparison import assert_trees_close

T, D = 12, 8
INPUTS = jax.random.normal(jax.random.key(0), (2, T, D))
MASKS = [Full(), Causal(), Padding(jnp.arange(T)[None] < jnp.array([[12], [7]]))]


def call(layer, inputs, mask, **options):
    return layer(inputs, layer.project(inputs), mask, **options)


def heads(**options):
    return LSHAttention(2, 4, **options)


@pytest.fixture(scope="module")
def params():
    return heads().init(jax.random.key(1), INPUTS, Full(), method=call)


@pytest.mark.parametrize("mask", MASKS)
def test_rounds_that_find_every_key_are_attention_to_all(mask, params):
    def value(layer, params, inputs):
        context, weights = layer.apply(params, inputs, mask, capture="all", method=call)
        return jnp.sum(context**2), (context, weights)

    def of(layer):
        gradients = jax.grad(value, argnums=(1, 2), has_aux=True)
        return jax.jit(functools.partial(gradients, layer))(params, INPUTS)

    whole = of(heads(num_rounds=0))
    assert_trees_close(of(heads(num_rounds=24, chunk=T)), whole, 1e-4, 1e-5)
    # One round of two buckets finds half of the keys.
    assert np.abs(of(heads(num_rounds=1, chunk=T))[1][0] - whole[1][0]).max() > 0.01


def test_a_query_attends_to_its_own_key_only_where_there_is_no_other(params):
    for rounds in (0, 24):
        layer = heads(num_rounds=rounds, chunk=T)
        _, weights = layer.apply(params, INPUTS, Causal(), capture="all", method=call)
        own = np.asarray(weights)[..., np.arange(T), np.arange(T)]
        np.testing.assert_allclose(own[..., 0], 1, atol=1e-6)
        assert own[..., 1:].max() < 1e-6


def test_training_draws_a_hash_in_each_step_and_inference_does_not(params):
    layer = heads(num_rounds=1, chunk=4)

    def context(train, key):
        rngs = {"dropout": jax.random.key(key)}
        options = dict(train=train, rngs=rngs, method=call)
        return layer.apply(params, INPUTS, Full(), **options).context

    np.testing.assert_array_equal(context(False, 0), context(False, 1))
    np.testing.assert_array_equal(context(True, 0), context(True, 0))
    assert np.abs(context(True, 0) - context(True, 1)).max() > 1e-3


def test_a_language_model_of_these_heads_sees_of_what_follows_at_most_its_hash():
    model = GPT(
        11, num_layers=2, model_dim=D, mlp_dim=16, num_heads=2, positions=LearnedPositions(T),
        attention=functools.partial(LSHAttention, num_rounds=2, chunk=4),
    )  # fmt: skip
    ids = jax.random.randint(jax.random.key(0), (2, T), 0, 11)
    params = model.init(jax.random.key(1), ids)
    assert "key" not in params["params"]["blocks"]["attention"]
    logits = model.apply(params, ids).logits
    changed = model.apply(params, ids.at[:, -1].add(1) % 11).logits
    # Of later tokens a query sees at most their hash, by which chunks are cut, never a value.
    whole = model.clone(attention=functools.partial(LSHAttention, num_rounds=0))
    full, after = (whole.apply(params, x).logits for x in (ids, ids.at[:, -1].add(1) % 11))
    np.testing.assert_allclose(after[:, :-1], full[:, :-1], atol=1e-6)
    assert np.isfinite(logits).all() and np.isfinite(changed).all()
