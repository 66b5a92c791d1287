"""Gated cross-attention: its equation, closed gates, and words before all images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import Causal, Window
from attn_research.attention.positions import grid
from attn_research.layers.feed_forward import BlockConfig
from attn_research.layers.gated import (
    GatedCrossAttention,
    GatedDecoderBlock,
    Sights,
    number_images,
)
from attn_research.layers.multihead import MultiHeadAttention

T, S, D, N = 5, 6, 4, 2
# Image, word, image, word, word; the first row begins with a word.
IS_IMAGE = jnp.array([[0, 1, 0, 1, 0], [1, 0, 1, 0, 0]], bool)
ONE = Window(0, 0)
LAST = np.array([[-1, 0, 0, 1, 1], [0, 0, 1, 1, 1]])
OF_IMAGE = np.repeat([0, 1], 3)


@pytest.fixture(scope="module")
def layer():
    network = GatedCrossAttention(MultiHeadAttention(N, D // N), 7, BlockConfig(pre_norm=True))
    rng = np.random.default_rng(0)
    states = jnp.array(rng.normal(size=(2, T, D)), jnp.float32)
    tokens = jnp.array(rng.normal(size=(2, S, D)), jnp.float32)

    def sights(tokens, mask=ONE):
        return Sights(tokens, number_images(IS_IMAGE, 3, 2), mask)

    params = jax.jit(network.init)(jax.random.key(0), states, sights(tokens))
    return network, params, states, tokens, sights


@pytest.fixture(scope="module")
def apply(layer):
    network, _, states, tokens, sights = layer
    return jax.jit(lambda params: network.apply(params, states, sights(tokens), capture="all"))


def opened(params, attention, mlp):
    gates = {"attention_gate": jnp.float32(attention), "mlp_gate": jnp.float32(mlp)}
    return {"params": params["params"] | gates}


def test_words_attend_to_the_last_image_or_to_all_before():
    positions = number_images(IS_IMAGE, 3, 2)
    np.testing.assert_array_equal(positions.query, LAST)
    np.testing.assert_array_equal(positions.key, OF_IMAGE)
    query, key = grid(positions.query, positions.key, 4)
    last, before = ONE(query, key)[:, 0], Causal()(query, key)[:, 0]
    np.testing.assert_array_equal(last, LAST[..., None] == OF_IMAGE)
    np.testing.assert_array_equal(before, LAST[..., None] >= OF_IMAGE)


def test_closed_gates_change_nothing_and_have_gradients(layer, apply):
    _, params, states, *_ = layer
    np.testing.assert_array_equal(apply(params).context, states)
    gradient = jax.jit(jax.grad(lambda params: jnp.sum(apply(params).context ** 2)))(params)
    gradient = gradient["params"]
    assert abs(gradient["attention_gate"]) > 1e-3 and abs(gradient["mlp_gate"]) > 1e-3


def test_it_is_the_equation(layer, apply):
    _, params, states, tokens, _ = layer
    params = opened(params, 0.7, -0.4)
    context, weights = apply(params)
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params["params"])
    x, y = np.asarray(states, np.float64), np.asarray(tokens, np.float64)

    def norm(x, name):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        return x * p[name]["scale"] + p[name]["bias"]

    def heads(x, name):
        return (x @ p["attention"][name]["kernel"]).reshape(2, -1, N, D // N)

    query, key, value = (
        heads(norm(x, "attention_norm"), "query"),
        heads(y, "key"),
        heads(y, "value"),
    )
    scores = np.exp(np.einsum("btnh,bsnh->bnts", query, key) / np.sqrt(D // N))
    scores *= (LAST[..., None] == OF_IMAGE)[:, None]
    expected = scores / np.maximum(scores.sum(-1, keepdims=True), 1e-30)
    np.testing.assert_allclose(weights, expected, atol=1e-5)
    attended = np.einsum("bnts,bsnh->btnh", expected, value).reshape(2, T, D)
    x = x + np.tanh(0.7) * attended @ p["attention"]["output"]["kernel"]
    mlp = p["mlp"]
    hidden = norm(x, "mlp_norm") @ mlp["input"]["kernel"] + mlp["input"]["bias"]
    outer = np.maximum(hidden, 0) @ mlp["output"]["kernel"] + mlp["output"]["bias"]
    np.testing.assert_allclose(context, x + np.tanh(-0.4) * outer, atol=1e-5)


def test_a_word_before_all_images_has_no_context_and_no_gradient(layer):
    network, params, states, tokens, sights = layer
    params = opened(params, 1.0, 0.0)

    def of_first_word(params, tokens):
        context = network.apply(params, states, sights(tokens, Causal())).context
        return jnp.sum((context - states)[0, 0] ** 2 + context[0, 0]), context

    program = jax.jit(jax.value_and_grad(of_first_word, (0, 1), has_aux=True))
    (_, context), gradients = program(params, tokens)
    np.testing.assert_array_equal(context[0, 0], states[0, 0])
    assert not np.array_equal(context[0, 1], states[0, 1])
    for leaf in jax.tree.leaves((gradients[0]["params"]["attention"], gradients[1])):
        np.testing.assert_array_equal(leaf, 0)


def test_a_block_needs_images():
    block = GatedDecoderBlock(MultiHeadAttention(N, D // N), 7, BlockConfig(pre_norm=True))
    with pytest.raises(ValueError, match="needs images to attend to"):
        block.init(jax.random.key(0), jnp.zeros((1, T, D)), Causal())
