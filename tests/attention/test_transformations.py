"""Transformations and modes of JAX: every implementation that runs here gives the reference."""

import jax
import jax.numpy as jnp
import pytest

from attn_research.attention import Additive, Causal, Dropout, Gaussian, Padding, attend
from attn_research.attention.backends.xla_flash import plain, plan, tiling
from attn_research.attention.testing.transformations import (
    TRANSFORMATIONS,
    inputs,
    outcome,
)
from tests.comparison import assert_trees_close

REFUSED = {("gathered", "one key"): "use tiled"}


@pytest.fixture(autouse=True)
def few_at_a_time(monkeypatch):
    """Several tiles of keys, and several blocks of rows on each device."""
    monkeypatch.setattr(tiling, "KEY_TILE", 160)
    monkeypatch.setattr(plan, "scores_at_a_time", lambda: (2**13, 2**12))
    monkeypatch.setattr(plain, "SCORES", 2**15)


@pytest.mark.parametrize("name", TRANSFORMATIONS)
@pytest.mark.parametrize("implementation", ["tiled", "gathered"])
def test_a_transformation_gives_the_reference(implementation, name):
    found = outcome(implementation, name)
    assert REFUSED.get((implementation, name), "equal") in found


def test_a_difference_and_an_error_are_told_apart_from_a_refusal(monkeypatch):
    def fails(attention):
        raise TypeError("no such thing\nat all")

    values = iter([1.0, 1.01])
    monkeypatch.setitem(TRANSFORMATIONS, "differs", lambda attention: jnp.float32(next(values)))
    monkeypatch.setitem(TRANSFORMATIONS, "fails", fails)
    assert outcome("tiled", "differs") == "wrong: 9.9e-03 of the largest entry"
    assert outcome("tiled", "fails") == "wrong: TypeError: no such thing"


QUERY, KEY, VALUE = inputs()


def distance(q_pos, k_pos):
    return 0.01 * (q_pos - k_pos).astype(jnp.float32)


LENGTHS = jnp.arange(300)[None] < 40 * jnp.arange(8)[:, None]
OPTIONS = {
    "bias": lambda x: {"bias": jnp.broadcast_to(x[0, :, 0, :1], (1, 8, 24, 300))},
    "bias function": lambda x: {
        "bias": lambda q, k: x[0, 0, :, 0].reshape(1, 8, 1, 1) * distance(q, k)
    },
    "additive and dropout": lambda x: {
        "score": Additive(x[0, 0, 0]),
        "dropout": Dropout(0.3, jax.random.key(0)),
    },
    "normalizer and padding": lambda x: {
        "normalizer": Gaussian(10 + 50 * x[:, :24, 0, 0], 30.0),
        "mask": Causal() & Padding(LENGTHS),
    },
}


@pytest.mark.parametrize("name", OPTIONS)
def test_second_derivatives_reach_every_option(name):
    learned = jnp.cos(jnp.arange(8.0 * 24 * 8 * 4)).reshape(8, 24, 8, 4)

    def run(implementation):
        def loss(query, key, learned):
            options = OPTIONS[name](learned)
            context, _ = attend(query, key, VALUE, implementation=implementation, **options)
            return jnp.sum(jnp.sin(context))

        gradients = jax.grad(loss, (0, 1, 2))
        arrays = QUERY, KEY, learned
        return jax.jit(lambda: jax.jvp(gradients, arrays, (QUERY, KEY, learned)))()

    assert_trees_close(run("tiled"), run("reference"), rtol=1e-3, atol=1e-3)
