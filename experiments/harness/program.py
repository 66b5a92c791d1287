"""A program: network and task of one config, as pure functions of parameters."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import optax
from flax import linen as nn

from attn_research.training.cost import matmul_flops
from attn_research.training.placement import Placement
from attn_research.training.step import (
    Step,
    Sums,
    TrainState,
    make_eval_step,
    make_state,
    make_train_step,
    with_compute_dtype,
)
from attn_research.training.trainable import Trainable
from attn_research.types import Array, Key, PyTree
from experiments.harness.config import Config, config_placement
from experiments.harness.paper import Paper
from experiments.harness.task import Task


@dataclasses.dataclass(frozen=True)
class Program:
    """Network, task and config of a run. Shapes are known before the task loads data."""

    paper: Paper
    config: Config
    task: Task

    @functools.cached_property
    def network(self) -> nn.Module:
        """The network that is trained."""
        return self.paper.network(self.config, self.task)

    @functools.cached_property
    def eval_network(self) -> nn.Module:
        """The network that is evaluated, in float32 always.

        A kernel named for training in 16 bits may not compute float32, so its name counts for
        training alone.
        """
        if self.config.train.dtype == "float32":
            return self.network
        return self.paper.network(self.config.replace(implementation="auto"), self.task)

    @functools.cached_property
    def optimizer(self) -> optax.GradientTransformation:
        """The optimizer."""
        return self.paper.optimizer(self.config)

    @functools.cached_property
    def trainable(self) -> Trainable | None:
        """The rule of what is trained, or None for all."""
        return self.paper.trainable(self.config)

    @functools.cached_property
    def eval_step(self) -> Callable[[PyTree, PyTree], Sums]:
        """The sums of a batch, compiled once for all evaluations."""
        return make_eval_step(self.eval_loss)

    @functools.cached_property
    def placement(self) -> Placement:
        """The placement of a step."""
        rules = getattr(self.network, "tensor_rules", ())
        num_rows = jax.tree.leaves(self.task.batch_spec())[0].shape[0]
        return config_placement(self.config, rules, num_rows)

    def init(self, key: Key[Array, ""]) -> PyTree:
        """Random initial parameters."""
        return self.network.init(key, *self.task.init_inputs())

    def loss(self, params: PyTree, batch: PyTree, key: Key[Array, ""]) -> Sums:
        """The training loss, in the dtype of the config."""
        loss = functools.partial(self.task.loss, self.network, train=True)
        dtype = self.config.train.dtype
        return (loss if dtype == "float32" else with_compute_dtype(loss, dtype))(params, batch, key)

    def eval_loss(self, params: PyTree, batch: PyTree, key: Key[Array, ""]) -> Sums:
        """The loss without dropout or smoothing."""
        return self.task.loss(self.eval_network, params, batch, key, train=False)

    def initial_state(self, key: Key[Array, ""]) -> TrainState:
        """The state before the first step, from random parameters."""
        return self.start(self.init(key))

    def start(self, params: PyTree) -> TrainState:
        """The state before the first step, from given parameters."""
        return make_state(params, self.optimizer, trainable=self.trainable)

    def compile(self, key: Key[Array, ""]) -> Step:
        """The step on the devices that the config names."""
        like = self.state_shapes()
        return self.placement.compile(
            self.loss, self.optimizer, key, like, trainable=self.trainable
        )

    def lower(self, key: Key[Array, ""]) -> jax.stages.Lowered:
        """The program of the largest step on those devices, from shapes alone."""
        like, batch = self.state_shapes(), self.task.batch_spec()
        return self.placement.lower(
            self.loss, self.optimizer, key, like, batch, trainable=self.trainable
        )

    def state_shapes(self) -> TrainState:
        """The shapes of the state; nothing is allocated."""
        return self._state_shapes

    @functools.cached_property
    def _state_shapes(self) -> TrainState:  # whose tracing can take seconds
        return jax.eval_shape(self.initial_state, jax.random.key(0))

    def step_flops(self) -> int:
        """FLOPs of the matrix products and convolutions of a step, over all devices."""
        step = make_train_step(
            self.loss, self.optimizer, jax.random.key(0), trainable=self.trainable
        )
        return matmul_flops(step, self.state_shapes(), self.task.batch_spec())


def make_program(paper: Paper, config: Config, task: Task | None = None) -> Program:
    """The program of a config, with a task that has read nothing unless one is given."""
    return Program(paper, config, paper.task(config) if task is None else task)
