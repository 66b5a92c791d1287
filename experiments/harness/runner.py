"""A row of a table: trained, or an ensemble of trained rows; evaluated; kept as a result file."""

import contextlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from attn_research.data.files import write_whole
from attn_research.training import processes
from attn_research.training.signals import Signals
from attn_research.training.trainable import split
from attn_research.types import PyTree
from experiments.harness.checks import Place, check_place, check_program
from experiments.harness.config import Config
from experiments.harness.continuation import check_data, read_about, saved_steps
from experiments.harness.given import check_given, folder_name, label
from experiments.harness.lock import locked
from experiments.harness.paper import Paper, command, resolve
from experiments.harness.program import Program, make_program
from experiments.harness.results import environment
from experiments.harness.run_folder import RunFolder, best_params
from experiments.harness.starting import check_start, check_tokenizer, starting_params
from experiments.harness.training import measure, train

__all__ = ["make_place", "measure", "prepare", "run_row"]

Find = Callable[[str], Paper]


def make_place(
    paper: Paper, row: str, config: Config, *, given: Mapping[str, Any], run_dir: Path,
    results_dir: Path,
) -> Place:  # fmt: skip
    """Where a row's run has its files."""
    name = folder_name(paper, row, given, config)
    return Place(run_dir / name, results_dir / f"{name}.json", results_dir / name)


def prepare(
    paper: Paper, row: str, config: Config, *, given: Mapping[str, Any], place: Place,
    resume: bool,
) -> None:  # fmt: skip
    """Checks all of a row that can be known before data is loaded; nothing is written."""
    check_given(paper, row, given)
    part, steps = config.optimizer, config.train.num_steps
    if part.schedule in ("cosine", "inverse_sqrt") and part.warmup_steps >= steps:
        logging.warning(
            "--warmup_steps=%d of --num_steps=%d: the learning rate does not reach its peak",
            part.warmup_steps, steps,
        )  # fmt: skip
    if config.train.init_from and not saved_steps(place.folder):
        check_start(config.train.init_from)
    if not paper.rows[row].members:
        check_program(make_program(paper, config))
    if processes.is_primary():
        check_place(place, paper, config, resume=resume)


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
    find: Find | None = None,
    signals: Signals | None = None,
    prepared: bool = False,
) -> Path:
    """Trains and evaluates one row; returns its result file, which is written last.

    A finished row is not run again. A run folder that holds checkpoints is continued with `resume`
    and refused without; one whose training is at its end is evaluated alone. The members of an
    ensemble are the rows it names, with the flags `given`. Of several processes all train, and the
    primary alone reads and writes files and evaluates. `find` gives the paper of a run that
    parameters are taken from, this one where None. `signals` end training after its step. `prepare`
    runs first, unless it has.
    """
    given, find = given or {}, find or (lambda _: paper)
    primary, members = processes.is_primary(), paper.rows[row].members
    place = make_place(paper, row, config, given=given, run_dir=run_dir, results_dir=results_dir)
    if not prepared:
        prepare(paper, row, config, given=given, place=place, resume=resume)
    with locked(place.folder) if primary else contextlib.nullcontext():
        # Once more, for another process may have worked here before the lock was had.
        finished = primary and check_place(place, paper, config, resume=resume)
        if processes.broadcast_from_primary(finished):
            if primary:
                _check_finished(paper, config, place)
            logging.info("%s is finished: %s", place.folder.name, place.result)
            return place.result
        if primary:
            _remove_begun(place)
        if members:
            processes.shutdown()
            if primary:
                found = _evaluate_ensemble(paper, row, config, given=given, place=place)
        else:
            program = make_program(paper, config, paper.task(config).load())
            start = kept = None
            if config.train.init_from and not saved_steps(place.folder):
                start = _start(program, find)  # before anything is written
            if primary:
                kept = RunFolder(place.folder, program, row, resume=resume, progress=progress)
            begun = processes.broadcast_from_primary(primary and kept.state is not None)
            if start is None and not begun:
                start = _start(program, find)
            train(program, kept, start, signals)
            processes.shutdown()
            if primary:
                found = _evaluate(program, kept, place)
        if primary:
            named = label(paper, row, given)
            result = {
                "experiment": paper.name,
                "row": row,
                **({} if named == row else {"label": named}),
                "command": command(paper, row, config),
                "config": config.identity(),
                **found,
                "environment": environment(),
            }
            text = json.dumps(result, indent=1, ensure_ascii=False)
            write_whole(place.result, text.encode())
    return place.result


def _start(program: Program, find: Find) -> PyTree | None:
    """The parameters that training starts from, None for random ones."""
    paper, config = program.paper, program.config
    if config.train.init_from:
        check_tokenizer(program)
        return starting_params(program, find)
    return paper.initial(config, program.task) if paper.initial else None


def _remove_begun(place: Place) -> None:
    """Removes what killed writes began: hidden files whose names end in that of a process."""
    begun = [*place.folder.rglob(".*"), *place.predictions.rglob(".*")]
    begun += place.result.parent.glob(f".{place.result.name}.*")
    for path in begun:
        if path.suffix[1:].isdecimal() and path.is_file():
            path.unlink()


def _check_finished(paper: Paper, config: Config, place: Place) -> None:
    """ValueError where a finished run was made from other data than is there now, if any is."""
    try:
        task = paper.task(config).load()
    except FileNotFoundError as error:
        logging.info("the data of %s is absent, and not compared: %s", place.folder.name, error)
        return
    kept = read_about(place.folder).get("data")
    about = json.loads(place.result.read_bytes()).get("about", {})
    check_data(about if kept is None else kept, task, config, place.result)


def _evaluate(program: Program, kept: RunFolder, place: Place) -> dict[str, Any]:
    """Evaluates the best parameters, or the mean of the last ones."""
    config, task = program.config, program.task
    place.result.unlink(missing_ok=True)  # of fewer steps: its predictions are written anew
    best_step, params, measured = kept.best()
    if config.train.average:
        params, best_step = kept.mean(), config.train.num_steps  # the last of those averaged
        measured |= measure(program, params, "dev")
    task.predict([program.eval_network], [params], place.predictions)
    scores = task.score(place.predictions)
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
        **({"planned_steps": kept.planned_steps} if kept.planned_steps else {}),
        "parameters": sum(x.size for x in jax.tree.leaves(params)),
        **({} if program.trainable is None else {"trained_parameters": _trained(program, params)}),
        "scores": scores,
        "about": task.about,
    }


def _trained(program: Program, params: PyTree) -> int:
    return sum(x.size for x in jax.tree.leaves(split(params, program.trainable)[0]))


def _evaluate_ensemble(
    paper: Paper, row: str, config: Config, *, given: Mapping[str, Any], place: Place
) -> dict[str, Any]:
    """Evaluates the best parameters of the rows that an ensemble names, together."""
    members = []
    for name in paper.rows[row].members:
        member = resolve(paper, name, {**given, "seed": config.train.seed})
        folder = place.folder.parent / folder_name(paper, name, given, member)
        if not read_about(folder):
            raise ValueError(f"--row={row} needs the trained row {name} in {folder}: run it first")
        members.append((name, member, folder))
    task, networks, params = None, [], []
    for name, member, folder in members:
        task = task or paper.task(member).load()
        check_data(read_about(folder).get("data", {}), task, member, folder)
        program = make_program(paper, member, task)
        found = best_params(folder, paper, member, program.state_shapes().params)
        if found is None:
            raise ValueError(f"--row={row} needs the trained row {name} in {folder}: run it first")
        networks.append(program.eval_network)
        params.append(found)
    began = time.perf_counter()
    task.predict(networks, params, place.predictions)
    return {
        "members": list(paper.rows[row].members),
        "seconds": time.perf_counter() - began,
        "parameters": sum(x.size for x in jax.tree.leaves(params)),
        "scores": task.score(place.predictions),
        "about": task.about,
    }
