"""Checks of a run before its data is loaded."""

import json
import logging
import math
import os
from pathlib import Path
from typing import NamedTuple

import jax

from attn_research.training.placement import check_rows
from attn_research.training.step import Sums
from experiments.harness import memory_budget
from experiments.harness.config import Config
from experiments.harness.continuation import (
    check_folder,
    config_changes,
    is_longer,
    show_changes,
)
from experiments.harness.paper import Paper
from experiments.harness.program import Program
from experiments.harness.run_folder import parse_best_by
from experiments.harness.task import check_task


class Place(NamedTuple):
    """The run folder, the result file and the folder of predictions of a run."""

    folder: Path
    result: Path
    predictions: Path


def check_program(program: Program) -> None:
    """ValueError, OSError or NotImplementedError for what cannot run, before any data is read."""
    _check_average(program.config)
    check_rows(program.task.batch_spec(), program.placement)
    memory_budget.check(program)
    # The largest step is traced: a network that does not take its batch, or a named implementation
    # that does not support a call, says so here.
    params, key = program.state_shapes().params, jax.random.key(0)
    jax.eval_shape(program.loss, params, program.task.batch_spec(), key)
    _check_best_by(program)
    check_task(program.task, program.eval_network, params)


def _check_average(config: Config) -> None:
    """ValueError where training ends with fewer checkpoints than are averaged; 0 never counts."""
    part = config.train
    saved = math.ceil(part.num_steps / part.save_every)
    if part.average <= saved:
        return
    every = part.num_steps // part.average
    more = f"--save_every={every}" if every else f"--num_steps={part.average * part.save_every}"
    raise ValueError(
        f"--average={part.average}: {part.num_steps} steps with --save_every={part.save_every} "
        f"leave {saved} checkpoint{'s' * (saved > 1)}: give {more} or --average={saved}"
    )


def _check_best_by(program: Program) -> None:
    """ValueError for a measurement that no evaluation makes, where that can be known."""
    name, _ = parse_best_by(program.config.train.best_by)
    if name == "loss" or program.task.evaluators():
        return
    params, key = program.state_shapes().params, jax.random.key(0)
    sums = jax.eval_shape(program.eval_loss, params, program.task.batch_spec(), key)
    known = program.task.summarize(Sums(1.0, 1.0, dict.fromkeys(sums.counts, 1.0)))
    if name not in known:
        raise ValueError(
            f"--best_by={program.config.train.best_by}: there is no measurement {name!r}; "
            f"name another measurement by --best_by, of {', '.join(known)}"
        )


def check_place(place: Place, paper: Paper, config: Config, *, resume: bool) -> bool:
    """Whether a run is finished; ValueError where it may not start or go on in its place."""
    if not place.result.exists():
        _check_writable(place.folder, "--run_dir")
        _check_writable(place.result.parent, "--results_dir")
        check_folder(place.folder, paper, config, resume=resume)
        return False
    try:
        kept = json.loads(place.result.read_bytes())["config"]
    except (ValueError, KeyError, TypeError) as error:
        if resume:
            logging.warning("%s is damaged (%s), and written anew", place.result, error)
            check_folder(place.folder, paper, config, resume=True)
            return False
        raise ValueError(
            f"{place.result} is damaged ({error}): remove it, and --resume evaluates again"
        ) from None
    changes = config_changes(paper, config, kept)
    if not changes:
        return True
    if changes.keys() == {"num_steps"} and is_longer(changes):
        if not resume:
            raise ValueError(
                f"{place.result} is of fewer steps ({show_changes(changes)}): --resume continues "
                "the run; to start again, name another --run_dir"
            )
        check_folder(place.folder, paper, config, resume=True)
        return False
    other = "another --run_dir"
    if place.result.parent != place.folder.parent / "results":
        other += " and --results_dir"
    raise ValueError(
        f"{place.result} holds this row of another configuration ({show_changes(changes)}): "
        f"give the same flags, or {other} for these"
    )


def _check_writable(folder: Path, flag: str) -> None:
    """OSError where nothing can be written to a folder that a flag names."""
    nearest = next(each for each in (folder, *folder.parents) if each.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise OSError(f"cannot write to {folder}: name another {flag}")
