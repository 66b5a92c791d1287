"""A row of a table: trained, or an ensemble of trained rows; evaluated; kept as a result file."""

import contextlib
import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from attn_research.data.files import write_whole
from attn_research.training import processes
from attn_research.training.loop import Hook, fit
from attn_research.training.placement import check_rows
from attn_research.training.step import Sums, TrainState
from attn_research.types import PyTree
from experiments.harness import memory_budget
from experiments.harness.config import Config, run_name
from experiments.harness.paper import Paper, command, resolve
from experiments.harness.program import Program, make_program
from experiments.harness.results import environment
from experiments.harness.run_folder import RunFolder, best_params, parse_best_by, start_params


def run_row(
    paper: Paper,
    row: str,
    config: Config,
    *,
    run_dir: Path,
    results_dir: Path,
    given: Mapping[str, Any] | None = None,
    resume: bool = False,
    progress: bool = True,
    find: Callable[[str], Paper] | None = None,
) -> Path:
    """Trains and evaluates one row; returns its result file, which is written last.

    A finished row is not run again. A run folder that holds checkpoints is continued with `resume`
    and refused without. The members of an ensemble are the rows it names, with the flags `given`.
    Of several processes all train, and the primary alone reads and writes files and evaluates.
    `find` gives the paper of a run that parameters are taken from, this one where None.
    """
    name = run_name(row, config.train.seed)
    result_file, folder = results_dir / f"{name}.json", run_dir / name
    primary = processes.is_primary()
    finished = primary and _is_finished(paper, result_file, config.identity())
    if processes.broadcast_from_primary(finished):
        logging.info("%s is finished: %s", name, result_file)
        return result_file
    if paper.rows[row].members:
        processes.shutdown()
        if primary:
            _make_folders(folder, results_dir)
            found = _evaluate_ensemble(
                paper, row, config, given or {}, run_dir=run_dir, predictions=results_dir / name
            )
    else:
        program = make_program(paper, config)
        _check(program)
        program = make_program(paper, config, program.task.load())
        start = _start_params(program, find or (lambda _: paper))
        if primary:  # nothing before this has written a thing
            _make_folders(folder, results_dir)
        kept = _train(program, row, folder, start, resume=resume, progress=progress)
        processes.shutdown()
        if primary:
            found = _evaluate(program, kept, results_dir / name)
    if not primary:
        return result_file
    result = {
        "experiment": paper.name,
        "row": row,
        "command": command(paper, row, config),
        "config": config.identity(),
        **found,
        "environment": environment(),
    }
    write_whole(result_file, json.dumps(result, indent=1, ensure_ascii=False).encode())
    return result_file


def _check(program: Program) -> None:
    """ValueError or NotImplementedError for what cannot run, before any data is read."""
    parse_best_by(program.config.train.best_by)
    check_rows(program.task.batch_spec(), program.placement)
    memory_budget.check(program)
    # The largest step is traced: a network that does not take its batch, or a named implementation
    # that does not support a call, says so here.
    params, key = program.state_shapes().params, jax.random.key(0)
    jax.eval_shape(program.loss, params, program.task.batch_spec(), key)


def _start_params(program: Program, find: Callable[[str], Paper]) -> PyTree | None:
    """Parameters that training starts from, or None where they are drawn."""
    config, paper = program.config, program.paper
    if config.train.init_from:
        return start_params(config.train.init_from, program, find)
    return paper.initial(config, program.task) if paper.initial else None


def _make_folders(*folders: Path) -> None:
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(
                f"cannot write to {folder} ({error.strerror}): name another --run_dir"
            ) from error


def _is_finished(paper: Paper, result_file: Path, identity: dict[str, Any]) -> bool:
    if not result_file.exists():
        return False
    # A value that did not exist when the result was made was the one it has by default.
    kept = paper.config.identity() | json.loads(result_file.read_text())["config"]
    if kept != identity:
        raise ValueError(
            f"{result_file} holds this row of another configuration: "
            "give the same flags, or another --results_dir"
        )
    return True


def _train(
    program: Program,
    row: str,
    folder: Path,
    start: PyTree | None,
    *,
    resume: bool,
    progress: bool,
) -> RunFolder | None:
    """Trains to the end; returns the run folder, which the primary process alone has."""
    config, placement, task = program.config, program.placement, program.task
    key = jax.random.key(config.train.seed)
    kept = None
    if processes.is_primary():
        kept = RunFolder(folder, program, row, resume=resume, progress=progress)
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
    writer = kept and kept.log
    try:
        fit(step, state, batches, num_steps=config.train.num_steps, writer=writer, hooks=hooks)
    finally:
        if kept:
            kept.end_training()
    return kept


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


def _evaluate(program: Program, kept: RunFolder, predictions: Path) -> dict[str, Any]:
    """Evaluates the best parameters, or the mean of the last ones."""
    config, task = program.config, program.task
    best_step, params, measured = kept.best()
    if config.train.average:
        params = kept.mean()
        measured |= measure(program, params, "dev")
    task.predict([program.eval_network], [params], predictions)
    scores = task.score(predictions)
    kept.close()
    on_train = measure(program, params, "train")
    return {
        "updates": config.train.num_steps,
        "training_flops": config.train.num_steps * program.step_flops(),
        "epochs": config.train.num_steps / task.steps_per_epoch,
        "seconds": kept.seconds,
        "best_step": best_step,
        **{f"train_{name}": value for name, value in on_train.items()},
        **{f"dev_{name}": value for name, value in measured.items()},
        "learning": kept.learning(),
        "parameters": sum(x.size for x in jax.tree.leaves(params)),
        "scores": scores,
        "about": task.about,
    }


def _evaluate_ensemble(
    paper: Paper,
    row: str,
    config: Config,
    given: Mapping[str, Any],
    *,
    run_dir: Path,
    predictions: Path,
) -> dict[str, Any]:
    """Evaluates the best parameters of the rows that an ensemble names, together."""
    task, networks, params = None, [], []
    for name in paper.rows[row].members:
        member = resolve(paper, name, {**given, "seed": config.train.seed})
        task = task or paper.task(member).load()
        program = make_program(paper, member, task)
        folder = run_dir / run_name(name, config.train.seed)
        found = best_params(folder, paper, member, program.state_shapes().params)
        if found is None:
            raise ValueError(f"--row={row} needs the trained row {name} in {folder}: run it first")
        networks.append(program.eval_network)
        params.append(found)
    began = time.perf_counter()
    task.predict(networks, params, predictions)
    return {
        "members": list(paper.rows[row].members),
        "seconds": time.perf_counter() - began,
        "parameters": sum(x.size for x in jax.tree.leaves(params)),
        "scores": task.score(predictions),
        "about": task.about,
    }


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
