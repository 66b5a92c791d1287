"""Poolings by hand; one row of self-attention is one additive query of 2014."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import Additive, Padding, attend
from attn_research.layers.attention import MemoryAttention
from attn_research.layers.pooling import (
    SelfAttentionPooling,
    States,
    each_state,
    last_states,
    max_pooling,
    mean_pooling,
    redundancy,
)
from attn_research.layers.scoring import make_scoring

B, S, D, H, ROWS = 3, 7, 6, 5, 4
VALID = jnp.arange(S)[None] < jnp.array([[4], [S], [0]])


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


STATES, LAST = draw(B, S, D), draw(B, D, seed=1)


def pool(num_rows):
    """The pooled states, and W_s1 [D, H] and W_s2 [rows, H]."""
    module = SelfAttentionPooling(num_rows, H)

    @jax.jit
    def run(states):
        params = module.init(jax.random.key(2), states)
        return module.apply(params, states, capture="all"), params["params"]

    found, params = run(States(STATES, LAST, VALID))
    return found, params["key"]["kernel"], params["queries"]


def test_rows_of_attention_by_the_papers_formula():
    found, first, second = pool(ROWS)
    assert first.shape == (D, H) and second.shape == (ROWS, H)
    scores = np.einsum("rh,bsh->brs", second, np.tanh(np.asarray(STATES) @ first))
    shares = np.exp(scores) * np.asarray(VALID)[:, None]
    expected = shares / np.maximum(shares.sum(axis=-1, keepdims=True), 1e-30)
    assert expected[:2].std(axis=-1).min() > 0.02  # far from uniform
    np.testing.assert_allclose(found.weights, expected, atol=1e-6)
    vectors = np.einsum("brs,bsd->brd", expected, STATES).reshape(B, ROWS * D)
    np.testing.assert_allclose(found.vector, vectors, atol=1e-5)
    product = expected @ expected.transpose(0, 2, 1)
    penalty = ((product - np.eye(ROWS)) ** 2).sum(axis=(1, 2))
    np.testing.assert_allclose(found.redundancy, penalty, rtol=1e-5)


@pytest.mark.parametrize("row", range(ROWS))
def test_a_row_is_one_additive_query(row):
    found, first, second = pool(ROWS)
    query, key = jnp.zeros((B, 1, 1, H)), (STATES @ first)[:, :, None]
    context, weights = attend(
        query,
        key,
        STATES[:, :, None],
        score=Additive(second[row]),
        mask=Padding(VALID),
        capture="all",
    )
    np.testing.assert_allclose(found.weights[:, row], weights[:, 0, 0], atol=1e-6)
    own = found.vector.reshape(B, ROWS, D)[:, row]
    np.testing.assert_allclose(own, context[:, 0, 0], atol=1e-6)


def test_one_row_is_the_attention_of_2014_with_a_state_of_zeros():
    found, first, second = pool(1)
    module = MemoryAttention(make_scoring("additive", features=H))
    scoring = {
        "query": {"kernel": draw(D, H, seed=3), "bias": jnp.zeros(H)},
        "key": {"kernel": first},
        "vector": second[0],
    }

    def read(module, state, states, valid):
        return module(state, module.project(states, valid), capture="all")

    context, weights = module.apply(
        {"params": {"scoring": scoring}}, jnp.zeros((B, 1, D)), STATES, VALID, method=read
    )
    np.testing.assert_allclose(found.weights, weights, atol=1e-6)
    np.testing.assert_allclose(found.vector, context[:, 0], atol=1e-6)


def test_other_poolings_by_hand():
    states, valid = np.asarray(STATES), np.asarray(VALID)
    mean, largest = np.zeros((B, D)), np.zeros((B, D))
    for row in range(2):
        mean[row] = states[row, valid[row]].mean(axis=0)
        largest[row] = states[row, valid[row]].max(axis=0)
    for pooling, expected in (
        (mean_pooling, mean),
        (max_pooling, largest),
        (last_states, LAST),
        (each_state, STATES),
    ):
        found = pooling(States(STATES, LAST, VALID))
        np.testing.assert_allclose(found.vector, expected, atol=1e-6)
        assert found.weights is None and found.redundancy is None


@pytest.mark.parametrize("pooling", [mean_pooling, max_pooling])
def test_padding_has_no_part_in_a_pooling_whatever_is_there(pooling):
    expected = pooling(States(STATES, LAST, VALID)).vector
    states = jnp.where(VALID[:, :, None], STATES, jnp.nan)
    np.testing.assert_array_equal(pooling(States(states, LAST, VALID)).vector, expected)


def test_redundancy_is_zero_for_rows_on_words_of_their_own():
    own = jnp.eye(5)[jnp.array([3, 0, 4])]
    assert redundancy(own) == 0
    # Two rows on one word: A Aᵀ has two ones off its diagonal.
    assert redundancy(jnp.eye(5)[jnp.array([3, 3, 4])]) == 2
    # One row over two words evenly: (1/2 - 1)².
    assert redundancy(jnp.array([[0.5, 0.5, 0.0]])) == 0.25


def test_padding_changes_nothing():
    module = SelfAttentionPooling(ROWS, H)
    params = module.init(jax.random.key(2), States(STATES, LAST, VALID))
    both = STATES, jnp.where(VALID[:, :, None], STATES, 9.0)
    found = [module.apply(params, States(each, LAST, VALID)).vector for each in both]
    np.testing.assert_array_equal(*found)
    assert not found[0][2].any()  # a row without a word
