"""Adadelta with the paper's constants, clipping, and the schedule."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from attn_research.training.optimizers import make_optimizer, make_schedule


def test_two_steps_of_adadelta_by_hand():
    optimizer = make_optimizer("adadelta", 1.0, clip_norm=100.0)
    params = jnp.array([0.5, -2.0])
    state = optimizer.init(params)
    squares = updates = np.zeros(2)
    for gradient in (np.array([0.3, -4.0]), np.array([-0.2, 1.0])):
        squares = 0.95 * squares + 0.05 * gradient**2
        expected = -np.sqrt(updates + 1e-6) / np.sqrt(squares + 1e-6) * gradient
        updates = 0.95 * updates + 0.05 * expected**2
        found, state = optimizer.update(jnp.array(gradient, jnp.float32), state, params)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_gradients_are_rescaled_to_the_norm():
    optimizer = make_optimizer("adam", 1.0, clip_norm=1.0)
    first_moment = {}
    for scale in (0.1, 10.0, 100.0):
        gradient = {"a": jnp.array([3.0]) * scale, "b": jnp.array([4.0]) * scale}
        _, state = optimizer.update(gradient, optimizer.init(gradient), gradient)
        first_moment[scale] = 10 * optax.tree.norm(optax.tree.get(state, "mu"))
    np.testing.assert_allclose([*first_moment.values()], [0.5, 1.0, 1.0], rtol=1e-5)


def test_weight_decay_applies_to_matrices_only():
    params = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3), "positions": jnp.ones((2, 3))}
    gradient = jax.tree.map(jnp.zeros_like, params)
    optimizer = make_optimizer("adamw", 0.1, 1.0, weight_decay=0.5)
    updates, _ = optimizer.update(gradient, optimizer.init(params), params)
    np.testing.assert_allclose(updates["kernel"], -0.05, rtol=1e-6)
    assert not updates["bias"].any() and not updates["positions"].any()
    with pytest.raises(ValueError, match="is for adamw, adamw_99, muon, not for adam"):
        make_optimizer("adam", 0.1, 1.0, weight_decay=0.5)


def test_muon_updates_have_nearly_equal_singular_values():
    rng = np.random.default_rng(0)
    shapes = {"first": (8, 12), "blocks": (3, 12, 8), "conv": (3, 3, 2, 8)}
    gradient = {name: {"kernel": rng.normal(size=shape)} for name, shape in shapes.items()}
    gradient = jax.tree.map(jnp.float32, gradient | {"bias": rng.normal(size=8)})
    optimizer = make_optimizer("muon", 0.1, clip_norm=100.0)
    updates, _ = optimizer.update(gradient, optimizer.init(gradient), gradient)
    found = [updates["first"]["kernel"], *updates["blocks"]["kernel"]]
    found.append(updates["conv"]["kernel"].reshape(18, 8))
    for matrix in found:
        lengths = np.linalg.svd(matrix, compute_uv=False)
        assert lengths.max() < 2 * lengths.min()  # those of the gradient differ by much more
        root = np.sqrt(np.mean(np.square(matrix)))
        assert 0.015 < root < 0.025  # a fifth of the rate, as an update of Adam's
    # Adam with Nesterov's momentum: (b1 (1 - b1) / (1 - b1^2) + 1) of the rate at first.
    np.testing.assert_allclose(np.abs(updates["bias"]), 0.1 * (0.09 / 0.19 + 1), rtol=1e-3)
    optimizer = make_optimizer("muon", 0.1, 1.0, weight_decay=0.5)
    zero = jax.tree.map(jnp.zeros_like, gradient)
    updates, _ = optimizer.update(zero, optimizer.init(zero), gradient)
    expected = -0.05 * gradient["first"]["kernel"]
    np.testing.assert_allclose(updates["first"]["kernel"], expected, rtol=1e-5)
    assert not updates["bias"].any()


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(ValueError, match="'lion' is not one of adadelta, adam, adam"):
        make_optimizer("lion", 1.0, 1.0)


@pytest.mark.parametrize(("warmup", "steps", "end"), [(4, 20, 0.01), (0, 20, 0.01), (4, 20, 0.1)])
def test_cosine_schedule_with_warmup(warmup, steps, end):
    schedule = make_schedule("cosine", 0.5, steps, warmup=warmup, end=end)
    rates = [float(schedule(step)) for step in range(steps + 1)]
    np.testing.assert_allclose(
        rates[: warmup + 1], np.linspace(0, 0.5, warmup + 1) if warmup else [0.5]
    )
    cosine = 0.5 + 0.5 * np.cos(np.pi * np.linspace(0, 1, steps - warmup + 1))
    expected = 0.5 * (end + (1 - end) * cosine)
    np.testing.assert_allclose(rates[warmup:], expected, rtol=1e-5)


def test_a_run_shorter_than_its_warmup_has_only_warmup():
    schedule = make_schedule("cosine", 0.5, 4, warmup=10)
    np.testing.assert_allclose([float(schedule(step)) for step in (0, 4)], [0.0, 0.2], rtol=1e-5)


def test_the_halving_schedule_of_luong():
    # Luong et al. 2015 at ten updates an epoch: ten epochs, halved every epoch after the fifth.
    schedule = make_schedule("halving", 1.0, 100, halve_after=50, halve_every=10)
    rates = [float(schedule(step)) for step in (0, 49, 51, 59, 61, 91, 99)]
    assert rates == [1, 1, 1 / 2, 1 / 2, 1 / 4, 1 / 32, 1 / 32]


def test_the_schedule_of_vaswani():
    peak = (512 * 4000) ** -0.5
    schedule = make_schedule("inverse_sqrt", peak, 100_000, warmup=4000)
    for number in (1, 17, 3999, 4000, 4001, 100_000):
        expected = 512**-0.5 * min(number**-0.5, number * 4000**-1.5)
        np.testing.assert_allclose(float(schedule(number - 1)), expected, rtol=1e-5)
    np.testing.assert_allclose(peak, 6.99e-4, rtol=1e-3)


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="'linear' is not one of constant, cosine, halving"):
        make_schedule("linear", 1.0, 10)
