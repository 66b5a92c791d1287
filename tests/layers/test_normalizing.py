"""The table of normalizers, in every kind of attention that models have."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import Full
from attn_research.layers.attention import MemoryAttention
from attn_research.layers.masking import Positional, Predictive
from attn_research.layers.multihead import MultiHeadAttention
from attn_research.layers.normalizing import COUNTING_NORMALIZERS, NORMALIZERS
from attn_research.layers.scoring import make_scoring
from attn_research.models.bert import Bert
from attn_research.models.vit import ViT

B, T, S, D, N, H = 2, 3, 7, 8, 2, 4
STATES, ANNOTATIONS = (
    jnp.asarray(np.random.default_rng(seed).normal(size=(B, length, D)) * 3, jnp.float32)
    for seed, length in ((0, T), (1, S))
)
VALID = jnp.ones((B, S), bool)


def in_memory(module):
    def method(module, states, annotations):
        return module(states, module.project(annotations, VALID), capture="all").weights

    return _run(module, method)


def in_heads(module):
    def method(module, states, annotations):
        return module(states, module.project(annotations), Full(), capture="all").weights

    return _run(module, method)


def _run(module, method):
    """Weights with drawn parameters."""
    return module.init_with_output(jax.random.key(2), STATES, ANNOTATIONS, method=method)[0]


@pytest.mark.parametrize("name", NORMALIZERS)
def test_weights_are_the_normalizer_of_the_scores(name):
    made, every = NORMALIZERS[name](3), np.ones((1, 1, 1, 1), bool)

    def normalizer(scores):
        return made(scores, every, jnp.arange(S)[None, None, None])

    memory = MemoryAttention(make_scoring("dot"))
    scores = jnp.einsum("btd,bsd->bts", STATES, ANNOTATIONS)[:, None]
    expected = normalizer(scores)[:, 0]
    found = in_memory(memory.clone(normalizer=made))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # Of heads the scores are the logarithms of the weights by softmax, but for a constant of a row.
    heads = MultiHeadAttention(N, H)
    found = in_heads(heads.clone(normalizer=made))
    if name != "sigmoid":
        scores = jnp.log(in_heads(heads))
        np.testing.assert_allclose(found, normalizer(scores), atol=1e-5)
    if name not in ("softmax", "sigmoid"):
        assert (np.asarray(found) == 0).any()


def test_localities_keep_the_normalizer():
    normalizer = NORMALIZERS["top_k"](1)
    for locality in (Positional(), Predictive(4)):
        memory = MemoryAttention(make_scoring("dot"), locality, normalizer)
        assert (np.sum(np.asarray(in_memory(memory)) > 0, axis=-1) <= 1).all()


@pytest.mark.parametrize("name", NORMALIZERS)
def test_encoders_pass_the_normalizer_on_and_learn(name):
    normalizer = NORMALIZERS[name](2)
    ids = jnp.arange(2 * S).reshape(2, S)
    pixels = jnp.asarray(np.random.default_rng(3).normal(size=(2, 4, 4, 3)), jnp.float32)
    for network, inputs in (
        (Bert(14, 2, D, 2 * D, N, kernel_init=jax.nn.initializers.normal(1.0)), ids),
        (ViT(0, (4, 4), 2, 2, D, 2 * D, N), pixels),
    ):
        made = dataclasses.replace(network, normalizer=normalizer)
        params = network.init(jax.random.key(0), inputs)

        def states(params, network, inputs=inputs):
            return network.apply(params, inputs)[0]

        same = np.allclose(states(params, network), states(params, made), atol=1e-6)
        assert same == (name == "softmax")
        gradients = jax.grad(lambda p, made=made: jnp.sum(states(p, made) ** 2))(params)
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradients))


def test_some_normalizers_count_keys():
    assert COUNTING_NORMALIZERS == ("sigmoid", "top_k")
