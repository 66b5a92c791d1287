"""Cross entropy against the plain formula: value and gradient, smoothing, masks and chunks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.training.objectives import (
    chunked_cross_entropy,
    cross_entropy,
    mixed_cross_entropy,
)

B, T, V = 2, 5, 7


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    logits = jnp.array(3 * rng.normal(size=(B, T, V)), jnp.float32)
    targets = jnp.array(rng.integers(0, V, (B, T)), jnp.int32)
    return logits, targets, jnp.arange(T)[None] < jnp.array([[3], [T]])


def plain(logits, targets, valid, smoothing):
    """-Σ q log p over the valid targets, q written out."""
    wanted = (1 - smoothing) * jax.nn.one_hot(targets, V) + smoothing / V
    losses = -(wanted * jax.nn.log_softmax(logits)).sum(-1)
    return (losses * valid).sum()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_value_and_gradient_of_the_plain_formula(batch, smoothing):
    logits, targets, valid = batch

    def ours(logits):
        total, weight = cross_entropy(logits, targets, valid, smoothing)
        return total, weight

    (total, weight), gradient = jax.jit(jax.value_and_grad(ours, has_aux=True))(logits)
    expected, expected_gradient = jax.jit(
        jax.value_and_grad(lambda x: plain(x, targets, valid, smoothing))
    )(logits)
    np.testing.assert_allclose(total, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-6)
    assert weight == 3 + T
    assert not np.asarray(gradient)[0, 3:].any()


def test_two_targets_of_an_example_by_hand():
    logits = np.log(np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.6, 0.3, 0.1]]))
    found, weight = mixed_cross_entropy(
        jnp.array(logits, jnp.float32),
        jnp.array([0, 2, 1]),
        jnp.array([1, 2, 0]),
        jnp.array([0.75, 0.25, 1.0]),
        jnp.array([True, True, False]),
        label_smoothing=0.3,
    )
    # The first is wanted with 0.7 * 0.75 + 0.1, its other with 0.7 * 0.25 + 0.1.
    wanted = np.array([[0.625, 0.275, 0.1], [0.1, 0.1, 0.8], [0, 0, 0]])
    np.testing.assert_allclose(found, -(wanted * logits).sum(), rtol=1e-6)
    assert weight == 2


def test_losses_of_large_logits_are_exact(batch):
    _, targets, valid = batch
    total, _ = cross_entropy(1e4 * jax.nn.one_hot(targets + 1, V + 1), targets, valid)
    np.testing.assert_allclose(total, (3 + T) * 1e4)


def test_half_precision_logits_give_float32_sums_and_half_precision_gradients(batch):
    logits, targets, valid = batch
    half = logits.astype(jnp.bfloat16)
    total, weight = cross_entropy(half, targets, valid, 0.1)
    assert total.dtype == weight.dtype == jnp.float32
    wide = cross_entropy(half.astype(jnp.float32), targets, valid, 0.1)[0]
    np.testing.assert_allclose(total, wide, rtol=1e-6)
    gradient = jax.grad(lambda x: cross_entropy(x, targets, valid, 0.1)[0])(half)
    assert gradient.dtype == jnp.bfloat16


def test_the_loss_without_valid_targets_is_zero(batch):
    logits, targets, valid = batch
    assert cross_entropy(logits, targets, jnp.zeros_like(valid)) == (0.0, 0.0)


@pytest.mark.parametrize("chunk", [1, 3, 4, 10, 11, None])
def test_chunked_losses_equal_the_whole_loss(batch, chunk):
    _, targets, valid = batch
    rng = np.random.default_rng(1)
    states = jnp.array(rng.normal(size=(B, T, 3)), jnp.float32)
    kernel = jnp.array(rng.normal(size=(3, V)), jnp.float32)

    def chunked(states, kernel):
        return chunked_cross_entropy(
            lambda x: x @ kernel, states, targets, valid, label_smoothing=0.1, chunk=chunk
        )

    def whole(states, kernel):
        return cross_entropy(states @ kernel, targets, valid, 0.1)

    both = [
        jax.jit(jax.value_and_grad(f, argnums=(0, 1), has_aux=True))(states, kernel)
        for f in (chunked, whole)
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), *both)
    # Without a gradient the loss alone is computed, another way.
    np.testing.assert_allclose(jax.jit(chunked)(states, kernel)[0], both[0][0][0], rtol=1e-6)


def test_memory_holds_the_logits_of_one_chunk():
    words, vocabulary, chunk = 512, 4096, 32
    valid = jnp.ones(words, bool)

    def loss(states, kernel, chunk):
        targets = jnp.zeros(words, jnp.int32)
        return chunked_cross_entropy(lambda x: x @ kernel, states, targets, valid, chunk=chunk)[0]

    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((words, 8), (8, vocabulary))]
    sizes = {}
    for name, one in {"chunk": chunk, "whole": words}.items():
        compiled = jax.jit(jax.grad(loss, argnums=(0, 1)), static_argnums=2).lower(*shapes, one)
        sizes[name] = compiled.compile().memory_analysis().temp_size_in_bytes
    scores = 4 * words * vocabulary
    assert sizes["whole"] >= scores
    assert sizes["chunk"] < scores / 4
