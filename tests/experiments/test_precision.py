"""With --dtype=bfloat16 products are of bfloat16, and what is summed up or kept is float32."""

import jax
import jax.numpy as jnp
import pytest

from attn_research.training.cost import inner_jaxprs
from experiments import vaswani2017, vit2020
from experiments.paper import resolve, training_loss

PAPERS = {"base": vaswani2017.PAPER, "small": vit2020.PAPER}


def products(jaxpr):
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield [x.aval for x in equation.invars]
        for inner in inner_jaxprs(equation.params):
            yield from products(inner)


@pytest.mark.parametrize("row", PAPERS)
def test_only_attention_weights_and_angles_are_multiplied_in_float32(row):
    config = resolve(PAPERS[row], row, {"scale": "tiny", "dtype": "bfloat16"})
    model = PAPERS[row].make_model(config)
    loss = training_loss(config, model)
    params = jax.eval_shape(model.init, jax.random.key(0))

    def total(params, batch, key):
        return loss(params, batch, key).total

    gradient = jax.make_jaxpr(jax.grad(total))(params, model.batch, jax.random.key(0))
    assert all(x.dtype == jnp.float32 for x in gradient.out_avals)
    length = 17 if row == "small" else config.max_words + 1
    found = list(products(gradient.jaxpr))
    in_float32 = [pair for pair in found if any(x.dtype == jnp.float32 for x in pair)]
    assert len(in_float32) < len(found) / 2
    for pair in in_float32:
        weights = any(x.shape[-2:] == (length, length) for x in pair)
        gradient_of_weights = all(x.shape[-2] == length for x in pair if x.ndim == 4)
        angles = all(x.ndim < 4 and x.dtype == jnp.float32 for x in pair)  # of sinusoids
        assert weights or angles or gradient_of_weights, pair
