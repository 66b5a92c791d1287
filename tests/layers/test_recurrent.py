"""The gated unit by hand, and a loop over time that does not see padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.layers.recurrent import (
    GatedUnit,
    LSTMState,
    LSTMUnit,
    Recurrence,
    orthogonal_blocks,
)

B, S, D, DIN = 2, 7, 4, 3


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gated_step(params, state, projected):
    """The equations of appendix A.1.1 as they are printed."""
    U_z, U_r = np.split(np.asarray(params["gates"]["kernel"]), 2, axis=1)
    U = np.asarray(params["candidate"]["kernel"])
    to_z, to_r, to_candidate = np.split(np.asarray(projected), 3, axis=-1)
    z = sigmoid(to_z + state @ U_z)
    r = sigmoid(to_r + state @ U_r)
    candidate = np.tanh(to_candidate + (r * state) @ U)
    return (1 - z) * state + z * candidate


@pytest.fixture(scope="module")
def unit():
    module = GatedUnit(D)
    rng = np.random.default_rng(0)
    state = np.float32(rng.normal(size=(B, D)))
    projected = np.float32(3 * rng.normal(size=(B, 3 * D)))  # far from where gates are one half

    def init(key):
        return module.init(key, jnp.array(state), jnp.array(projected))

    shapes = jax.eval_shape(init, jax.random.key(0))
    params = jax.tree.map(lambda x: np.float32(rng.normal(size=x.shape)), shapes)
    return jax.jit(module.apply), params, state, projected


def test_one_step_of_the_gated_unit_by_hand(unit):
    step, params, state, projected = unit
    found, output = step(params, state, projected)
    expected = gated_step(params["params"], state, projected)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (np.asarray(output) == np.asarray(found)).all()


def test_gates_at_0_and_1(unit):
    step, params, state, _ = unit
    closed = jnp.concatenate([jnp.full((B, D), -50.0), jnp.zeros((B, 2 * D))], axis=1)
    np.testing.assert_allclose(step(params, state, closed)[0], state, atol=1e-6)
    # z = 1 takes the new state; r = 0 makes it forget the old one.
    forgets = jnp.concatenate(
        [jnp.full((B, D), 50.0), jnp.full((B, D), -50.0), jnp.full((B, D), 0.3)], axis=1
    )
    expected = np.full((B, D), np.tanh(0.3))
    np.testing.assert_allclose(step(params, state, forgets)[0], expected, atol=1e-6)


def test_recurrent_blocks_are_orthogonal_and_differ():
    kernel = np.asarray(orthogonal_blocks(2)(jax.random.key(1), (D, 2 * D)))
    blocks = np.split(kernel, 2, axis=1)
    for block in blocks:
        np.testing.assert_allclose(block @ block.T, np.eye(D), atol=1e-6)
    assert np.abs(blocks[0] - blocks[1]).max() > 0.1


@pytest.mark.parametrize("reverse", [False, True])
def test_recurrence_equals_its_steps_and_keeps_the_state_over_padding(reverse):
    module = Recurrence(GatedUnit(D), reverse)
    rng = np.random.default_rng(2)
    inputs = np.float32(rng.normal(size=(B, S, DIN)))
    lengths = [4, S]
    valid = np.arange(S) < np.array(lengths)[:, None]
    shapes = jax.eval_shape(module.init, jax.random.key(0), *map(jnp.array, (inputs, valid)))
    params = jax.tree.map(lambda x: np.float32(rng.normal(size=x.shape)), shapes)
    found, last = map(np.asarray, jax.jit(module.apply)(params, inputs, valid))
    weights = params["params"]["unit"]
    for row, length in enumerate(lengths):
        state = np.zeros(D)
        for t in reversed(range(S)) if reverse else range(S):
            if t < length:
                projected = inputs[row, t] @ weights["inputs"]["kernel"]
                state = gated_step(weights, state, projected + weights["inputs"]["bias"])
                np.testing.assert_allclose(found[row, t], state, atol=1e-6)
        np.testing.assert_allclose(last[row], state, atol=1e-6)


def lstm_step(params, cell, hidden, x):
    """The equations of Zaremba et al. 2014 as they are printed."""
    W, b = np.asarray(params["inputs"]["kernel"]), np.asarray(params["inputs"]["bias"])
    total = x @ W + b + hidden @ np.asarray(params["gates"]["kernel"])
    i, f, o, g = np.split(total, 4, axis=-1)
    cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
    return cell, sigmoid(o) * np.tanh(cell)


@pytest.mark.parametrize("reverse", [False, True])
def test_an_lstm_by_hand_from_a_given_state(reverse):
    module = Recurrence(LSTMUnit(D), reverse)
    rng = np.random.default_rng(3)
    inputs, cell, hidden = (np.float32(rng.normal(size=s)) for s in ((B, S, DIN), (B, D), (B, D)))
    valid = np.arange(S) < np.array([[4], [S]])
    start = LSTMState(jnp.array(cell), jnp.array(hidden))
    arrays = jnp.array(inputs), jnp.array(valid), start
    shapes = jax.eval_shape(module.init, jax.random.key(0), *arrays)
    params = jax.tree.map(lambda x: np.float32(rng.normal(size=x.shape)), shapes)
    outputs, last = jax.jit(module.apply)(params, *arrays)
    for row, length in enumerate([4, S]):
        c, h = cell[row], hidden[row]
        for t in reversed(range(length)) if reverse else range(length):
            c, h = lstm_step(params["params"]["unit"], c, h, inputs[row, t])
            np.testing.assert_allclose(outputs[row, t], h, atol=1e-5)
        np.testing.assert_allclose(last.cell[row], c, atol=1e-5)
        np.testing.assert_allclose(last.hidden[row], h, atol=1e-5)


def test_initial_weights_and_biases_of_an_lstm_are_uniform():
    unit = LSTMUnit(50)
    variables = unit.init(jax.random.key(0), unit.start(1), jnp.zeros((1, 30)), method=_whole_step)
    for leaf in jax.tree.leaves(variables):
        assert np.abs(leaf).max() <= 0.1
        np.testing.assert_allclose(np.std(leaf), 0.2 / np.sqrt(12), rtol=0.1)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 4 * 50 * (30 + 50 + 1)


def _whole_step(unit, state, inputs):
    return unit(state, unit.project(inputs))
