"""Metrics of a run: JSON lines and TensorBoard events every few steps, and progress."""

import contextlib
import json
import math
import time
from collections.abc import Callable, Generator
from io import TextIOBase
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from attn_research.training.progress import make_progress
from attn_research.training.step import Metrics


class MetricsLog:
    """Writer of `metrics.jsonl` and TensorBoard events in a folder, and of the run's progress.

    A line holds the means over the steps since the last one: loss per unit of weight, the norm of
    the gradient, and for every count c of the loss `c_per_second`. Lines after step `start` are
    from a run that was interrupted before its next checkpoint: they are dropped, as those steps are
    taken again. `pending` is that of the log whose run this one continues. With `progress`, a bar
    (on a terminal) or a line every half minute (elsewhere) goes to `stream`, by default stderr.
    `clock` gives the time in seconds.
    """

    def __init__(
        self,
        folder: Path,
        *,
        start: int,
        num_steps: int,
        every: int = 50,
        pending: dict[str, Any] | None = None,
        progress: bool = True,
        stream: TextIOBase | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ):
        folder.mkdir(parents=True, exist_ok=True)
        self._path, self._every, self._num_steps = folder / "metrics.jsonl", every, num_steps
        self._drop_after(start)
        self._file = self._path.open("a", encoding="utf-8")
        self._events = SummaryWriter(str(folder), purge_step=start + 1)
        self._clock, self._progress = clock, None
        if progress:
            self._progress = make_progress(
                folder.name, start=start, num_steps=num_steps, stream=stream, clock=clock
            )
        self._clear()
        if pending:
            self._steps, self._norm = pending["steps"], pending["norm"]
            self._sums = dict(pending["sums"])
            self._since -= pending["seconds"]

    def pending(self) -> dict[str, Any]:
        """The line being averaged, for the log of a run that goes on from here."""
        seconds = self._clock() - self._since
        sums = dict(self._sums)
        return {"steps": self._steps, "norm": self._norm, "sums": sums, "seconds": seconds}

    def write(self, step: int, metrics: Metrics) -> None:
        """Adds the measurements of one step."""
        self._steps += 1
        self._norm += float(metrics.gradient_norm)
        sums = {"total": metrics.sums.total, "weight": metrics.sums.weight, **metrics.sums.counts}
        for name, value in sums.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)
        if self._progress:
            self._progress.update(step, metrics.sums)
        if step % self._every == 0 or step == self._num_steps:
            self.flush(step)

    def record(self, step: int, values: dict[str, float]) -> None:
        """Writes the measurements of a hook as they are."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._events.add_scalar(name, value, step)

    @contextlib.contextmanager
    def paused(self) -> Generator[None]:
        """Leaves the time spent inside, such as a hook's, out of the rates."""
        began = self._clock()
        yield
        seconds = self._clock() - began
        self._since += seconds
        if self._progress:
            self._progress.skip(seconds)

    def close(self) -> None:
        """Closes the files and ends the progress."""
        if self._progress:
            self._progress.close()
        self._events.close()
        self._file.close()

    def flush(self, step: int) -> None:
        """Writes the line being averaged: a run resumed from a checkpoint begins a new one."""
        if not self._steps:
            return
        seconds = self._clock() - self._since
        total, weight = self._sums.pop("total"), self._sums.pop("weight")
        values = {"loss": total / max(weight, 1.0), "gradient_norm": self._norm / self._steps}
        values |= {f"{name}_per_second": value / seconds for name, value in self._sums.items()}
        self.record(step, values)
        if self._progress:
            del values["gradient_norm"]
            self._progress.show(values)
        self._clear()

    def _clear(self) -> None:
        self._steps, self._norm, self._sums = 0, 0.0, {}
        self._since = self._clock()

    def _drop_after(self, start: int) -> None:
        if not self._path.exists():
            return
        lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if _step(line) <= start]
        part = self._path.with_suffix(".part")
        part.write_text("".join(kept), encoding="utf-8")
        part.replace(self._path)


def _step(line: str) -> int | float:
    """The step of a line; past all others where a kill or a full disk left half a line."""
    try:
        return json.loads(line)["step"] if line.endswith("\n") else math.inf
    except (ValueError, KeyError, TypeError):
        return math.inf
