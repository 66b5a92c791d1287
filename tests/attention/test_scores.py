"""Scores by hand, their refusals, and what they keep for the backward pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import Additive, Dot, General, ScaledDot

# One batch, one query, two keys, one head of width 4.
QUERY = jnp.array([1.0, 2.0, 0.0, -1.0]).reshape(1, 1, 1, 4)
KEY = jnp.array([[3.0, 1.0, 5.0, 1.0], [0.0, -1.0, 7.0, 2.0]]).reshape(1, 2, 1, 4)


# One compilation of a new shape as a whole is faster than one for each operation.
scores = jax.jit(lambda score, query, key: score(query, key).ravel())


def name_of(value):
    return type(value).__name__


def test_by_hand():
    np.testing.assert_array_equal(scores(Dot(), QUERY, KEY), [4, -4])
    np.testing.assert_array_equal(scores(ScaledDot(), QUERY, KEY), [2, -2])
    swap = jnp.array([[0.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 10]])
    np.testing.assert_array_equal(scores(General(swap), QUERY, KEY), [1 + 6 - 10, -1 - 20])
    vector = jnp.array([1.0, 0.0, 2.0, 0.0])
    by_hand = [np.tanh(4) + 2 * np.tanh(5), np.tanh(1) + 2 * np.tanh(7)]
    np.testing.assert_allclose(scores(Additive(vector), QUERY, KEY), by_hand, rtol=1e-6)


def test_query_head_n_looks_at_key_head_n_over_the_group():
    query = jnp.ones((1, 1, 4, 1))
    key = jnp.array([10.0, 20.0]).reshape(1, 1, 2, 1)
    np.testing.assert_array_equal(scores(Dot(), query, key), [10, 10, 20, 20])
    per_head = jnp.array([1.0, 2.0, 3.0, 4.0])
    general = scores(General(per_head.reshape(4, 1, 1)), query, key)
    np.testing.assert_array_equal(general, [10, 20, 60, 80])
    additive = scores(Additive(per_head.reshape(4, 1)), query, key)
    np.testing.assert_allclose(additive, [1, 2, 3, 4], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    "score", [Dot(), ScaledDot(), General(jnp.eye(3)), Additive(jnp.ones(3))], ids=name_of
)
def test_scores_of_half_precision_are_float32(score, dtype):
    query, key = (jax.ShapeDtypeStruct(shape, dtype) for shape in ((2, 5, 4, 3), (2, 7, 2, 3)))
    out = jax.eval_shape(score, query, key)
    assert out.dtype == jnp.float32
    assert out.shape == (2, 4, 5, 7)


@pytest.mark.parametrize("score", [Dot(), ScaledDot(), Additive(jnp.ones(3))], ids=name_of)
def test_widths_that_differ(score):
    with pytest.raises(ValueError, match=r"query width 3 is not key width 4.*General"):
        score(jnp.ones((5, 2, 3)), jnp.ones((7, 2, 4)))


def test_parameters_that_do_not_fit():
    query, key = jnp.ones((5, 2, 3)), jnp.ones((7, 2, 3))
    with pytest.raises(ValueError, match=r"General\(weight\) has shape \(3,\): .* \(3, 3\)"):
        General(jnp.ones(3))(query, key)
    with pytest.raises(ValueError, match=r"Additive\(vector\) has shape \(4, 3\): .* \(2, 3\)"):
        Additive(jnp.ones((4, 3)))(query, key)


def test_structure_is_hashable_and_arrays_are_leaves():
    assert hash(ScaledDot()) == hash(ScaledDot()) and ScaledDot() == ScaledDot()
    assert jax.tree.leaves(ScaledDot()) == []
    assert [leaf.shape for leaf in jax.tree.leaves(Additive(jnp.ones(3)))] == [(3,)]


def test_a_decoder_does_not_store_the_hidden_layer_of_every_step():
    B, T, S, H = 2, 64, 48, 32

    def loss(query, key, vector):
        def step(state, _):
            scores = Additive(vector)(state[:, None, None], key[:, :, None])
            return jnp.tanh(state + scores.sum((1, 2, 3))[:, None]), scores.sum()

        return jax.lax.scan(step, query, None, length=T)[1].sum()

    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((B, H), (B, S, H), (H,))]
    compiled = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(*shapes).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 4 * B * T * S * H / 4
