"""Maxout by hand, and the readout as the equation of appendix A.2.2."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.layers.readout import Readout, maxout

B, T, L, V = 2, 5, 3, 6


def test_maxout_takes_the_larger_of_two_neighbors():
    inputs = jnp.array([[1.0, -2.0, 3.0, 7.0, -5.0, -4.0]])
    np.testing.assert_array_equal(maxout(inputs), [[1.0, 7.0, -4.0]])


def read_out(module, *parts, train=False):
    return module.logits(module(*parts, train=train))


def test_readout_by_hand():
    rng = np.random.default_rng(0)
    parts = [np.float32(rng.normal(size=(B, T, d))) for d in (4, 7, 8)]
    module = Readout(L, V)
    shapes = jax.eval_shape(
        functools.partial(module.init, method=read_out), jax.random.key(1), *parts
    )
    shapes = shapes["params"]
    params = jax.tree.map(lambda x: np.float32(rng.normal(size=x.shape)), shapes)
    # One bias is enough for a sum.
    assert ["bias" in params[f"input_{i}"] for i in range(3)] == [True, False, False]
    hidden = sum(x @ params[f"input_{i}"]["kernel"] for i, x in enumerate(parts))
    hidden = hidden + params["input_0"]["bias"]
    largest = np.maximum(hidden[..., 0::2], hidden[..., 1::2])
    expected = largest @ params["vocabulary"]["kernel"] + params["vocabulary"]["bias"]
    run = jax.jit(functools.partial(module.apply, method=read_out))
    found = run({"params": params}, *parts)
    assert found.shape == (B, T, V)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_dropout_applies_only_in_training():
    parts = [jnp.ones((B, T, d)) for d in (4, 7, 8)]
    module = Readout(L, V, dropout=0.5)
    key = jax.random.key(1)
    params = jax.jit(functools.partial(module.init, method=read_out))(key, *parts)
    run = jax.jit(
        lambda train: module.apply(params, *parts, train=train, rngs={"dropout": key}),
        static_argnums=0,
    )
    np.testing.assert_allclose(run(False), jax.jit(module.apply)(params, *parts), rtol=1e-5)
    assert not np.allclose(run(True), run(False), atol=1e-5)
