"""Flamingo: the frozen language model at closed gates, and which image a word attends to."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import Causal
from attn_research.layers.convolution import GridEncoder
from attn_research.layers.feed_forward import BlockConfig
from attn_research.layers.gated import GatedDecoderBlock
from attn_research.layers.resampler import PerceiverResampler
from attn_research.models.flamingo import Flamingo
from attn_research.models.gpt import GPT

IMAGE, WIDTH = 4, 8
IDS = jnp.array([[5, IMAGE, 6, IMAGE, 7, 8], [IMAGE, IMAGE, 9, 6, 5, 8]])
CONFIG = BlockConfig(pre_norm=True)


def language_model(**options):
    return GPT(11, 2, WIDTH, 12, 2, **options)


def make(**options):
    language = language_model(make_block=GatedDecoderBlock)
    resampler = PerceiverResampler(3, 1, WIDTH, 12, 2, config=CONFIG)
    plain = Flamingo(language, GridEncoder(16, 2, WIDTH), resampler, IMAGE)
    return dataclasses.replace(plain, **options)


@pytest.fixture(scope="module")
def images():
    return jnp.array(np.random.default_rng(0).normal(size=(2, 2, 8, 12, 3)), jnp.float32)


@pytest.fixture(scope="module")
def case(images):
    """Parameters, and the program of the network, of images in which each word sees the last."""
    network = make()
    params = jax.jit(network.init)(jax.random.key(0), IDS, images)
    return params, jax.jit(lambda p, images: network.apply(p, IDS, images, capture="all"))


def opened(params):
    def open_gate(path, leaf):
        return leaf + 0.9 if "gate" in jax.tree_util.keystr(path) else leaf

    return jax.tree_util.tree_map_with_path(open_gate, params)


def seen(weights):
    """Which images a word attends to, in every layer and head [B, T, I]."""
    assert weights.shape == (2, 2, 2, 6, 2, 6)  # B L N T I P
    return np.asarray(weights).sum(axis=-1).min(axis=(1, 2)) > 0


def test_closed_gates_give_the_language_model_bit_by_bit(case, images):
    params, program = case
    language = dict(params["params"]["language"])
    language["blocks"] = {k: v for k, v in language["blocks"].items() if k != "gated"}
    alone = Flamingo(language_model(), None, None, IMAGE)
    found = jax.jit(alone.apply)({"params": {"language": language}}, IDS, images)
    np.testing.assert_array_equal(program(params, images).logits, found.logits)
    assert found.weights is None


def test_closed_gates_have_gradients(case, images):
    params, program = case
    loss = jax.jit(jax.grad(lambda params: jnp.sum(program(params, images).logits ** 2)))
    gated = loss(params)["params"]["language"]["blocks"]["gated"]
    assert np.all(np.abs(gated["attention_gate"]) > 0) and np.all(np.abs(gated["mlp_gate"]) > 0)


def test_a_word_sees_the_last_image_before_it(case, images):
    params, program = case
    found = program(opened(params), images)
    none, one, two = [False, False], [True, False], [False, True]
    expected = [[none, one, one, two, two, two], [one, two, two, two, two, two]]
    np.testing.assert_array_equal(seen(found.weights), expected)
    changed = program(opened(params), images.at[:, 1].add(1.0))
    np.testing.assert_array_equal(found.logits[0, :3], changed.logits[0, :3])
    assert np.abs(found.logits[0, 3:] - changed.logits[0, 3:]).max(axis=-1).min() > 1e-6


def test_a_word_may_see_the_features_of_all_images_before_it(images):
    network = make(mask=Causal(), resampler=None, numbered=True)
    program = jax.jit(lambda key: network.init_with_output(key, IDS, images, capture="all"))
    found, params = program(jax.random.key(1))
    assert params["params"]["numbers"].shape == (2, WIDTH) and "resampler" not in params["params"]
    none, one, both = [False, False], [True, False], [True, True]
    expected = [[none, one, one, both, both, both], [one, both, both, both, both, both]]
    np.testing.assert_array_equal(seen(found.weights), expected)
    np.testing.assert_allclose(np.asarray(found.weights)[1].sum(axis=(-1, -2)), 1, atol=1e-5)
