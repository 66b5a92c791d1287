"""A loop over steps: its values and all derivatives are those of a scan, its matrices' after it."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from attn_research.layers.dense import Dense
from attn_research.layers.remat import remat
from attn_research.layers.steps import scan_steps
from tests.comparison import assert_trees_close

B, T, D = 3, 5, 4
MEMORY = {"values": jnp.linspace(-1, 1, B * D).reshape(B, D), "valid": jnp.arange(B * D) % 3 > 0}
INPUTS = jnp.sin(jnp.arange(B * T * D, dtype=jnp.float32)).reshape(B, T, D), jnp.arange(T)[None]


class Network(nn.Module):
    """A recurrence with a layer called twice, one below `jax.vmap`, a bias, and a parameter."""

    by_steps: bool
    policy: str = "none"
    dropout: float = 0.0

    def setup(self):
        self.twice, self.once, self.inner = Dense(D), Dense(D, use_bias=False), Dense(D)
        self.scale = self.param("scale", nn.initializers.ones, (D,))
        self.drop = nn.Dropout(self.dropout, deterministic=not self.dropout)

    def __call__(self, state, inputs, memory):
        inputs, position = inputs
        inputs = inputs, jnp.broadcast_to(position, inputs.shape[:2])
        if self.by_steps:
            rngs = ("dropout",)
            return scan_steps(
                Network.step, self, state, inputs, memory, rngs=rngs, policy=self.policy
            )
        loop = nn.scan(
            remat(lambda self, *args: self.step(memory, *args), self.policy),
            variable_broadcast="params",
            split_rngs={"params": False, "dropout": True},
            in_axes=1,
            out_axes=1,
        )
        return loop(self, state, inputs)

    def step(self, memory, state, step):
        inputs, position = step
        read = jnp.where(memory["valid"].reshape(B, D), memory["values"] * state, 0)
        hidden = jnp.tanh(self.twice(inputs) + self.once(state) + self.drop(read))
        mapped = nn.vmap(
            lambda layer, row: layer(row),
            variable_axes={"params": None},
            split_rngs={"params": False},
        )(self.inner, hidden)
        after = jnp.tanh(self.twice(mapped)) * self.scale[None] + (position == 2)[:, None]
        return after, {"hidden": hidden, "after": after}


def operands(network):
    state = jnp.cos(jnp.arange(B * D, dtype=jnp.float32)).reshape(B, D)
    params = network.init(jax.random.key(0), state, INPUTS, MEMORY)
    return params, state, INPUTS[0], MEMORY["values"]


def loss(network):
    def of_operands(params, state, inputs, values):
        memory = {**MEMORY, "values": values}
        last, outputs = network.apply(params, state, (inputs, INPUTS[1]), memory)
        weights = jnp.cos(jnp.arange(outputs["after"].size)).reshape(outputs["after"].shape)
        return jnp.sum(last**2) + jnp.sum(weights * outputs["after"]) + outputs["hidden"].mean()

    return of_operands


def tangents(tree):
    return jax.tree.map(lambda x: jnp.cos(3 * x) + 0.1, tree)


DERIVATIVES = {
    "value": lambda f, x: f(*x),
    "gradient": lambda f, x: jax.grad(f, argnums=(0, 1, 2, 3))(*x),
    "forward": lambda f, x: jax.jvp(f, x, tangents(x)),
    "forward over reverse": lambda f, x: jax.jvp(jax.grad(f), x, tangents(x)),
    "reverse over reverse": lambda f, x: jax.grad(
        lambda *x: sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(jax.grad(f)(*x)))
    )(*x),
}


@pytest.mark.parametrize("policy", ["none", "dots", "all"])
@pytest.mark.parametrize("name", DERIVATIVES)
def test_derivatives_are_those_of_a_scan(name, policy):
    ours, scan = Network(True, policy), Network(False, policy)
    expected = operands(scan)
    assert_trees_close(operands(ours), expected, 0)
    derivative = DERIVATIVES[name]
    found, wanted = (derivative(loss(each), expected) for each in (ours, scan))
    # Entries of second derivatives are up to 19, and sums that cancel keep the rounding of those.
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(wanted))
    assert_trees_close(found, wanted, 1e-5, 5e-7 * max(2.0, largest))


def test_sums_by_matrices_are_made_after_the_loop():
    """But that of the layer below `jax.vmap`, whose inputs cannot leave the step."""

    def carried(network):
        compiled = jax.jit(jax.grad(loss(network))).lower(*operands(network)).compile()
        loops = re.findall(r"= (\(.*\)) while\(", compiled.as_text())
        return sum(line.count(f"f32[{D},{D}]") for line in loops)

    # Two loops have the three matrices; in the second a scan also carries the sums.
    assert carried(Network(False)) == 2 * 3 + 3
    assert carried(Network(True)) == 2 * 3 + 1


class Twice(nn.Module):
    """Two loops, each step of which drops some of its inputs."""

    def setup(self):
        self.drop = nn.Dropout(0.5, deterministic=False)

    def __call__(self, inputs):
        def step(module, _, state, each):
            return state, module.drop(each)

        loop = functools.partial(scan_steps, step, self, jnp.zeros(()), inputs, rngs=("dropout",))
        return loop()[1], loop()[1]


def test_steps_and_loops_draw_anew():
    first, second = Twice().apply({}, jnp.ones((2, 3, 64)), rngs={"dropout": jax.random.key(0)})
    drawn = [np.asarray(x[:, t]) for x in (first, second) for t in range(3)]
    assert len({each.tobytes() for each in drawn}) == 6


def test_gradients_of_a_narrow_type_are_of_that_type():
    network = Network(True)
    x = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), operands(network))
    narrow = jax.grad(loss(network))(*x)
    assert {leaf.dtype for leaf in jax.tree.leaves(narrow)} == {jnp.dtype("bfloat16")}
    wide = jax.grad(loss(network))(*operands(network))
    assert_trees_close(narrow, wide, 0.05, 0.1)
