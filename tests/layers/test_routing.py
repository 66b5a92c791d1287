"""Routing attention as the heads of a model: clusters, centroids, padding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from attn_research.attention import Causal, Full, Padding, Window
from attn_research.attention.routing import centroid_gradient
from attn_research.layers.multihead import MultiHeadAttention
from attn_research.layers.routing import RoutingAttention, real_tokens
from attn_research.models.bert import Bert
from attn_research.models.gpt import GPT

T, D = 12, 8
INPUTS = jax.random.normal(jax.random.key(0), (2, T, D))
VALID = jnp.arange(T)[None] < jnp.array([[12], [7]])
MASKS = [Full(), Causal(), Padding(VALID), Causal() & Padding(VALID)]


def call(layer, inputs, mask, **options):
    return layer(inputs, layer.project(inputs), mask, **options)


def heads(**options):
    return RoutingAttention(2, 4, **({"num_clusters": 3} | options))


@pytest.fixture(scope="module")
def params():
    return heads().init(jax.random.key(1), INPUTS, Full(), method=call)


@pytest.mark.parametrize("mask", MASKS, ids=str)
def test_clusters_that_hold_every_token_are_attention_to_all(mask, params):
    found = heads(size=T).apply(params, INPUTS, mask, capture="all", method=call)
    plain = {name: each for name, each in params["params"].items() if name != "centroids"}
    expected = MultiHeadAttention(2, 4).apply(
        {"params": plain}, INPUTS, mask, capture="all", method=call
    )
    real = np.asarray(VALID if real_tokens(mask) is not None else np.ones((2, T), bool))
    for a, b in zip(found, expected, strict=True):
        a, b = (np.moveaxis(np.asarray(x), -2, 1)[real] for x in (a, b))
        np.testing.assert_allclose(a, b, atol=2e-6)


def test_the_gradient_of_centroids_is_that_of_k_means(params):
    def loss(params):
        return jnp.sum(heads().apply(params, INPUTS, Padding(VALID), method=call).context ** 2)

    found = jax.grad(loss)(params)["params"]
    layer = heads().bind(params)
    query = layer.query(INPUTS).reshape(2, T, 2, 4)
    key = layer.project(INPUTS).keys
    vectors = jnp.concatenate([query, key], axis=1)
    expected = centroid_gradient(
        params["params"]["centroids"], vectors, valid=jnp.concatenate([VALID, VALID], axis=1)
    )
    np.testing.assert_allclose(found["centroids"], expected, atol=1e-5)
    assert np.abs(found["query"]["kernel"]).max() > 0

    def distances(centroids):
        """Half the squared distances to the nearest centroids, written out."""
        unit = vectors / jnp.linalg.norm(vectors, axis=-1, keepdims=True)
        each = jnp.sum((unit[..., None, :] - centroids[None, None]) ** 2, axis=-1)
        cosine = jnp.einsum("btnh,nch->btnc", unit, centroids)
        cosine = cosine / jnp.linalg.norm(centroids, axis=-1)[None, None]
        nearest = jax.nn.one_hot(cosine.argmax(-1), centroids.shape[1])
        real = jnp.concatenate([VALID, VALID], axis=1)[..., None, None]
        return 0.5 * jnp.sum(each * nearest * real)

    written = jax.grad(distances)(params["params"]["centroids"])
    np.testing.assert_allclose(expected, written, atol=1e-4)


def test_centroids_come_to_their_vectors_by_training():
    vectors = jnp.asarray([[1.0, 0.1], [0.9, -0.1], [-0.1, 1.0], [0.1, 0.9]])[:, None]
    centroids = jnp.asarray([[[0.6, 0.5], [0.5, 0.6]]])
    for _ in range(50):
        centroids = centroids - 0.1 * centroid_gradient(centroids, vectors)
    np.testing.assert_allclose(np.sort(np.asarray(centroids[0]).argmax(-1)), [0, 1])
    np.testing.assert_allclose(np.asarray(centroids[0]).max(-1), 0.99, atol=0.02)


def test_padding_changes_nothing_of_a_text(params):
    few = heads(size=4).apply(params, INPUTS[1:, :7], Causal(), method=call).context
    padded = heads(size=4).apply(params, INPUTS, Causal() & Padding(VALID), method=call).context
    np.testing.assert_allclose(padded[1, :7], few[0], atol=1e-6)


@pytest.mark.parametrize(
    "network",
    [
        GPT(11, 2, D, 16, 2, attention=functools.partial(RoutingAttention, share_keys=True)),
        Bert(11, 2, D, 16, 2, heads=("masked_lm",), attention=RoutingAttention),
    ],
    ids=["gpt", "bert"],
)
def test_models_take_these_heads(network):
    ids = jax.random.randint(jax.random.key(0), (2, T), 0, 11)
    params = network.init(jax.random.key(1), ids)
    assert params["params"]["blocks"]["attention"]["centroids"].shape == (2, 2, 16, 4)

    def loss(params):
        logits = network.apply(params, ids)
        logits = logits.logits if isinstance(network, GPT) else logits.heads["masked_lm"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, ids).sum()

    gradients = jax.grad(loss)(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
    assert np.abs(gradients["params"]["blocks"]["attention"]["centroids"]).max() > 0


def test_the_padding_of_a_mask():
    other = jnp.arange(T)[None] > jnp.array([[0], [1]])
    assert real_tokens(Causal() & Window(1, 1)) is None
    assert real_tokens(Causal() | Padding(VALID)) is None
    np.testing.assert_array_equal(real_tokens(Padding(other) & Padding(VALID)), other & VALID)
