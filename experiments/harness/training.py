"""Training of one program in its run folder, with its measurements and checkpoints."""

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.training import processes
from attn_research.training.loop import Hook, fit
from attn_research.training.signals import Interrupted, Signals
from attn_research.training.step import Sums, TrainState
from attn_research.types import PyTree
from experiments.harness.program import Program
from experiments.harness.run_folder import RunFolder


def train(
    program: Program, kept: RunFolder | None, start: PyTree | None, signals: Signals | None = None
) -> PyTree:
    """Trains to the end, from the run folder, which the primary process alone has, or anew.

    Returns the last parameters.
    A signal ends it after the current step, which is saved. Several processes would have to agree
    on that step: there a signal ends its process where it is, and the last checkpoint counts.
    """
    config, placement, task = program.config, program.placement, program.task
    key = jax.random.key(config.train.seed)
    state = kept and kept.state
    if state is None:
        state = _initial_state(program, start, key)
    state = processes.broadcast_from_primary(state)
    first = int(state.step)
    step = program.compile(key)
    state = placement.shard_state(state)

    def save(step: int, state: TrainState) -> None:
        state = placement.gather(state)
        if kept:
            kept.save(step, state)

    hooks = [*_evaluation_hooks(program, kept), Hook(config.train.save_every, save)]
    batches = map(placement.shard_batch, task.train_batches(first, placement.rows))
    if jax.process_count() > 1:
        signals = None
    try:
        with signals.deferred() if signals else contextlib.nullcontext():
            state = fit(
                step,
                state,
                batches,
                num_steps=config.train.num_steps,
                writer=kept and kept.log,
                hooks=hooks,
                stop=lambda: signals is not None and signals.received is not None,
            )
            reached = int(np.ravel(state.step)[0])  # with pmap there is one on every device
            if signals and reached < config.train.num_steps:
                kept.interrupt(reached, placement.gather(state))
                raise Interrupted(signals.received, reached)
        return placement.gather(state.params)
    finally:
        if kept:
            kept.end_training()


def _initial_state(program: Program, start: PyTree | None, key: jax.Array) -> TrainState:
    if start is None:
        return jax.jit(program.initial_state)(key)
    # A copy: the step takes the memory of the state, which whoever gave the parameters may use.
    return program.start(jax.tree.map(lambda x: jnp.array(x, copy=True), start))


def _evaluation_hooks(program: Program, kept: RunFolder | None) -> list[Hook]:
    """A hook for each evaluator.

    Every process runs it: waiting for the primary alone could time out.
    """

    def losses(network: Any, params: PyTree) -> dict[str, float]:
        return measure(program, params, "dev")

    def make(every: int, evaluate: Callable) -> Hook:
        def run(step: int, state: TrainState) -> None:
            if step == 0:
                return
            with kept.log.paused() if kept else contextlib.nullcontext():
                params = program.placement.gather(state.params)
                values = evaluate(program.eval_network, params)
                if kept:
                    kept.record(step, params, values)

        return Hook(every, run)

    every = [(program.config.train.eval_every, losses)]
    every += program.task.evaluators()
    return [make(*evaluator) for evaluator in every]


def measure(program: Program, params: PyTree, split: str) -> dict[str, float]:
    """The numbers that a task makes of the sums over all batches of a split."""
    return program.task.summarize(
        add_sums(program.eval_step(params, batch) for batch in program.task.eval_batches(split))
    )


def add_sums(parts: Iterable[Sums]) -> Sums:
    """The sum of sums, in double precision."""
    total, weight, counts = 0.0, 0.0, {}
    for part in parts:
        total, weight = total + float(part.total), weight + float(part.weight)
        for name, count in part.counts.items():
            counts[name] = counts.get(name, 0.0) + float(count)
    return Sums(total, weight, counts)
