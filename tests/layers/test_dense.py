"""Dense layers over rows as one matrix: flax's layer, of other shapes in between."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from attn_research.layers import dense
from attn_research.layers.dense import Dense, multiply_rows


@pytest.mark.parametrize("lead", [(), (5,), (2, 3), (2, 3, 4), (0, 3), (2, 0, 3)])
@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
@pytest.mark.parametrize("many", [1, 256])  # rows of a product with a transposed kernel
def test_outputs_and_gradients_are_those_of_flax(lead, dtype, many, monkeypatch):
    monkeypatch.setattr(dense, "MANY", many)
    inputs = jax.random.normal(jax.random.key(0), (*lead, 6))
    params = Dense(4).init(jax.random.key(1), inputs)

    def loss(network, params, inputs):
        return jnp.sum(jnp.sin(network(4, dtype=dtype).apply(params, inputs)))

    ours, flax = (
        jax.jit(jax.value_and_grad(lambda *args, n=network: loss(n, *args), argnums=(0, 1)))(
            params, inputs
        )
        for network in (Dense, nn.Dense)
    )
    tolerance = 1e-5 if dtype is None else 2e-2
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), ours, flax
    )


def test_a_transposed_kernel_has_every_derivative(monkeypatch):
    monkeypatch.setattr(dense, "MANY", 1)
    rows, kernels = jnp.arange(12.0).reshape(2, 6) / 7, jnp.arange(36.0).reshape(3, 6, 2) / 11
    assert "optimization_barrier" in str(jax.make_jaxpr(multiply_rows)(rows, kernels[0]))

    def slopes(multiply):
        """Derivatives of gradients along a direction, for each of three kernels."""

        def loss(rows, kernel):
            return jnp.sum(jnp.sin(multiply(rows, kernel)))

        def along(kernel):
            grad = jax.grad(loss, argnums=(0, 1))
            return jax.jvp(grad, (rows, kernel), (rows, kernel))

        return jax.jit(jax.vmap(along))(kernels)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
        slopes(multiply_rows),
        slopes(jnp.matmul),
    )


def test_products_and_their_gradients_are_of_two_matrices():
    inputs = jnp.ones((2, 3, 6))
    params = Dense(4).init(jax.random.key(0), inputs)
    traced = jax.make_jaxpr(jax.grad(lambda *args: Dense(4).apply(*args).sum(), argnums=(0, 1)))(
        params, inputs
    )
    products = [each for each in traced.eqns if each.primitive.name == "dot_general"]
    assert len(products) == 3
    assert {x.aval.ndim for product in products for x in product.invars} == {2}
