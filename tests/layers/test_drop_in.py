"""`attend` inside Flax's own layers: equal to Flax's function, with nothing that it passes lost."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

from attn_research.attention import Additive, Causal, Dense, Padding, Window, attend
from attn_research.layers.drop_in import make_attention_fn

B, T, N, H, D = 2, 5, 4, 3, 12
RNG = np.random.default_rng(0)
INPUTS = jnp.asarray(RNG.standard_normal((B, T, D), np.float32))
VALID = np.arange(T) < np.array([[3], [5]])
SEEN = (RNG.random((B, N, T, T)) < 0.5) | np.eye(T, dtype=bool)  # no row is empty
MASKS = {
    "none": None,
    "padding": VALID[:, None, None],
    "causal": nn.make_causal_mask(VALID),  # of floats
    "both": nn.combine_masks(
        nn.make_causal_mask(VALID), nn.make_attention_mask(VALID | True, VALID)
    ),
    "by head": SEEN,
    "shared": SEEN[0, 0],
}
OURS = make_attention_fn()


def draw(*shape):
    return jnp.asarray(RNG.standard_normal(shape, np.float32))


QUERY, KEY, VALUE = draw(B, T, N, H), draw(B, 7, N, H), draw(B, 7, N, 6)


def linen(attention_fn, **options):
    return nn.MultiHeadDotProductAttention(N, attention_fn=attention_fn, **options)


def of_nnx(attention_fn, **options):
    options = {"rngs": nnx.Rngs(0), "decode": False} | options
    return nnx.MultiHeadAttention(N, D, attention_fn=attention_fn, **options)


def output_and_gradients(apply, *arrays):
    """Of the sum of squares: rows that differ would differ in all of it."""

    def total(*arrays):
        out = apply(*arrays)
        return (out**2).sum(), out

    both = jax.jit(jax.value_and_grad(total, tuple(range(len(arrays))), has_aux=True))
    return both(*arrays)


def assert_close(ours, theirs):
    for one, other in zip(*map(jax.tree.leaves, (ours, theirs)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MASKS)
def test_linen_layer_equals_that_of_flax(name):
    params = linen(OURS).init(jax.random.key(0), INPUTS)

    def apply(attention_fn):
        return lambda params, x: linen(attention_fn).apply(params, x, mask=mask)

    mask = None if MASKS[name] is None else jnp.asarray(MASKS[name])
    ours, theirs = (
        output_and_gradients(apply(f), params, INPUTS) for f in (OURS, nn.dot_product_attention)
    )
    assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("name", "is_causal", "num_kv_heads"),
    [("none", False, 4), ("padding", False, 2), ("none", True, 2), ("by head", False, 4)],
)
def test_nnx_layer_equals_that_of_flax(name, is_causal, num_kv_heads):
    mask = None if MASKS[name] is None else jnp.asarray(MASKS[name])

    def outcome(attention_fn):
        layer = of_nnx(attention_fn, num_kv_heads=num_kv_heads)
        graph, params = nnx.split(layer)

        def apply(params, x):
            return nnx.merge(graph, params)(x, mask=mask, is_causal=is_causal)

        return output_and_gradients(apply, params, INPUTS)

    assert_close(outcome(OURS), outcome(nnx.dot_product_attention))


def test_bias_is_added():
    for bias in (draw(B, N, T, 7), draw(T, 7), draw(N, 1, 7)):
        with jax.numpy_rank_promotion("allow"):  # Flax relies on it
            theirs = nn.dot_product_attention(QUERY, KEY, VALUE, bias)
        assert_close(OURS(QUERY, KEY, VALUE, bias), theirs)


def test_linen_decodes_step_by_step():
    def decode(attention_fn):
        layer = linen(attention_fn, decode=True)
        variables = layer.init(jax.random.key(0), INPUTS)

        @jax.jit
        def step(cache, x):
            variables_now = {"params": variables["params"], "cache": cache}
            out, updated = layer.apply(variables_now, x, mutable=["cache"])
            return updated["cache"], out

        cache, outs = variables["cache"], []
        for t in range(T):
            cache, out = step(cache, INPUTS[:, t : t + 1])
            outs.append(out)
        return variables["params"], jnp.concatenate(outs, axis=1)

    params, ours = decode(OURS)
    assert_close(ours, decode(nn.dot_product_attention)[1])
    whole = linen(make_attention_fn(mask=Causal())).apply({"params": params}, INPUTS)
    assert_close(ours, whole)


def test_nnx_decodes_step_by_step():
    def decode(attention_fn):
        layer = of_nnx(attention_fn, decode=True)
        layer.init_cache(INPUTS.shape)
        return jnp.concatenate([layer(INPUTS[:, t : t + 1]) for t in range(T)], axis=1)

    assert_close(decode(OURS), decode(nnx.dot_product_attention))


def test_position_dependent_masks_are_refused_for_a_single_query():
    with pytest.raises(ValueError, match="position of a single query is unknown, but Causal"):
        make_attention_fn(mask=Causal())(QUERY[:, :1], KEY, VALUE)
    with pytest.raises(ValueError, match="but And depends on it"):
        OURS(QUERY[:, :1], KEY, VALUE, is_causal=True)
    valid = Padding(jnp.asarray(np.arange(7) < np.array([[3], [7]])))
    make_attention_fn(mask=~valid)(QUERY[:, :1], KEY, VALUE)


def weights_after(**options):
    """Against a unit matrix of values the context is the weights after dropout, [B, T, N, S]."""
    unit = jnp.broadcast_to(jnp.eye(64)[:, None], (8, 64, N, 64))
    same = jnp.zeros((8, 64, N, H))
    return np.asarray(OURS(same, same, unit, dropout_rate=0.25, **options)) * 64


def test_dropout_has_the_given_rate_and_rescales():
    key = jax.random.key(1)
    kept = weights_after(dropout_rng=key, broadcast_dropout=False)
    np.testing.assert_allclose(np.unique(kept), [0, 4 / 3], rtol=1e-6)
    deviation = (0.25 * 0.75 / kept.size) ** 0.5
    assert abs((kept == 0).mean() - 0.25) < 4 * deviation
    assert (kept[0] != kept[1]).any() and (kept[:, :, 0] != kept[:, :, 1]).any()
    shared = weights_after(dropout_rng=key)
    np.testing.assert_array_equal(shared, np.broadcast_to(shared[:1, :, :1], shared.shape))
    assert abs((shared[0, :, 0] == 0).mean() - 0.25) < 4 * (0.25 * 0.75 / 64**2) ** 0.5
    np.testing.assert_array_equal(weights_after(dropout_rng=key), shared)
    assert (weights_after(dropout_rng=jax.random.key(2)) != shared).any()
    np.testing.assert_allclose(weights_after(deterministic=True), 1, rtol=1e-6)
    with pytest.raises(ValueError, match="dropout without a key"):
        weights_after()


def test_dropout_uses_the_rngs_of_the_layer():
    layer = linen(OURS, dropout_rate=0.5, deterministic=False)
    params = linen(OURS).init(jax.random.key(0), INPUTS)
    one, again, other = (
        layer.apply(params, INPUTS, rngs={"dropout": jax.random.key(seed)}) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    layer = of_nnx(OURS, dropout_rate=0.5, deterministic=False)
    assert (layer(INPUTS) != layer(INPUTS)).any()


@pytest.mark.parametrize("heads", [1, N])
def test_fully_masked_rows_give_zero(heads):
    mask = jnp.ones((B, heads, T, 7), bool).at[0, :, 2].set(False)

    def out(value):
        return OURS(QUERY, KEY, value, mask=mask)

    context, pull = jax.vjp(out, VALUE)
    assert not np.any(context[0, 2]) and np.all(context[1] != 0)
    (gradient,) = pull(jnp.zeros_like(context).at[0, 2].set(1))
    assert not np.any(gradient)
    assert np.any(nn.dot_product_attention(QUERY, KEY, VALUE, mask=mask)[0, 2])


def test_score_mask_and_implementation_reach_attend():
    allowed, score = jnp.asarray(RNG.random((B, 1, T, 7)) < 0.7), Additive(draw(N, H))
    expected = attend(
        QUERY, KEY, VALUE, score=score, mask=Window(2, 1) & Dense(allowed[:, 0])
    ).context
    for implementation in ("tiled", "reference", None):
        ours = make_attention_fn(score=score, mask=Window(2, 1), implementation=implementation)
        assert_close(ours(QUERY, KEY, VALUE, mask=allowed), expected)


def test_weights_are_sown():
    layer = linen(OURS)
    params = layer.init(jax.random.key(0), INPUTS)
    _, ours = layer.apply(params, INPUTS, sow_weights=True, mutable=["intermediates"])
    layer = linen(nn.dot_product_attention)
    _, theirs = layer.apply(params, INPUTS, sow_weights=True, mutable=["intermediates"])
    assert_close(ours, theirs)
    ours, theirs = (
        nnx.capture(of_nnx(f), nnx.Intermediate)(INPUTS, sow_weights=True)
        for f in (OURS, nnx.dot_product_attention)
    )
    assert_close(ours, theirs)


def test_the_result_has_the_given_dtype():
    assert OURS(QUERY, KEY, VALUE, dtype=jnp.bfloat16).dtype == jnp.bfloat16
    assert OURS(QUERY.astype(jnp.bfloat16), KEY, VALUE.astype(jnp.bfloat16)).dtype == jnp.float32


def test_every_argument_of_flax_is_accepted():
    named = inspect.signature(OURS).parameters.keys()
    for theirs in (nn.dot_product_attention, nnx.dot_product_attention):
        assert inspect.signature(theirs).parameters.keys() <= named


@pytest.mark.parametrize(
    "name",
    ["precision", "einsum_dot_general", "qk_attn_weights_einsum", "attn_weights_value_einsum",
     "promote_dtype"],
)  # fmt: skip
def test_unsupported_arguments_are_refused(name):
    with pytest.raises(ValueError, match=f"^{name} is not supported"):
        OURS(QUERY, KEY, VALUE, **{name: "highest"})
