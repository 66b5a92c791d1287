"""Scores by hand, their refusals, and their memory in the backward pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import Additive, Dot, General, Location, ScaledDot, attend, softmax
from attn_research.attention import scores as scores_module

# One batch, one query, two keys, one head of width 4.
QUERY = jnp.array([1.0, 2.0, 0.0, -1.0]).reshape(1, 1, 1, 4)
KEY = jnp.array([[3.0, 1.0, 5.0, 1.0], [0.0, -1.0, 7.0, 2.0]]).reshape(1, 2, 1, 4)


# One compilation of a new shape as a whole is faster than one for each operation.
scores = jax.jit(lambda score, query, key: score(query, key).ravel())


def name_of(value):
    return type(value).__name__


def test_scores_by_hand():
    np.testing.assert_array_equal(scores(Dot(), QUERY, KEY), [4, -4])
    np.testing.assert_array_equal(scores(ScaledDot(), QUERY, KEY), [2, -2])
    swap = jnp.array([[0.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 10]])
    np.testing.assert_array_equal(scores(General(swap), QUERY, KEY), [1 + 6 - 10, -1 - 20])
    vector = jnp.array([1.0, 0.0, 2.0, 0.0])
    by_hand = [np.tanh(4) + 2 * np.tanh(5), np.tanh(1) + 2 * np.tanh(7)]
    np.testing.assert_allclose(scores(Additive(vector), QUERY, KEY), by_hand, rtol=1e-6)


def test_query_heads_of_a_group_share_a_key_head():
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
    "score",
    [Dot(), ScaledDot(), General(jnp.eye(3)), Additive(jnp.ones(3)), Location(jnp.ones((3, 9)))],
    ids=name_of,
)
def test_scores_of_half_precision_are_float32(score, dtype):
    query, key = (jax.ShapeDtypeStruct(shape, dtype) for shape in ((2, 5, 4, 3), (2, 7, 2, 3)))
    out = jax.eval_shape(score, query, key)
    assert out.dtype == jnp.float32
    assert out.shape == (2, 4, 5, 7)


@pytest.mark.parametrize("score", [Dot(), ScaledDot(), Additive(jnp.ones(3))], ids=name_of)
def test_different_widths_are_refused(score):
    with pytest.raises(ValueError, match=r"query width 3 is not key width 4.*General"):
        score(jnp.ones((5, 2, 3)), jnp.ones((7, 2, 4)))


def test_parameters_of_other_shapes_are_refused():
    query, key = jnp.ones((5, 2, 3)), jnp.ones((7, 2, 3))
    with pytest.raises(ValueError, match=r"General\(weight\) has shape \(3,\): .* \(3, 3\)"):
        General(jnp.ones(3))(query, key)
    with pytest.raises(ValueError, match=r"Additive\(vector\) has shape \(4, 3\): .* \(2, 3\)"):
        Additive(jnp.ones((4, 3)))(query, key)
    with pytest.raises(ValueError, match=r"Location\(weight\) has shape \(4, 9\): .* \(3, 9\)"):
        Location(jnp.ones((4, 9)))(query, key)


def test_general_with_the_identity_matrix_equals_dot():
    general, dot = (scores(score, QUERY, KEY) for score in (General(jnp.eye(4)), Dot()))
    np.testing.assert_array_equal(general, dot)


@pytest.mark.parametrize("num_keys", [1, 2, 3])
def test_location_truncates_its_weights_and_ignores_further_keys(num_keys):
    weight = jnp.array([[1.0, 5.0], [0.0, 1.0], [9.0, 9.0], [0.0, 2.0]])  # two locations
    key = jnp.full((1, num_keys, 1, 6), 7.0)  # neither its content nor its width matters
    got = scores(Location(weight), QUERY, key)
    np.testing.assert_array_equal(got, [1, 5 + 2 - 2, -np.inf][:num_keys])


def test_keys_past_the_last_location_have_zero_weight_without_nan():
    weight = jnp.array([[1.0], [0.0], [0.0], [0.0]])
    key, k_pos = jnp.ones((1, 3, 1, 4)), np.arange(3)[None, None, None]
    seen = np.array([[[[True, True, True]]], [[[False, True, True]]]])  # the second: nothing left

    def weights(weight, query):
        one = jnp.ones((2, 1, 1, 1))
        return softmax(Location(weight)(query * one, key * one), seen, k_pos)

    with jax.debug_nans(True):
        out, pull = jax.vjp(weights, weight, QUERY)
        gradients = pull(jnp.arange(6.0).reshape(out.shape))
    np.testing.assert_array_equal(out[:, 0, 0], [[1, 0, 0], [0, 0, 0]])
    for gradient in gradients:
        assert np.isfinite(gradient).all()


def test_scores_without_arrays_are_hashable_and_arrays_are_leaves():
    assert hash(ScaledDot()) == hash(ScaledDot()) and ScaledDot() == ScaledDot()
    assert jax.tree.leaves(ScaledDot()) == []
    assert [leaf.shape for leaf in jax.tree.leaves(Additive(jnp.ones(3)))] == [(3,)]


@pytest.mark.parametrize("num_heads, num_kv_heads", [(4, 2), (3, 1)])
def test_additive_in_parts_equals_additive_at_once(num_heads, num_kv_heads, monkeypatch):
    shapes = (2, 5, num_heads, 3), (2, 7, num_kv_heads, 3), (num_heads, 3), (2, num_heads, 5, 7)
    rng = np.random.default_rng(0)
    query, key, vector, weight = (jnp.asarray(rng.standard_normal(s, np.float32)) for s in shapes)

    def value_and_gradients():
        def loss(query, key, vector):
            out = Additive(vector)(query, key)
            return (out * weight).sum(), out

        run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))
        return run.lower(query, key, vector).as_text().count("while"), run(query, key, vector)

    loops, at_once = value_and_gradients()
    monkeypatch.setattr(scores_module, "HIDDEN_ELEMENTS", 2 * num_heads * 5 * 7 * 3 - 1)
    more_loops, by_parts = value_and_gradients()
    assert more_loops > loops == 0
    for a, b in zip(*map(jax.tree.leaves, (at_once, by_parts)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_long_additive_attention_fits_in_memory():
    # 4096 x 4096 x 512 of it for 8 sentences would be 256 GiB. Compiled, not run.
    def loss(query, key, value, vector):
        return (attend(query, key, value, score=Additive(vector)).context ** 2).sum()

    long = jax.ShapeDtypeStruct((8, 4096, 1, 512), jnp.float32)
    shapes = long, long, long, jax.ShapeDtypeStruct((512,), jnp.float32)
    compiled = jax.jit(jax.grad(loss, argnums=(0, 1, 2, 3))).lower(*shapes).compile()
    sizes = compiled.memory_analysis()
    held = sizes.argument_size_in_bytes + sizes.temp_size_in_bytes + sizes.output_size_in_bytes
    assert held < 4 * 2**30


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
