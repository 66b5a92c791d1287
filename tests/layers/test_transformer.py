"""Blocks of the Transformer: residual connections, feed-forward layers, caches, as formulas."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import ALiBi, Causal, Full, Rotary, Window
from attn_research.decoding import BeamHistory, KeyValueCache, Past
from attn_research.layers import stack
from attn_research.layers.feed_forward import ACTIVATIONS, BlockConfig, FeedForward, Residual
from attn_research.layers.multihead import MultiHeadAttention
from attn_research.layers.stack import scan_blocks
from attn_research.layers.transformer import DecoderBlock, EncoderBlock

B, T, D, F, N, H = 2, 5, 6, 7, 3, 4
STATES = np.float32(np.random.default_rng(0).normal(size=(B, T, D)))


def draw(module, *arrays, seed=1, **options):
    """Random parameters of a module."""
    shapes = jax.eval_shape(lambda key: module.init(key, *arrays, **options), jax.random.key(0))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.array(0.5 * rng.normal(size=x.shape), jnp.float32), shapes)


ACTIVATIONS_BY_HAND = {
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: x * (1 + np.vectorize(math.erf)(x / np.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "quick_gelu": lambda x: x / (1 + np.exp(-1.702 * x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
}


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("use_bias", [False, True])
def test_feed_forward_by_hand(gated, use_bias):
    assert set(ACTIVATIONS) == set(ACTIVATIONS_BY_HAND)
    for name, activate in ACTIVATIONS_BY_HAND.items():
        module = FeedForward(F, name, gated=gated, use_bias=use_bias)
        variables = draw(module, jnp.array(STATES))
        p = jax.tree.map(np.asarray, variables["params"])
        assert set(p) == {"input", "output"} | ({"gate"} if gated else set())
        assert all(("bias" in layer) == use_bias for layer in p.values())

        def dense(layer, x, p=p):
            return x @ p[layer]["kernel"] + p[layer].get("bias", 0.0)

        hidden = dense("input", STATES)
        hidden = activate(dense("gate", STATES)) * hidden if gated else activate(hidden)
        found = module.apply(variables, jnp.array(STATES))
        np.testing.assert_allclose(found, dense("output", hidden), atol=1e-5, err_msg=name)


def norm_by_hand(x, norm, p, epsilon):
    if norm == "rms_norm":
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon) * p["scale"]
    centered = x - x.mean(-1, keepdims=True)
    normed = centered / np.sqrt((centered**2).mean(-1, keepdims=True) + epsilon)
    return normed * p["scale"] + p.get("bias", 0.0)


@pytest.mark.parametrize("pre_norm", [False, True])
@pytest.mark.parametrize(
    ("norm", "use_bias"), [("layer_norm", True), ("layer_norm", False), ("rms_norm", True)]
)
def test_residual_connections_by_hand(norm, use_bias, pre_norm):
    epsilon = 0.3  # so large that it shows
    config = BlockConfig(pre_norm=pre_norm, norm=norm, norm_epsilon=epsilon, use_bias=use_bias)
    module = Residual(config)

    def layer(x):
        return jnp.sin(3 * x)

    variables = draw(module, jnp.array(STATES), layer)
    p = jax.tree.map(np.asarray, variables["params"]["norm"])
    assert set(p) == {"scale"} | ({"bias"} if norm == "layer_norm" and use_bias else set())
    if pre_norm:
        expected = STATES + np.sin(3 * norm_by_hand(STATES, norm, p, epsilon))
    else:
        expected = norm_by_hand(STATES + np.sin(3 * STATES), norm, p, epsilon)
    found = module.apply(variables, jnp.array(STATES), layer)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    with_rest = functools.partial(module.apply, variables, method="with_rest")
    states, rest = with_rest(jnp.array(STATES), lambda x: (layer(x), x.shape))
    np.testing.assert_array_equal(states, found)
    assert rest == STATES.shape


def test_dropout_and_drop_path_apply_only_in_training():
    def change(config, train):
        module, layer = Residual(config), lambda x: jnp.ones_like(x)
        variables = module.init(jax.random.key(0), jnp.array(STATES), layer)
        rngs = {"dropout": jax.random.key(1)}
        found = module.apply(variables, jnp.array(STATES), layer, train=train, rngs=rngs)
        return np.asarray(found) - STATES

    dropped = change(BlockConfig(dropout=0.5, pre_norm=True), train=True)
    assert set(np.round(dropped.ravel(), 4)) == {0.0, 2.0}
    # Whole examples: with all of them skipped, the states are as they were.
    assert not change(BlockConfig(drop_path=1.0, pre_norm=True), train=True).any()
    for config in (
        BlockConfig(dropout=0.5, pre_norm=True),
        BlockConfig(drop_path=1.0, pre_norm=True),
    ):
        np.testing.assert_allclose(change(config, train=False), 1.0, atol=1e-6)


def test_a_layer_scale_multiplies_each_feature_of_what_is_added():
    module, layer = Residual(BlockConfig(pre_norm=True, layer_scale=0.25)), jnp.ones_like
    variables = module.init(jax.random.key(0), jnp.array(STATES), layer)
    assert variables["params"]["scale"].tolist() == [0.25] * D
    variables["params"]["scale"] = jnp.arange(D, dtype=jnp.float32)
    found = module.apply(variables, jnp.array(STATES), layer)
    np.testing.assert_allclose(
        found - STATES, np.broadcast_to(np.arange(D), STATES.shape), atol=1e-6
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (BlockConfig(norm="batch_norm"), "norm 'batch_norm' is not one of layer_norm, rms_norm"),
        (BlockConfig(activation="tanh"), "activation 'tanh' is not one of relu, gelu"),
    ],
)
def test_unknown_choices_are_refused(config, message):
    block = EncoderBlock(MultiHeadAttention(N, H), F, config)
    with pytest.raises(ValueError, match=message):
        block.init(jax.random.key(0), jnp.array(STATES), Full())


LLAMA = BlockConfig(pre_norm=True, norm="rms_norm", activation="silu", gated=True, use_bias=False)


@pytest.mark.parametrize("config", [BlockConfig(), LLAMA], ids=["2017", "llama"])
@pytest.mark.parametrize("mask", [Causal(), Causal() & Window(1, 0)], ids=["causal", "window"])
def test_a_decoder_block_without_cross_attention_is_a_cached_causal_encoder_block(config, mask):
    block = DecoderBlock(MultiHeadAttention(N, H, num_kv_heads=1), F, config)
    states = jnp.array(STATES)
    params = draw(block, states, mask)
    assert set(params["params"]) == {"attention", "around_attention", "around_mlp", "mlp"}
    run = functools.partial(jax.jit(functools.partial(block.apply, capture="all")), params)
    whole, cache, weights = run(states, mask)
    assert cache is None and weights.cross is None
    assert not np.triu(np.asarray(weights.attention)[0, 0], 1).any()
    # The block of an encoder, under a causal mask, is the same.
    encoder = EncoderBlock(MultiHeadAttention(N, H, num_kv_heads=1), F, config)
    expected, _ = jax.jit(encoder.apply)(params, states, mask)
    np.testing.assert_allclose(whole, expected, atol=1e-6)

    def project(block, states):
        return block.attention.project(states)

    like = jax.eval_shape(functools.partial(block.apply, method=project), params, states)
    for sizes in ((1, 1, 1, 1, 1), (2, 3)):
        cache, history, start = KeyValueCache.make(like, T + 1), BeamHistory.empty(B, T + 1), 0
        for size in sizes:
            chunk = states[:, None, start : start + size]
            history = history.append(size)
            found, cache, own = run(chunk, mask, past=Past(history, cache))
            np.testing.assert_allclose(found[:, 0], whole[:, start : start + size], atol=1e-5)
            np.testing.assert_allclose(
                own.attention[:, 0, ..., :T],
                weights.attention[:, :, start : start + size],
                atol=1e-5,
            )
            start += size


def test_encoder_and_decoder_blocks_take_positions_alike():
    heads, states = MultiHeadAttention(N, H), jnp.array(STATES)
    encoder, decoder = EncoderBlock(heads, F), DecoderBlock(heads.clone(), F)
    params = draw(decoder, states, Causal())
    options = {
        "rotation": Rotary(H, 20.0).at(jnp.arange(T)[None]),
        "bias": ALiBi(jnp.array([0.5, 1.0, 2.0])),
    }

    def run(block, **options):
        return jax.jit(block.apply)(params, states, Causal(), **options)[0]

    plain = run(encoder)
    for given in ({"rotation": options["rotation"]}, {"bias": options["bias"]}, options):
        found = run(encoder, **given)
        np.testing.assert_allclose(found, run(decoder, **given), atol=1e-6)
        assert np.abs(found - plain)[:, 1:].max() > 1e-2
        np.testing.assert_allclose(found[:, 0], plain[:, 0], atol=1e-6)  # attends to itself alone


def test_a_memory_is_required_exactly_with_cross_attention():
    heads = MultiHeadAttention(N, H)
    states = jnp.array(STATES)
    bare = DecoderBlock(heads, F)
    memory, _ = heads.init_with_output(jax.random.key(0), states, method="project")
    with pytest.raises(ValueError, match="takes a memory if it has cross-attention"):
        bare.init(jax.random.key(0), states, Causal(), memory=memory)
    with pytest.raises(ValueError, match="takes a memory if it has cross-attention"):
        bare.clone(cross=heads.clone()).init(jax.random.key(0), states, Causal())


@pytest.mark.parametrize("most_unrolled", [1, 4])
def test_rematerialization_changes_no_gradient_and_stores_less(most_unrolled, monkeypatch):
    monkeypatch.setattr(stack, "partitioning_devices", lambda: 1)
    monkeypatch.setattr(stack, "MOST_UNROLLED", most_unrolled)
    block = EncoderBlock(MultiHeadAttention(N, H), F)
    params = jax.tree.map(
        lambda x: jnp.stack([x, 0.7 * x, 0.9 * x, 0.8 * x]),
        draw(block, jnp.array(STATES), Full())["params"],
    )

    def loss(policy, params):
        def body(block, states):
            states, _ = block(states, Full())
            return states, None

        def run(block, states):
            return scan_blocks(body, 4, policy)(block, states)[0]

        return jnp.sum(jnp.sin(block.apply({"params": params}, jnp.array(STATES), method=run)))

    compiled = {
        policy: jax.jit(jax.grad(functools.partial(loss, policy))).lower(params).compile()
        for policy in ("none", "dots", "all")
    }
    looped = {policy: "while(" in each.as_text() for policy, each in compiled.items()}
    assert looped == {"none": most_unrolled < 4, "dots": True, "all": True}
    expected = compiled["none"](params)
    for policy in ("dots", "all"):
        found = compiled[policy](params)
        jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-5), found, expected)
    sizes = {policy: each.memory_analysis().temp_size_in_bytes for policy, each in compiled.items()}
    assert sizes["all"] < 0.8 * sizes["none"]
