"""The training loop: call the hooks, fetch a batch, take a step, write what the last measured."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np

from attn_research.training.step import Metrics, TrainState
from attn_research.types import PyTree


class Hook(NamedTuple):
    """Calls `run(step, state)` before step 0, every `every` steps, and after the last one."""

    every: int
    run: Callable[[int, TrainState], None]

    def due(self, step: int, num_steps: int) -> bool:
        """Whether to run when `step` steps have been taken."""
        return step % self.every == 0 or step == num_steps


@runtime_checkable
class Writer(Protocol):
    """Takes the measurements of each step, in order, one step late."""

    def write(self, step: int, metrics: Metrics) -> None:
        """`step` counts from 1."""
        ...


class NonFiniteLossError(ArithmeticError):
    """A loss or gradient that is NaN or infinite: nothing after it would be worth keeping."""


def fit(
    train_step: Callable[[TrainState, PyTree], tuple[TrainState, Metrics]],
    state: TrainState,
    batches: Iterator[PyTree],
    *,
    num_steps: int,
    writer: Writer | None = None,
    hooks: Sequence[Hook] = (),
) -> TrainState:
    """Trains from the step in `state` until `num_steps` have been taken.

    `batches` begins with the batch of that step. The metrics of a step are read after the next one
    was dispatched, so that the device never waits for a number; before a hook they are all read.
    A loss or gradient that is not finite raises `NonFiniteLossError`, which names the step.
    """
    start = int(np.ravel(state.step)[0])  # a mapped state has one on every device
    unread: Metrics | None = None
    for step in range(start, num_steps + 1):
        due = [hook for hook in hooks if hook.due(step, num_steps)]
        if (due or step == num_steps) and unread is not None:
            _read(step, unread, writer)
            unread = None
        # A resumed run did what was due at its first step before it was interrupted.
        for hook in due if step > start or start == 0 else ():
            hook.run(step, state)
        if step == num_steps:
            break
        state, metrics = train_step(state, next(batches))
        if unread is not None:
            _read(step, unread, writer)
        unread = metrics
    return state


def _read(step: int, metrics: Metrics, writer: Writer | None) -> None:
    metrics = jax.device_get(metrics)
    loss, norm = metrics.sums.total, metrics.gradient_norm
    # A finite loss can have a gradient that is not: the parameters are lost all the same.
    if not (np.isfinite(loss) and np.isfinite(norm)):
        raise NonFiniteLossError(
            f"the loss of step {step} is {loss} and the norm of its gradient {norm}: start again "
            "with a lower --learning_rate or --clip_norm"
        )
    if writer is not None:
        writer.write(step, metrics)
