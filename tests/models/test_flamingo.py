"""Flamingo: the frozen language model at closed gates, and which image a word attends to."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import Causal, Window
from attn_research.layers.convolution import GridEncoder
from attn_research.layers.feed_forward import BlockConfig
from attn_research.layers.gated import GatedDecoderBlock
from attn_research.layers.resampler import PerceiverResampler
from attn_research.models.flamingo import Flamingo
from attn_research.models.gpt import GPT

IMAGE, WIDTH = 4, 8
IDS = jnp.array([[5, IMAGE, 6, IMAGE, 7, 8], [IMAGE, IMAGE, 9, 6, 5, 8]])
CONFIG = BlockConfig(pre_norm=True)


def make(**options):
    language = GPT(11, 2, WIDTH, 12, 2, make_block=GatedDecoderBlock)
    vision = GridEncoder(16, 2, WIDTH)
    resampler = PerceiverResampler(3, 1, WIDTH, 12, 2, config=CONFIG)
    return dataclasses.replace(Flamingo(language, vision, resampler, IMAGE), **options)


@pytest.fixture(scope="module")
def case():
    images = jnp.array(np.random.default_rng(0).normal(size=(2, 2, 8, 12, 3)), jnp.float32)
    network = make()
    params = jax.jit(network.init)(jax.random.key(0), IDS, images)
    return network, params, images


def opened(params):
    def open_gate(path, leaf):
        return leaf + 0.9 if "gate" in jax.tree_util.keystr(path) else leaf

    return jax.tree_util.tree_map_with_path(open_gate, params)


def test_closed_gates_give_the_language_model_bit_by_bit(case):
    network, params, images = case
    language = dict(params["params"]["language"])
    language["blocks"] = {k: v for k, v in language["blocks"].items() if k != "gated"}
    alone = GPT(11, 2, WIDTH, 12, 2).apply({"params": language}, IDS).logits
    np.testing.assert_array_equal(network.apply(params, IDS, images).logits, alone)
    text = Flamingo(GPT(11, 2, WIDTH, 12, 2), None, None, IMAGE)
    found = text.apply({"params": {"language": language}}, IDS, images)
    np.testing.assert_array_equal(found.logits, alone)
    assert found.weights is None


def test_closed_gates_have_gradients(case):
    network, params, images = case

    def loss(params):
        return jnp.sum(network.apply(params, IDS, images).logits ** 2)

    gated = jax.jit(jax.grad(loss))(params)["params"]["language"]["blocks"]["gated"]
    assert np.all(np.abs(gated["attention_gate"]) > 0) and np.all(np.abs(gated["mlp_gate"]) > 0)


@pytest.mark.parametrize("mask", [Window(0, 0), Causal()])
def test_weights_are_of_the_images_that_the_mask_allows(case, mask):
    _, params, images = case
    network = make(mask=mask)
    weights = network.apply(opened(params), IDS, images, capture="all").weights
    assert weights.shape == (2, 2, 2, 6, 2, 6)  # B L N T I P
    seen = np.asarray(weights).sum(axis=-1).min(axis=(1, 2)) > 0
    one, two = [True, False], [False, True] if mask == Window(0, 0) else [True, True]
    expected = [[[False, False], one, one, two, two, two], [one, two, two, two, two, two]]
    np.testing.assert_array_equal(seen, expected)


def test_no_word_knows_of_an_image_after_it(case):
    network, params, images = case
    other = images.at[:, 1].add(1.0)
    found, changed = (network.apply(opened(params), IDS, x).logits for x in (images, other))
    np.testing.assert_array_equal(found[0, :3], changed[0, :3])
    assert np.abs(found[0, 3:] - changed[0, 3:]).max(axis=-1).min() > 1e-6


def test_features_themselves_may_be_the_visual_tokens(case):
    *_, images = case
    network = make(resampler=None, numbered=True)
    fresh = jax.jit(network.init)(jax.random.key(1), IDS, images)
    assert fresh["params"]["numbers"].shape == (2, WIDTH) and "resampler" not in fresh["params"]
    weights = network.apply(fresh, IDS, images, capture="all").weights
    np.testing.assert_allclose(np.asarray(weights)[1].sum(axis=(-1, -2)), 1, atol=1e-5)
