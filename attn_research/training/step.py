"""The pure training step: gradients with accumulation, the update, and the state it changes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from attn_research.rng import per_example_key
from attn_research.training.cores import over_cores
from attn_research.training.trainable import Trainable, merge, split
from attn_research.types import Array, Float, Int, Key, PyTree


class Sums(NamedTuple):
    """The result of a loss: a total, the weight it is divided by, and counts to report."""

    total: Float[Array, ""]
    weight: Float[Array, ""]
    counts: dict[str, Array]


Loss = Callable[[PyTree, PyTree, Key[Array, ""]], Sums]


class TrainState(NamedTuple):
    """The train state: all that a step changes, and all that a checkpoint must hold."""

    step: Int[Array, ""]
    params: PyTree
    optimizer: PyTree


class Metrics(NamedTuple):
    """The measurements of one step."""

    sums: Sums
    gradient_norm: Float[Array, ""]


def make_state(
    params: PyTree,
    optimizer: optax.GradientTransformation,
    *,
    trainable: Trainable | None = None,
) -> TrainState:
    """The state before the first step; the optimizer's covers the trainable parameters alone."""
    return TrainState(jnp.int32(0), params, optimizer.init(split(params, trainable)[0]))


# (parameters, batch, key) -> the gradient of a loss's total, and its sums.
Gradients = Callable[[PyTree, PyTree, Key[Array, ""]], tuple[PyTree, Sums]]


def make_gradients(
    loss: Loss,
    *,
    num_microbatches: int = 1,
    axes: tuple[str, ...] = (),
    trainable: Trainable | None = None,
) -> Gradients:
    """The gradient of the total over a batch, with gradient accumulation over microbatches.

    Memory is that of one microbatch; number n has rows n, n + num_microbatches, ... With `axes`
    the batch is this device's share, its rows after those of the devices before it along these
    axes of a mesh, and the results are its share of two sums. What is drawn for an example, by keys
    of `attn_research.rng`, depends neither on microbatches nor on devices. Frozen parameters have
    None for a gradient (see `split`), and what only their gradients need is not computed.
    """

    def of_microbatch(params, batch, key):
        learned, frozen = split(params, trainable)

        def total(learned):
            sums = loss(merge(learned, frozen), batch, key)
            return sums.total, sums

        return jax.grad(total, has_aux=True)(learned)

    def gradients(params, batch, key):
        rows = len(jax.tree.leaves(batch)[0])
        first = jax.lax.axis_index(axes) * rows if axes else 0
        if num_microbatches == 1:
            return of_microbatch(params, batch, per_example_key(key, first))

        def to_microbatches(x):
            return jnp.moveaxis(x.reshape(-1, num_microbatches, *x.shape[1:]), 1, 0)

        def accumulate(sums, microbatch):
            number, batch = microbatch
            microbatch_key = per_example_key(key, first + number, num_microbatches)
            return jax.tree.map(jnp.add, sums, of_microbatch(params, batch, microbatch_key)), None

        microbatches = jax.tree.map(to_microbatches, batch)
        one = jax.tree.map(lambda x: x[0], microbatches)
        shapes = jax.eval_shape(of_microbatch, params, one, per_example_key(key))
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        numbered = (jnp.arange(num_microbatches), microbatches)
        return jax.lax.scan(accumulate, zeros, numbered)[0]

    return gradients


def with_compute_dtype(loss: Loss, dtype: str) -> Loss:
    """The loss in mixed precision: with parameters cast to `dtype`, in which modules then compute.

    Scores, normalizers and losses stay float32, and gradients arrive in the parameters' own type.
    """

    def mixed_precision_loss(params, batch, key):
        def cast(leaf):
            return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

        return loss(jax.tree.map(cast, params), batch, key)

    return mixed_precision_loss


Step = Callable[[TrainState, PyTree], tuple[TrainState, Metrics]]


def make_update(
    gradients: Gradients,
    optimizer: optax.GradientTransformation,
    *,
    trainable: Trainable | None = None,
) -> Callable[[TrainState, PyTree, Array], tuple[TrainState, Metrics]]:
    """The pure step: (state, batch, words of the run's key) -> (state, metrics).

    The gradient is that of the loss's total / weight. The key of step n is `fold_in(key, n)`, so an
    interrupted run draws what the whole run would have. The key comes as the words in it, so that
    all seeds share a compiled program. `trainable` is the rule that `gradients` was made with.
    """

    def update(state: TrainState, batch: PyTree, words: Array) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.wrap_key_data(words, impl="threefry2x32"), state.step)
        total, sums = gradients(state.params, batch, key)
        gradient = jax.tree.map(lambda x: x / jnp.maximum(sums.weight, 1), total)
        learned, frozen = split(state.params, trainable)
        updates, optimizer_state = optimizer.update(gradient, state.optimizer, learned)
        params = merge(optax.apply_updates(learned, updates), frozen)
        after = TrainState(state.step + 1, params, optimizer_state)
        return after, Metrics(sums, optax.tree.norm(gradient))

    return update


def key_words(key: Key[Array, ""]) -> np.ndarray:
    """The words of a key, on no device: several processes can pass them to one program."""
    return np.asarray(jax.random.key_data(key))


def bind_key(update: Callable[[TrainState, PyTree, Array], Any], key: Key[Array, ""]) -> Step:
    """The step of an update whose draws come from `key`."""
    words = key_words(key)
    return lambda state, batch: update(state, batch, words)


class KeyedUpdate(NamedTuple):
    """An update that is compiled for some devices, for any key."""

    compiled: Any  # by `jax.jit` or `jax.pmap`, of what `make_update` gives

    def step(self, key: Key[Array, ""]) -> Step:
        """The step whose draws come from a key."""
        return bind_key(self.compiled, key)

    def lower(self, state: PyTree, batch: PyTree, key: Key[Array, ""]) -> jax.stages.Lowered:
        """The lowered program of the step, from shapes."""
        return self.compiled.lower(state, batch, key_words(key))


def make_train_step(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    key: Key[Array, ""],
    *,
    trainable: Trainable | None = None,
) -> Step:
    """`make_update` compiled for one device. It takes the old state's memory."""
    update = make_update(make_gradients(loss, trainable=trainable), optimizer, trainable=trainable)
    return bind_key(jax.jit(update, donate_argnums=0), key)


def make_eval_step(loss: Loss) -> Callable[[PyTree, PyTree], Sums]:
    """The compiled evaluation step: (params, batch) -> sums; its key is always the same."""
    return over_cores(lambda params, batch: loss(params, batch, jax.random.key(0)), summed=True)
