"""The training step: one gradient of sums, and keys that depend on the number of the step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from attn_research.rng import per_example_key
from attn_research.training.objectives import cross_entropy
from attn_research.training.step import Sums, make_eval_step, make_state, make_train_step

B, T, D, V = 4, 5, 3, 6
KEY = jax.random.key(7)


def make_batch():
    """Rows of 5, 1, 3 and 2 targets, so that means of halves are not the mean."""
    rng = np.random.default_rng(0)
    return {
        "inputs": np.float32(rng.normal(size=(B, T, D))),
        "targets": rng.integers(0, V, (B, T)).astype(np.int32),
        "valid": np.arange(T) < np.array([[5], [1], [3], [2]]),
    }


def loss(params, batch, key):
    logits = jnp.einsum("btd,dv->btv", batch["inputs"], params)
    total, weight = cross_entropy(logits, batch["targets"], batch["valid"])
    return Sums(total, weight, {"draw": jax.random.uniform(key)})


def make_params():
    return jnp.array(np.random.default_rng(1).normal(size=(D, V)), jnp.float32)


def test_a_step_is_the_gradient_of_accumulated_sums():
    batch, rate = make_batch(), 0.5
    step = make_train_step(loss, optax.sgd(rate), KEY)
    after, metrics = step(make_state(make_params(), optax.sgd(rate)), batch)
    total = gradient = weight = 0.0
    of_total = jax.jit(
        jax.value_and_grad(
            lambda p, b: (lambda s: (s.total, s.weight))(loss(p, b, KEY)), has_aux=True
        )
    )
    for half in (slice(0, 2), slice(2, 4)):
        (part, n), g = of_total(make_params(), {name: x[half] for name, x in batch.items()})
        total, weight, gradient = total + part, weight + n, gradient + g
    assert weight == metrics.sums.weight == 11
    np.testing.assert_allclose(metrics.sums.total, total, rtol=1e-6)
    np.testing.assert_allclose(after.params, make_params() - rate * gradient / weight, atol=1e-6)
    norm = np.linalg.norm(np.asarray(gradient / weight))
    np.testing.assert_allclose(metrics.gradient_norm, norm, rtol=1e-5)


def test_the_reported_norm_is_before_clipping():
    optimizer = optax.chain(optax.clip_by_global_norm(1e-3), optax.sgd(1.0))
    step = make_train_step(loss, optimizer, KEY)
    after, metrics = step(make_state(make_params(), optimizer), make_batch())
    assert metrics.gradient_norm > 0.1
    np.testing.assert_allclose(optax.tree.norm(after.params - make_params()), 1e-3, rtol=1e-3)


def test_the_key_of_a_step_follows_from_its_number():
    step = make_train_step(loss, optax.sgd(0.1), KEY)
    state = make_state(make_params(), optax.sgd(0.1))
    for number in range(3):
        assert state.step == number
        state, metrics = step(state, make_batch())
        expected = jax.random.uniform(per_example_key(jax.random.fold_in(KEY, number)))
        assert metrics.sums.counts["draw"] == expected


def test_a_batch_without_targets_changes_nothing():
    batch = make_batch() | {"valid": np.zeros((B, T), bool)}
    step = make_train_step(loss, optax.sgd(0.1), KEY)
    after, metrics = step(make_state(make_params(), optax.sgd(0.1)), batch)
    assert metrics.sums.total == metrics.sums.weight == metrics.gradient_norm == 0
    np.testing.assert_array_equal(after.params, make_params())


def test_evaluation_draws_the_same_each_time():
    evaluate = make_eval_step(loss)
    one, other = (evaluate(make_params(), make_batch()) for _ in range(2))
    assert one.counts["draw"] == other.counts["draw"]
    total = jax.jit(loss)(make_params(), make_batch(), KEY).total
    np.testing.assert_allclose(one.total, total, rtol=1e-6)
