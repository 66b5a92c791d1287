"""The training loop: call the hooks, fetch a batch, take a step, write the last one's metrics."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np

from attn_research.training.step import Metrics, TrainState
from attn_research.types import PyTree


class Hook(NamedTuple):
    """A call `run(step, state)` before the first step, every `every` steps, and after the last."""

    every: int
    run: Callable[[int, TrainState], None]

    def due(self, step: int, num_steps: int) -> bool:
        """True if the hook runs after `step` steps."""
        return step % self.every == 0 or step == num_steps


@runtime_checkable
class Writer(Protocol):
    """A receiver of the metrics of each step, in order, one step late."""

    def write(self, step: int, metrics: Metrics) -> None:
        """Takes the metrics of one step, counted from 1."""
        ...


class NonFiniteLossError(ArithmeticError):
    """A loss or gradient that is NaN or infinite, after which training is useless."""


def fit(
    train_step: Callable[[TrainState, PyTree], tuple[TrainState, Metrics]],
    state: TrainState,
    batches: Iterator[PyTree],
    *,
    num_steps: int,
    writer: Writer | None = None,
    hooks: Sequence[Hook] = (),
    stop: Callable[[], bool] = lambda: False,
) -> TrainState:
    """Training from the step in `state` until `num_steps` have been taken, or `stop()` is true.

    `batches` begins with the batch of that step. The metrics of a step are read after the next one
    was dispatched, so that the device never waits for the host; before a hook they are all read. A
    loss or gradient that is not finite raises `NonFiniteLossError`, which names the step.
    """
    start = int(np.ravel(state.step)[0])  # with pmap there is one on every device
    unread: Metrics | None = None
    for step in range(start, num_steps + 1):
        due = [hook for hook in hooks if hook.due(step, num_steps)]
        if (due or step == num_steps) and unread is not None:
            _read(step, unread, writer)
            unread = None
        # The hooks that were due at the first step of a resumed run ran before the interruption.
        for hook in due if step > start or start == 0 else ():
            hook.run(step, state)
        if step == num_steps:
            break
        if stop():
            if unread is not None:
                _read(step, unread, writer)
            break
        state, metrics = train_step(state, next(batches))
        if unread is not None:
            _read(step, unread, writer)
        unread = metrics
    return state


def _read(step: int, metrics: Metrics, writer: Writer | None) -> None:
    metrics = jax.device_get(metrics)
    loss, norm = metrics.sums.total, metrics.gradient_norm
    # A finite loss can have a gradient that is not finite, which ruins the parameters too.
    if not (np.isfinite(loss) and np.isfinite(norm)):
        raise NonFiniteLossError(
            f"the loss of step {step} is {loss} and the norm of its gradient {norm}: start again "
            "with a lower --learning_rate or --clip_norm"
        )
    if writer is not None:
        writer.write(step, metrics)
