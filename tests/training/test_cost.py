"""FLOPs of matrix products and convolutions, inside whatever they are nested in."""

import jax
import jax.numpy as jnp
import pytest

from attn_research.training.cost import matmul_flops

A, D, E, TURNS = 3, 5, 7, 11
X, W = jax.ShapeDtypeStruct((A, D), jnp.float32), jax.ShapeDtypeStruct((D, E), jnp.float32)
ONCE = 2 * A * D * E


def scanned(x, w):
    return jax.lax.scan(lambda carry, _: (carry + jnp.sum(x @ w), None), 0.0, None, length=TURNS)


def nested(x, w):
    def turn(carry, _):
        return carry + scanned(x, w)[0], None

    return jax.lax.scan(turn, 0.0, None, length=2)[0]


def while_loop(x, w):
    return jax.lax.while_loop(lambda c: c < 9, lambda c: c + jnp.sum(x @ w), 0.0)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (jnp.matmul, ONCE),
        (jax.jit(jnp.matmul), ONCE),
        (jax.checkpoint(jnp.matmul), ONCE),
        (lambda x, w: jax.jit(scanned)(x, w), TURNS * ONCE),
        (nested, 2 * TURNS * ONCE),
        (while_loop, ONCE),
        # Forward once, and backward once for each operand.
        (jax.grad(lambda x, w: jnp.sum((x @ w) ** 2), argnums=(0, 1)), 3 * ONCE),
        (lambda x, w: jnp.tanh(x).sum() + w.sum(), 0),
    ],
    ids=["plain", "jit", "checkpoint", "scan", "nested", "while", "gradient", "none"],
)
def test_flops_of_matrix_products(function, expected):
    assert matmul_flops(function, X, W) == expected


@pytest.mark.parametrize("groups", [1, 2])
def test_flops_of_convolutions(groups):
    images, channels, outputs, side = 2, 4, 6, 5
    x = jax.ShapeDtypeStruct((images, side, side, channels), jnp.float32)
    w = jax.ShapeDtypeStruct((3, 3, channels // groups, outputs), jnp.float32)

    def convolve(x, w):
        return jax.lax.conv_general_dilated(
            x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )  # fmt: skip

    once = 2 * images * side**2 * 9 * channels * outputs // groups
    assert matmul_flops(convolve, x, w) == once
    if groups == 1:
        gradient = jax.grad(lambda x, w: jnp.sum(convolve(x, w) ** 2), argnums=(0, 1))
        assert matmul_flops(gradient, x, w) == 3 * once


def test_flops_of_batched_products():
    left, right = (jax.ShapeDtypeStruct((2, 4, *x.shape), jnp.float32) for x in (X, W))
    assert matmul_flops(jnp.matmul, left, right) == 8 * ONCE
