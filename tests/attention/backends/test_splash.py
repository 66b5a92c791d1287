"""Splash attention: the parts of masks, empty rows, refusals and costs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import (
    Around,
    Causal,
    Dropout,
    Full,
    Location,
    Padding,
    ScaledDot,
    Segments,
    Window,
    attend,
)
from attn_research.attention.backends import splash
from attn_research.attention.backends.capabilities import dot_operands
from attn_research.attention.call import AttentionCall
from tests.attention.explained import verdict

B, T, S, N, K, H, Hv = 2, 200, 130, 4, 2, 3, 6
RNG = np.random.default_rng(0)
ARRAYS = tuple(
    jnp.asarray(RNG.standard_normal(s).astype(np.float32))
    for s in ((B, T, N, H), (B, S, K, H), (B, S, K, Hv))
)
VALID = Padding(jnp.asarray(np.arange(S) < np.array([[20], [0]])))
SEGMENTS = Segments(
    jnp.asarray(np.arange(T) // 60 + np.arange(B)[:, None]),
    jnp.asarray(np.tile(np.arange(S) // 40, (B, 1))),
)


@pytest.fixture(autouse=True)
def on_a_cpu(monkeypatch):
    """Lets the kernels run here."""
    monkeypatch.setattr(splash, "INTERPRET", True)


def with_gradients(implementation, arrays=ARRAYS, **options):
    @jax.jit
    def both(*arrays):
        out, pull = jax.vjp(
            lambda *a: attend(*a, implementation=implementation, **options).context, *arrays
        )
        return out, pull(jnp.cos(out))

    return jax.tree.leaves(both(*arrays))


@pytest.mark.parametrize(
    "mask", [Window(9, 2), Causal() & SEGMENTS & VALID, ~Causal() & VALID], ids=["w", "s", "p"]
)
def test_masks_and_empty_rows_equal_the_reference(mask):
    (context, *gradients), expected = (
        with_gradients(i, mask=mask) for i in ("splash", "reference")
    )
    for got, want in zip((context, *gradients), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=2e-5)
    empty = ~np.broadcast_to(mask.dense(T, S), (B, 1, T, S)).any(axis=(1, 3))
    assert empty.any() and not np.asarray(context)[empty].any()
    assert not np.asarray(gradients[0])[empty].any()


def test_padding_has_no_effect():
    query, key, value = ARRAYS
    valid = np.arange(S) < np.array([[20], [70]])
    hidden, largest = ~valid[..., None, None], np.finfo(np.float32).max
    spoiled = query, jnp.where(hidden, largest, key), jnp.where(hidden, -largest, value)
    mask = Causal() & Padding(jnp.asarray(valid))
    both = (with_gradients("splash", arrays, mask=mask) for arrays in (ARRAYS, spoiled))
    for plain, full in zip(*both, strict=True):
        np.testing.assert_array_equal(plain, full)


def test_a_scale_that_is_not_a_power_of_two_widens_to_float32():
    def dtypes(width):
        arrays = [jnp.ones((1, 2, 1, width), jnp.bfloat16)] * 3
        operands = splash._scaled(dot_operands(AttentionCall(*arrays, score=ScaledDot())))
        return [array.dtype.name for array in operands[:3]]

    assert dtypes(64) == ["bfloat16"] * 3
    assert dtypes(128) == ["float32", "float32", "bfloat16"]


def test_blocks_pad_no_further_than_needed():
    lengths = {1: 128, 128: 128, 129: 256, 300: 128, 512: 512, 513: 128, 900: 512, 4096: 512}
    assert {length: splash._block(length) for length in lengths} == lengths


SHAPES = tuple(jax.ShapeDtypeStruct(array.shape, array.dtype) for array in ARRAYS)
REFUSED = {
    "dropout is not for splash attention: use tiled": {"dropout": Dropout(0.1, jax.random.key(0))},
    "capture is not for splash attention: use tiled": {"capture": "all"},
    "documents and padding are only joined to the rest by &: use tiled": {"mask": Full() | VALID},
    "documents and padding are only": {"mask": Around(jnp.zeros((B, T)), 3)},
    "the mask leaves nothing of 200 x 130 scores: use tiled": {"mask": ~Full()},
}


@pytest.mark.parametrize("reason", REFUSED)
def test_refusals_name_an_alternative(reason):
    row = verdict("splash", *SHAPES, **REFUSED[reason])
    assert row.verdict == "rejected" and row.reason.startswith(reason)


def test_causal_flops_are_about_half_of_full_flops():
    shape = jax.ShapeDtypeStruct((1, 4096, 2, 64), jnp.bfloat16)

    def flops(mask):
        location = Location(jnp.ones((64, 4096)))
        return verdict("splash", shape, shape, shape, mask=mask, score=location).flops

    assert flops(Full()) > 4 * 64 * 2 * 4096**2
    assert flops(Causal()) < 0.6 * flops(Full())
