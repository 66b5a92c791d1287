"""Where measurements go: JSON lines and TensorBoard events every few steps, and a progress bar."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

from tensorboardX import SummaryWriter
from tqdm import tqdm

from attn_research.training.step import Metrics


class MetricsLog:
    """Writes `metrics.jsonl` and TensorBoard events into a folder, and shows progress.

    A line holds the means over the steps since the last one: loss in nats per unit of weight, the
    gradient's norm, and for every count c of the loss `c_per_second`. Lines after `start` are of a
    run that was interrupted before its next checkpoint: they are dropped, for it is run again.
    """

    def __init__(
        self, folder: Path, *, start: int, num_steps: int, every: int = 50, progress: bool = True
    ):
        folder.mkdir(parents=True, exist_ok=True)
        self._path, self._every, self._num_steps = folder / "metrics.jsonl", every, num_steps
        self._drop_after(start)
        self._file = self._path.open("a", encoding="utf-8")
        self._events = SummaryWriter(str(folder), purge_step=start + 1)
        self._bar = tqdm(
            total=num_steps, initial=start, desc=folder.name, unit="step", disable=not progress
        )
        self._clear()

    def write(self, step: int, metrics: Metrics) -> None:
        """Adds the measurements of one step."""
        self._steps += 1
        self._norm += float(metrics.gradient_norm)
        sums = {"total": metrics.sums.total, "weight": metrics.sums.weight, **metrics.sums.counts}
        for name, value in sums.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)
        self._bar.update(1)
        if step % self._every == 0 or step == self._num_steps:
            self.flush(step)

    def record(self, step: int, values: dict[str, float]) -> None:
        """Writes what a hook measured, as it is."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._events.add_scalar(name, value, step)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves what happens inside out of the rates: a hook's time is no step's."""
        began = time.perf_counter()
        yield
        self._since += time.perf_counter() - began

    def close(self) -> None:
        """Ends the files and the bar."""
        self._bar.close()
        self._events.close()
        self._file.close()

    def flush(self, step: int) -> None:
        """Ends the line being averaged: after a checkpoint, a resumed run begins a new one."""
        if not self._steps:
            return
        seconds = time.perf_counter() - self._since
        total, weight = self._sums.pop("total"), self._sums.pop("weight")
        values = {"loss": total / max(weight, 1.0), "gradient_norm": self._norm / self._steps}
        values |= {f"{name}_per_second": value / seconds for name, value in self._sums.items()}
        self.record(step, values)
        shown = {name: f"{value:,.4g}" for name, value in values.items() if name != "gradient_norm"}
        self._bar.set_postfix(shown)
        self._clear()

    def _clear(self) -> None:
        self._steps, self._norm, self._sums = 0, 0.0, {}
        self._since = time.perf_counter()

    def _drop_after(self, start: int) -> None:
        if not self._path.exists():
            return
        lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
        # A killed run can leave half a line at the end.
        whole = [line for line in lines if line.endswith("\n")]
        kept = [line for line in whole if json.loads(line)["step"] <= start]
        part = self._path.with_suffix(".part")
        part.write_text("".join(kept), encoding="utf-8")
        part.replace(self._path)
