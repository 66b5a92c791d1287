"""Dtypes under --dtype=bfloat16: bfloat16 matrix products, float32 sums and parameters."""

import jax
import jax.numpy as jnp
import pytest

from attn_research.training.cost import inner_jaxprs
from experiments.harness.paper import resolve
from experiments.harness.program import make_program
from experiments.papers import find

PAPERS = {"base": find("vaswani2017"), "small": find("vit2020")}


def products(jaxpr):
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield [x.aval for x in equation.invars]
        for inner in inner_jaxprs(equation.params):
            yield from products(inner)


@pytest.mark.parametrize("row", PAPERS)
def test_only_attention_weights_and_sinusoids_are_multiplied_in_float32(row):
    config = resolve(PAPERS[row], row, {"scale": "tiny", "dtype": "bfloat16"})
    program = make_program(PAPERS[row], config)
    params, batch = program.state_shapes().params, program.task.batch_spec()

    def total(params, batch, key):
        return program.loss(params, batch, key).total

    gradient = jax.make_jaxpr(jax.grad(total))(params, batch, jax.random.key(0))
    assert all(x.dtype == jnp.float32 for x in gradient.out_avals)
    length = 17 if row == "small" else config.task.encoding.max_words + 1
    found = list(products(gradient.jaxpr))
    in_float32 = [pair for pair in found if any(x.dtype == jnp.float32 for x in pair)]
    assert len(in_float32) < len(found) / 2
    for pair in in_float32:
        weights = any(x.shape[-2:] == (length, length) for x in pair)
        gradient_of_weights = all(x.shape[-2] == length for x in pair if x.ndim == 4)
        angles = all(x.ndim < 4 and x.dtype == jnp.float32 for x in pair)  # of sinusoids
        assert weights or angles or gradient_of_weights, pair
