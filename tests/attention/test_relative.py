"""Relative biases: ALiBi's slopes, T5's buckets, and every implementation that takes a bias."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import (
    ALiBi,
    Causal,
    Positions,
    RelativeBias,
    Window,
    alibi_slopes,
    attend,
    relative_buckets,
)
from attn_research.attention.positions import grid


def test_slopes_of_alibi():
    np.testing.assert_array_equal(alibi_slopes(8), [2.0**-i for i in range(1, 9)])
    np.testing.assert_allclose(alibi_slopes(16)[:3], [2**-0.5, 2**-1, 2**-1.5], rtol=1e-6)


def test_alibi_by_hand():
    bias = ALiBi(jnp.array([0.5, 0.25]))
    found = bias(*grid(jnp.array([3, 4]), jnp.array([2, 3, 4]), 4))
    distances = np.array([[1, 0, 1], [2, 1, 0]])
    np.testing.assert_array_equal(found, -np.stack([distances / 2, distances / 4])[None])
    one = grid(jnp.array([7]), jnp.array([7]), 3)
    np.testing.assert_array_equal(bias(*one), np.zeros((2, 1, 1)))


# The first distance of each bucket past the exact ones, as of T5's own code.
FIRSTS = {
    True: [8, 12, 16, 23, 32, 46, 64, 91],
    False: [16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113],
}


@pytest.mark.parametrize("bidirectional", [True, False])
def test_buckets_of_t5(bidirectional):
    buckets = relative_buckets(32, 128, bidirectional)
    before, after = buckets[128::-1], buckets[128:]
    exact = 8 if bidirectional else 16
    firsts = [*range(exact), *FIRSTS[bidirectional]]
    expected = np.searchsorted(firsts, np.arange(129), side="right") - 1
    np.testing.assert_array_equal(before, expected)
    later = np.r_[0, 16 + expected[1:]] if bidirectional else 0 * expected
    np.testing.assert_array_equal(after, later)


@pytest.mark.parametrize("sizes", [(7, 20, True), (2, 20, True), (8, 4, False), (1, 9, False)])
def test_buckets_that_do_not_fit_are_refused(sizes):
    with pytest.raises(ValueError, match=f"{sizes[0]} buckets up to a distance of {sizes[1]}"):
        relative_buckets(*sizes)


B, T, S, N, K, H = 2, 13, 40, 4, 2, 6
RNG = np.random.default_rng(1)
QUERY = jnp.array(RNG.normal(size=(B, T, N, H)), jnp.float32)
KEY, VALUE = (jnp.array(RNG.normal(size=(B, S, K, H)), jnp.float32) for _ in range(2))
TABLE = jnp.array(RNG.normal(size=(8, N)), jnp.float32)
AT = jnp.array([[21], [27]]) + jnp.arange(T)[None]


@pytest.mark.parametrize("kind", ["alibi", "buckets", "causal buckets"])
def test_every_implementation_adds_the_bias(kind):
    def make(table):
        if kind == "alibi":
            return ALiBi(table[0])
        return RelativeBias(table, 11, bidirectional=kind == "buckets")

    def loss(table, implementation, mask):
        found = attend(
            QUERY,
            KEY,
            VALUE,
            bias=make(table),
            mask=mask,
            positions=Positions(query=AT),
            implementation=implementation,
        )
        return jnp.sum(jnp.sin(found.context)), found.context

    def exact(mask):
        distance = np.arange(S) - np.asarray(AT)[..., None]
        if kind == "alibi":
            bias = -np.asarray(TABLE)[0][:, None, None] * np.abs(distance)[:, None]
        else:
            buckets = relative_buckets(8, 11, kind == "buckets")
            bias = np.moveaxis(np.asarray(TABLE)[buckets[np.clip(distance, -11, 11) + 11]], -1, 1)
        return attend(
            QUERY, KEY, VALUE, bias=jnp.asarray(bias), mask=mask, positions=Positions(query=AT)
        ).context

    run = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=(1, 2))
    for mask, names in (
        (Causal(), ("reference", "tiled")),
        (Window(9, 1), ("reference", "tiled", "gathered")),
    ):
        results = [run(TABLE, name, mask) for name in names]
        (_, expected), gradient = results[0]
        np.testing.assert_allclose(expected, exact(mask), atol=1e-5)
        assert np.abs(gradient).max() > 1e-3
        for (_, context), found in results[1:]:
            np.testing.assert_allclose(context, expected, atol=1e-5)
            np.testing.assert_allclose(found, gradient, atol=1e-4)


def test_biases_do_not_change_when_all_positions_shift():
    for bias in (ALiBi(TABLE[0]), RelativeBias(TABLE, 11)):
        one = functools.partial(attend, QUERY, KEY, VALUE, bias=bias)
        at = Positions(query=AT, key=jnp.arange(S))
        moved = Positions(query=AT + 1000, key=jnp.arange(S) + 1000)
        np.testing.assert_array_equal(one(positions=at).context, one(positions=moved).context)
