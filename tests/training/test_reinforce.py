"""REINFORCE: its gradient in expectation, and the moving average of the reward."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from attn_research.layers.attention import MemoryAttention
from attn_research.layers.regions import HardRegions
from attn_research.layers.scoring import make_scoring
from attn_research.models.captioner import Captioned, Captioner
from attn_research.training.reinforce import moving_average, reinforce
from experiments.tasks.captioning.config import CaptioningConfig
from experiments.tasks.captioning.losses import log_likelihoods, loss_sums

REGIONS, WORDS = 3, 2


def test_the_gradient_of_hard_attention_is_that_of_all_choices_enumerated():
    """∇ Σ_s p(s) log p(y | s), of captions of two words over three regions."""
    regions = HardRegions(MemoryAttention(make_scoring("additive", features=4)))
    network = Captioner(5, nn.Dense(4), regions, 4, 3)
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.normal(size=(1, 1, REGIONS, 2)), jnp.float32)
    choices = jnp.array(list(itertools.product(range(REGIONS), repeat=WORDS)))
    images = jnp.repeat(image, len(choices), axis=0)
    previous = jnp.tile(jnp.array([[1, 4]]), (len(choices), 1))
    target, valid = jnp.tile(jnp.array([[4, 2]]), (len(choices), 1)), jnp.ones(choices.shape, bool)
    shapes = jax.eval_shape(network.init, jax.random.key(0), images, previous)
    params = jax.tree.map(lambda x: jnp.float32(0.9 * rng.normal(size=x.shape)), shapes)
    baseline = params["params"]["regions"]["baseline"]
    assert baseline.shape == ()

    def outcomes(params):
        """The log likelihood of each choice, its log probability, and the baseline."""
        found = network.apply(params, images, previous, choices)
        rewards = log_likelihoods(found.logits, target, valid)
        return rewards, found.log_probs.sum(axis=1), found.baseline

    def expected(params):
        rewards, log_probs, _ = outcomes(params)
        return jnp.sum(jnp.exp(log_probs) * rewards)

    def loss(params, chosen):
        rewards, log_probs, baseline = outcomes(params)
        return reinforce(rewards, log_probs, baseline, chosen) - jnp.sum(rewards * chosen)

    @jax.jit
    def both(params):
        rewards, log_probs, _ = outcomes(params)
        chosen = jnp.eye(len(choices), dtype=bool)
        of_each = jax.vmap(jax.grad(loss), (None, 0))(params, chosen)
        mean = jax.tree.map(lambda x: jnp.tensordot(jnp.exp(log_probs), x, 1), of_each)
        return jax.grad(expected)(params), mean, rewards, log_probs

    exact, mean, rewards, log_probs = both(params)
    np.testing.assert_allclose(np.exp(log_probs).sum(), 1, rtol=1e-5)
    assert np.ptp(rewards) > 0.1  # the choices matter
    of_baseline = mean["params"]["regions"].pop("baseline")
    exact["params"]["regions"].pop("baseline")
    np.testing.assert_allclose(of_baseline, baseline - expected(params), rtol=1e-4)
    assert max(np.abs(x).max() for x in jax.tree.leaves(exact)) > 0.05
    jax.tree.map(lambda a, b: np.testing.assert_allclose(-b, a, rtol=1e-3, atol=2e-6), exact, mean)
    scores = exact["params"]["regions"]["attention"]["scoring"]
    assert np.abs(scores["vector"]).max() > 1e-3  # through the choices alone


def test_the_term_is_zero_and_leaves_out_empty_rows():
    rewards, log_probs = jnp.array([-3.0, -5.0, 7.0]), jnp.array([-1.0, -2.0, -9.0])
    valid = jnp.array([True, True, False])
    value, gradient = jax.value_and_grad(reinforce, (0, 1, 2))(
        rewards, log_probs, jnp.float32(-2), valid
    )
    assert value == 0
    np.testing.assert_array_equal(gradient[0], [0, 0, 0])
    np.testing.assert_array_equal(gradient[1], [1, 3, 0])  # -(r - b)
    assert gradient[2] == (-2 + 3) + (-2 + 5)


def test_the_weight_of_the_term_leaves_the_moving_average_as_it_is():
    """b ← 0.9 b + 0.1 mean(r), of the loss of captions, whatever --reward is."""
    target, valid = jnp.zeros((2, 1), jnp.int32), jnp.ones((2, 1), bool)
    logits = jnp.log(jnp.array([[[0.5, 0.5]], [[0.125, 0.875]]]))
    mean = float(np.log([0.5, 0.125]).mean())

    def loss(params, config):
        zeros = jnp.zeros((2, 1))
        found = Captioned(logits, None, zeros, zeros, params["baseline"])
        sums = loss_sums(config, found, target, valid, train=True)
        return sums.total / sums.weight

    for reward in (0.0, 0.2, 1.0):
        config = CaptioningConfig(reward=reward)
        params, optimizer = {"baseline": jnp.float32(-3.0)}, moving_average(optax.adam(1.0))
        updates, _ = optimizer.update(
            jax.grad(loss)(params, config), optimizer.init(params), params
        )
        after = optax.apply_updates(params, updates)["baseline"]
        np.testing.assert_allclose(after, 0.9 * -3 + 0.1 * mean, rtol=1e-5)


def test_the_baseline_is_a_moving_average_whatever_the_optimizer_is():
    optimizer = moving_average(optax.adam(0.5))
    params = {"a": {"baseline": jnp.float32(-2.0), "kernel": jnp.ones(2)}}
    state = optimizer.init(params)
    rewards = [-4.0, -1.0]
    for reward in rewards:
        gradient = {"a": {"baseline": params["a"]["baseline"] - reward, "kernel": jnp.ones(2)}}
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(params["a"]["baseline"], 0.9 * (0.9 * -2 + 0.1 * -4) + 0.1 * -1)
    np.testing.assert_allclose(params["a"]["kernel"], 0, atol=1e-5)
