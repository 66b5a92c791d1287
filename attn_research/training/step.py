"""The pure training step."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from attn_research.types import Array, Float, Int, Key, PyTree


class Sums(NamedTuple):
    """What a loss returns: a total, the weight it is to be divided by, and counts to report."""

    total: Float[Array, ""]
    weight: Float[Array, ""]
    counts: dict[str, Array]


Loss = Callable[[PyTree, PyTree, Key[Array, ""]], Sums]


class TrainState(NamedTuple):
    """All that a step changes, and all that a checkpoint must hold."""

    step: Int[Array, ""]
    params: PyTree
    optimizer: PyTree


class Metrics(NamedTuple):
    """What one step measured."""

    sums: Sums
    gradient_norm: Float[Array, ""]


def make_state(params: PyTree, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step."""
    return TrainState(jnp.int32(0), params, optimizer.init(params))


def make_train_step(
    loss: Loss, optimizer: optax.GradientTransformation, key: Key[Array, ""]
) -> Callable[[TrainState, PyTree], tuple[TrainState, Metrics]]:
    """A compiled step: (state, batch) -> (state, metrics). It takes the old state's memory.

    The gradient is that of the loss's total / weight. The key of step n is `fold_in(key, n)`, so an
    interrupted run draws what the whole run would have.
    """

    def train_step(state: TrainState, batch: PyTree) -> tuple[TrainState, Metrics]:
        def mean_loss(params):
            sums = loss(params, batch, jax.random.fold_in(key, state.step))
            return sums.total / jnp.maximum(sums.weight, 1), sums

        gradient, sums = jax.grad(mean_loss, has_aux=True)(state.params)
        updates, optimizer_state = optimizer.update(gradient, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        after = TrainState(state.step + 1, params, optimizer_state)
        return after, Metrics(sums, optax.tree.norm(gradient))

    return jax.jit(train_step, donate_argnums=0)


def make_eval_step(loss: Loss) -> Callable[[PyTree, PyTree], Sums]:
    """A compiled (params, batch) -> sums; the key it passes on is always the same."""
    return jax.jit(lambda params, batch: loss(params, batch, jax.random.key(0)))
