"""The folder of a run while it trains: checkpoints, the best parameters, measurements."""

import json
import logging
import time
from pathlib import Path

from attn_research.data.files import write_whole
from attn_research.training.checkpoints import Checkpoints
from attn_research.training.metrics import MetricsLog
from attn_research.training.step import TrainState
from attn_research.types import PyTree
from experiments.paper import Config, identify


class RunFolder:
    """The folder of one run, open for training; of several processes the first alone has it.

    `state` is that of the newest checkpoint, or None. A folder that holds checkpoints raises
    ValueError without `resume`.
    """

    def __init__(
        self, folder: Path, config: Config, shapes: TrainState, *, resume: bool, progress: bool
    ):
        identity, self._shapes, self._average = identify(config), shapes, config.average
        keep, defaults = max(2, config.average), identify(type(config)())
        self._checkpoints = Checkpoints(folder / "checkpoints", identity, defaults, keep)
        self._best = Checkpoints(folder / "best", identity, defaults, keep=1)
        if self._checkpoints.steps() and not resume:
            raise ValueError(
                f"{folder} holds a run of {self._checkpoints.steps()[-1]} steps: "
                "--resume continues it; to start again, remove it or name another --run_dir"
            )
        self.state, self._seconds, start = None, 0.0, 0
        found = self._checkpoints.restore(shapes)
        if found is not None:
            start, self.state, about = found
            self._seconds = about["seconds"]
            logging.info("%s continues from step %d", folder.name, start)
        kept = self._best.restore(shapes.params)
        self._best_loss = float("inf") if kept is None else kept[2]["dev_loss"]
        write_whole(folder / "config.json", json.dumps(identity, indent=2).encode())
        self._since = time.perf_counter()
        self.log = MetricsLog(folder, start=start, num_steps=config.num_steps, progress=progress)
        self._metrics, self._until = folder / "metrics.jsonl", None

    @property
    def seconds(self) -> float:
        """Of training, those before an interruption included."""
        return self._seconds + (self._until or time.perf_counter()) - self._since

    def save(self, step: int, state: TrainState) -> None:
        """Keeps all that a run needs to go on."""
        self.log.flush(step)
        with self.log.paused():
            self._checkpoints.save(step, state, seconds=self.seconds)

    def evaluated(self, step: int, params: PyTree, values: dict[str, float]) -> None:
        """Keeps losses on the development set, and the parameters if they are the best so far."""
        self.log.record(step, {f"dev_{name}": value for name, value in values.items()})
        if values["loss"] < self._best_loss:
            self._best_loss = values["loss"]
            self._best.save(step, params, dev_loss=values["loss"], dev_nll=values["nll"])

    def best(self) -> tuple[int, PyTree, dict[str, float]]:
        """The parameters of least development loss: their step, themselves, the losses."""
        kept = self._best.restore(self._shapes.params)
        if kept is None:
            raise ArithmeticError("the development loss was never finite: lower --learning_rate")
        step, params, about = kept
        return step, params, {name: about[f"dev_{name}"] for name in ("loss", "nll")}

    def mean(self) -> PyTree:
        """The mean parameters of the last checkpoints that --average asks for."""
        return self._checkpoints.mean(self._shapes, self._average, lambda tree: tree.params)

    def learning(self) -> list[list[float]]:
        """(step, development loss) of every evaluation."""
        lines = [json.loads(line) for line in self._metrics.read_text().splitlines()]
        return [[line["step"], line["dev_loss"]] for line in lines if "dev_loss" in line]

    def end_training(self) -> None:
        """Ends the measurements; checkpoints can still be read."""
        self._until = time.perf_counter()
        self.log.close()

    def close(self) -> None:
        """Ends the rest."""
        self._checkpoints.close()
        self._best.close()
