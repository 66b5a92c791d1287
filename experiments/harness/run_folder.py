"""The folder of a run: checkpoints, the best parameters, measurements, and what a model needs."""

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from flax import linen as nn

from attn_research.data.files import write_whole
from attn_research.training.checkpoints import Checkpoints
from attn_research.training.metrics import MetricsLog
from attn_research.training.step import TrainState
from attn_research.types import PyTree
from experiments.harness.config import Config
from experiments.harness.continuation import (
    ABOUT,
    CHECKPOINTS,
    check_data,
    check_folder,
    planned_steps,
    read_about,
    saved_steps,
)
from experiments.harness.paper import Paper
from experiments.harness.program import Program, make_program
from experiments.harness.task import Task, contents

TASK = "task"


class RunFolder:
    """The folder of one run, open for training; of several processes the primary alone has it.

    `state` is that of the newest checkpoint, or None. ValueError where the folder may not be
    continued, because of its flags or because the task read other data.
    """

    def __init__(self, folder: Path, program: Program, row: str, *, resume: bool, progress: bool):
        config, paper = program.config, program.paper
        check_folder(folder, paper, config, resume=resume)
        before = read_about(folder) if saved_steps(folder) else {}
        check_data(before.get("data", {}), program.task, config, folder)
        self._shapes, self._train = program.state_shapes(), config.train
        self._best_by = parse_best_by(config.train.best_by)
        self._checkpoints, self._best = _open(folder, paper, config)
        self.state, self._seconds, start, pending = None, 0.0, 0, None
        found = self._checkpoints.restore(self._shapes)
        if found is not None:
            start, self.state, about = found
            self._seconds, pending = about["seconds"], about.get("pending")
            logging.info("%s continues from step %d", folder.name, start)
        name, sign = self._best_by
        kept = self._best.restore(self._shapes.params)
        self._best_value = float("inf") if kept is None else sign * kept[2][f"dev_{name}"]
        self.planned_steps = planned_steps(before, config, start)
        about = {"experiment": paper.name, "row": row, "config": config.identity()}
        about |= {"data": contents(program.task), "planned_steps": self.planned_steps}
        program.task.save(folder / TASK)
        write_whole(folder / ABOUT, json.dumps(about, indent=2).encode())
        self._since = time.perf_counter()
        self.log = MetricsLog(
            folder,
            start=start,
            num_steps=config.train.num_steps,
            pending=pending,
            progress=progress,
        )
        self._metrics, self._until = folder / "metrics.jsonl", None

    @property
    def seconds(self) -> float:
        """Seconds of training, those before an interruption included."""
        return self._seconds + (self._until or time.perf_counter()) - self._since

    def save(self, step: int, state: TrainState) -> None:
        """Writes a checkpoint, which is the end of a line of measurements."""
        self.log.flush(step)
        with self.log.paused():
            self._checkpoints.save(step, state, seconds=self.seconds)
            for other in self._checkpoints.steps():
                # Of an interruption, or of the end of a shorter run: no uninterrupted run has it.
                if other % self._train.save_every and other != step:
                    self._checkpoints.delete(other)

    def interrupt(self, step: int, state: TrainState) -> None:
        """Writes a checkpoint from which the run goes on as if it had not been interrupted."""
        pending = self.log.pending()
        self._checkpoints.save(step, state, seconds=self.seconds, pending=pending)

    def record(self, step: int, params: PyTree, values: dict[str, float]) -> None:
        """Logs development measurements, and keeps the parameters if they are the best so far."""
        values = {f"dev_{name}": value for name, value in values.items()}
        self.log.record(step, values)
        name, sign = self._best_by
        value = values.get(f"dev_{name}")
        if value is not None and sign * value < self._best_value:
            self._best_value = sign * value
            self._best.save(step, params, **values)

    def best(self) -> tuple[int, PyTree, dict[str, float]]:
        """The best parameters: their step, themselves, and what was measured of them."""
        kept = self._best.restore(self._shapes.params)
        if kept is None:
            raise ArithmeticError(
                f"no development measurement {self._best_by[0]!r} was ever finite: lower "
                "--learning_rate, or name another measurement by --best_by"
            )
        step, params, about = kept
        return step, params, _measured(about)

    def mean(self) -> PyTree:
        """The mean parameters of the last checkpoints that --average asks for."""
        count = self._train.average
        return self._checkpoints.average(self._shapes, count, lambda tree: tree.params)

    def learning(self) -> list[list[float]]:
        """(step, development loss) of every evaluation."""
        lines = [json.loads(line) for line in self._metrics.read_bytes().splitlines()]
        return [[line["step"], line["dev_loss"]] for line in lines if "dev_loss" in line]

    def end_training(self) -> None:
        """Closes the measurements; checkpoints can still be read."""
        self._until = time.perf_counter()
        self.log.close()

    def close(self) -> None:
        """Closes the checkpoints."""
        self._checkpoints.close()
        self._best.close()


def parse_best_by(text: str) -> tuple[str, int]:
    """The name of a measurement, and 1 where the lowest is best or -1 where the highest is."""
    name, sign = (text[1:], -1) if text.startswith("+") else (text, 1)
    if not name:
        raise ValueError(f"--best_by={text}: the name of a measurement, as in loss or +accuracy")
    return name, sign


def _measured(about: dict[str, Any]) -> dict[str, float]:
    return {name[4:]: value for name, value in about.items() if name.startswith("dev_")}


def _open(
    folder: Path, paper: Paper, config: Config, *, read_only: bool = False
) -> tuple[Checkpoints, Checkpoints]:
    """The last checkpoints of a run, and the best one."""
    identity, defaults = config.identity(), paper.config.identity()
    # One more than are needed, for one of an interruption.
    kept = {CHECKPOINTS: max(2, config.train.average) + 1, "best": 1}
    options = {"grows": ("num_steps",), "read_only": read_only}
    return tuple(
        Checkpoints(folder / name, identity, defaults, keep=keep, **options)
        for name, keep in kept.items()
    )


def best_params(folder: Path, paper: Paper, config: Config, like: PyTree) -> PyTree | None:
    """The best parameters that a run of this config kept in a folder, or None."""
    best = _open(folder, paper, config, read_only=True)[1]
    found = best.restore(like)
    best.close()
    return None if found is None else found[1]


class Run(NamedTuple):
    """A trained model: its network and parameters, its task, and what made it."""

    network: nn.Module
    params: PyTree
    task: Task
    paper: Paper
    row: str
    config: Config


def load_run(folder: str | Path, find: Callable[[str], Paper], *, flag: str = "") -> Run:
    """The model in a run folder, finished or interrupted; `find` gives a paper by its name.

    Its parameters are those that the run is evaluated with: the mean of its last checkpoints where
    the config asks for that and they are there, else the best ones, else the newest. ValueError
    where the folder holds no run; `flag` is what named it.
    """
    folder = Path(folder)
    check_holds_run(folder, flag)
    path = folder / ABOUT
    try:
        about = json.loads(path.read_bytes())
        paper, row = find(about["experiment"]), about["row"]
        config = paper.config.replace(**about["config"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} does not describe a run of this version: {error}") from None
    program = make_program(paper, config, paper.task(config).restore(folder / TASK))
    shapes = program.state_shapes()
    params = _kept_params(folder, paper, config, shapes)
    if params is None:
        raise ValueError(
            f"{folder} has no parameters yet: its training was interrupted before its first "
            "checkpoint; continue it by --resume"
        )
    return Run(program.eval_network, params, program.task, paper, row, config)


def check_holds_run(folder: Path, flag: str = "") -> None:
    """ValueError where a folder, which `flag` named, holds no run; it names those inside."""
    if not (folder / ABOUT).is_file():
        inside = sorted(each.parent.name for each in folder.glob(f"*/{ABOUT}"))
        hint = f"; it holds the runs {', '.join(inside)}: name one of them" if inside else ""
        named = f"{flag}={folder}" if flag else folder
        raise ValueError(f"{named} is no folder of a run: {ABOUT} is missing{hint}")


def _kept_params(folder: Path, paper: Paper, config: Config, shapes: TrainState) -> PyTree | None:
    checkpoints, best = _open(folder, paper, config, read_only=True)
    count = config.train.average
    try:
        if count and len(checkpoints.trained_steps()) >= count:
            return checkpoints.average(shapes, count, lambda tree: tree.params)
        if best.steps():
            return best.restore(shapes.params)[1]
        newest = checkpoints.restore(shapes)
        return None if newest is None else newest[1].params
    finally:
        checkpoints.close()
        best.close()
