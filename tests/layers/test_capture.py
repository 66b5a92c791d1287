"""Weights of some layers and heads alone: equal to those of all, at a small part of the cost."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.layers.contracts import CaptureSome
from attn_research.models.bert import Bert
from attn_research.models.gpt import GPT
from attn_research.models.vit import ViT
from attn_research.training.cost import matmul_flops
from tests.pretrained.golden import load, pretrained

SOME = CaptureSome((2, 0), (1, 2))


@pytest.mark.parametrize("name", ["bert_pretraining", "albert_pretraining", "llama", "vit_classes"])
def test_weights_of_some_heads_are_those_of_all(name):
    network, params = pretrained(name)
    if isinstance(network, ViT):
        inputs = (jnp.asarray(np.moveaxis(load(name).inputs["pixel_values"], 1, 3)),)
    else:
        ids = load(name).inputs["input_ids"]
        inputs = (
            jnp.asarray(ids, jnp.int32),
            jnp.asarray(np.arange(ids.shape[1]) < 9)[None] & (ids >= 0),
        )

    def run(capture):
        return jax.jit(functools.partial(network.apply, capture=capture))(params, *inputs)

    whole, some, none = run("all"), run(SOME), run(None)
    expected = np.asarray(whole.weights)[:, SOME.layers][:, :, SOME.heads]
    np.testing.assert_allclose(some.weights, expected, atol=1e-6)
    assert none.weights is None
    for one, other in zip(*(jax.tree.leaves(x[0]) for x in (some, none)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_a_layer_or_a_head_that_there_is_not_is_refused():
    network, params = pretrained("bert_classes")
    ids = jnp.asarray(load("bert_classes").inputs["input_ids"], jnp.int32)
    for capture, message in (
        (CaptureSome((3,), (0,)), "no layer 3: they are 0 to 2"),
        (CaptureSome((0,), (3,)), "heads"),
    ):
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(functools.partial(network.apply, capture=capture), params, ids)
    with pytest.raises(ValueError, match="captured without dropout: give train=False"):
        run = functools.partial(network.apply, capture=SOME, train=True)
        jax.eval_shape(run, params, ids, rngs={"dropout": jax.random.key(0)})


# Sizes of MiniLM and of SmolLM2, 512 tokens, on the blockwise implementation.
MODELS = {
    "MiniLM": lambda: Bert(30522, 6, 384, 1536, 12, implementation="tiled"),
    "SmolLM2": lambda: GPT(49152, 30, 576, 1536, 9, num_kv_heads=3, implementation="tiled"),
}


@pytest.mark.parametrize("name", MODELS)
def test_chosen_weights_cost_less_than_a_twentieth(name):
    network, ids = MODELS[name](), jax.ShapeDtypeStruct((1, 512), jnp.int32)
    params = jax.eval_shape(network.init, jax.random.key(0), ids)

    def flops(capture):
        return matmul_flops(functools.partial(network.apply, capture=capture), params, ids)

    plain, last = flops(None), network.num_layers - 1
    one_layer = flops(CaptureSome((last,), tuple(range(network.num_heads))))
    two_heads = flops(CaptureSome(tuple(range(network.num_layers)), (0, 1)))
    assert plain < two_heads < 1.05 * plain and plain < one_layer < 1.05 * plain
    assert flops("all") > two_heads
