"""Comparison of programs that take turns at the same work.

The work is a folder, config.json and batches. Every contestant is a process of its own that holds
all of it. In a round each goes through the batches once, while the others wait. The figure is the
median over the rounds of the seconds, and of their ratio to ours in the same round.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from experiments.harness.path_flags import define_path

PAD, BOS = 0, 1
PACKAGES = ("torch", "joeynmt", "transformers", "ctranslate2", "flax")
# This code as another contestant, in every race: what its process has in its environment besides.
HUGE_PAGES = "huge-pages"
SETTINGS = {"ours": {}, HUGE_PAGES: {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}}

Batch = dict[str, np.ndarray]
Run = Callable[[Batch], object]


class Race(NamedTuple):
    """What a benchmark compares.

    `ours` makes of a config what is run on every batch; a peer is a module of `peers`, whose
    function `maker` takes the config, a seed and the options given here. Where `fresh` each round
    has new processes, and nothing is run before the clock starts.
    """

    module: str
    ours: Callable[[dict], Run]
    peers: dict[str, tuple[str, dict]]
    maker: str = "make_step"
    fresh: bool = False


class Task(NamedTuple):
    """The work of one size: what sets it apart, and what fills a folder and says what it holds."""

    label: dict[str, object]
    write: Callable[[Path], dict]


def define_output() -> None:
    """The flag for the result's file, refused before anything is measured where it is a folder."""
    define_path("output", "", "a JSON file for the result")
    flags.register_validator(
        "output", lambda name: not Path(name or ".json").is_dir(), "a folder: name a file in it"
    )


def define_flags(race: Race, peers: str, rounds: int) -> None:
    """Flags that every benchmark has; with the defaults for two of them."""
    flags.DEFINE_string("peers", peers, f"of {', '.join(_peers(race))}")
    define_path("peer_python", sys.executable, "the interpreter that has the peers")
    flags.DEFINE_integer("rounds", rounds, "rounds", lower_bound=1)
    define_output()
    flags.DEFINE_string("worker", "", "internal: the contestant this process is")
    define_path("folder", "", "internal: where its work is")


def define_data_flags(num_batches: int) -> None:
    """Flags of the benchmarks that draw batches from a corpus."""
    flags.DEFINE_string("data", "grammar", "grammar or multi30k")
    define_path("data_dir", os.environ.get("ATTN_DATA_DIR", ""), "folder of data sets")
    flags.DEFINE_integer("num_batches", num_batches, "batches in a round", lower_bound=1)


def main(race: Race, tasks: Callable[[], Iterable[Task]]) -> None:
    """Runs the race over all tasks, or is one of its contestants."""
    values = flags.FLAGS
    if values.worker:
        _work(race, values.worker, Path(values.folder))
        return
    from attn_research.data.files import write_whole
    from experiments.harness.results import command_line, environment

    names = ["ours", *filter(None, values.peers.split(","))]
    if set(names[1:]) - set(_peers(race)):
        sys.exit(f"error: --peers={values.peers}: known are {', '.join(_peers(race))}")
    rows = []
    for task in tasks():
        with tempfile.TemporaryDirectory() as folder:
            about = task.write(Path(folder))
            seconds = _compare(race, names, values.peer_python, Path(folder), values.rounds)
        rows += [_row(task, about, name, seconds) for name in names]
    result = {
        "command": command_line(race.module, sys.argv[1:]),
        "environment": environment() | {"peers": _versions(values.peer_python)},
        "rows": rows,
    }
    if values.output:
        write_whole(Path(values.output), (json.dumps(result, indent=1) + "\n").encode())


def our_training(program: Any) -> Run:
    """Training steps of this code, of an `experiments.harness.program.Program`."""
    import jax

    from attn_research.training.step import make_train_step

    key = jax.random.key(0)
    state = jax.jit(program.initial_state)(key)
    train_step = make_train_step(program.loss, program.optimizer, key)

    def step(batch):
        nonlocal state
        inputs = {name: batch[name] for name in program.task.batch_spec()}
        state, metrics = train_step(state, inputs)
        return float(metrics.sums.total / metrics.sums.weight)

    return step


def write_work(folder: Path, config: dict, batches: Iterable[Batch]) -> dict:
    """Config and batches to the folder; how many batches, target words and places there are.

    A batch with a target gets `target_in` too, what stands before each of its words.
    """
    (folder / "config.json").write_text(json.dumps(config))
    count = tokens = padded = 0
    for batch in batches:
        if "target" in batch:
            target = batch["target"]
            before = np.pad(target[:, :-1], ((0, 0), (1, 0)), constant_values=BOS)
            batch = {**batch, "target_in": before}
            tokens, padded = tokens + int((target != PAD).sum()), padded + target.size
        np.savez(folder / f"batch{count:03d}.npz", **batch)
        count += 1
    return {**config, "batches": count, "target_tokens": tokens, "padded": padded}


def _peers(race: Race) -> list[str]:
    return [*race.peers, HUGE_PAGES]


def _work(race: Race, name: str, folder: Path) -> None:
    """A contestant: for each line read, one pass over the batches; writes its seconds."""
    config = json.loads((folder / "config.json").read_text())
    batches = [dict(np.load(path)) for path in sorted(folder.glob("batch*.npz"))]
    if name in SETTINGS:
        run = race.ours(config)
    else:
        module, options = race.peers[name]
        module = import_module(f"experiments.benchmarks.peers.{module}")
        run = getattr(module, race.maker)(config, 0, **options)
    if not race.fresh:
        for batch in batches * 2:  # every shape is compiled, every buffer allocated
            run(batch)
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        for batch in batches:
            run(batch)
        print(time.perf_counter() - start, flush=True)


def _compare(
    race: Race, names: Sequence[str], python: str, folder: Path, rounds: int
) -> dict[str, list[float]]:
    """Seconds of each contestant in each round."""
    seconds = {name: [] for name in names}
    if race.fresh:
        for _ in range(rounds):
            for name in names:
                with _started(race, [name], python, folder) as workers:
                    seconds[name].append(_turn(workers[name]))
        return seconds
    with _started(race, names, python, folder) as workers:
        for _ in range(rounds):
            for name in names:
                seconds[name].append(_turn(workers[name]))
    return seconds


@contextmanager
def _started(
    race: Race, names: Sequence[str], python: str, folder: Path
) -> Generator[dict[str, subprocess.Popen]]:
    """The contestants' processes, ready; gone afterwards."""
    workers = {}
    try:
        for name in names:
            interpreter = sys.executable if name in SETTINGS else python
            command = [interpreter, "-m", race.module, f"--worker={name}", f"--folder={folder}"]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            env = os.environ | SETTINGS.get(name, {})
            workers[name] = subprocess.Popen(command, text=True, env=env, **pipes)
        for name, worker in workers.items():
            if worker.stdout.readline() != "ready\n":
                raise ValueError(f"{name} did not start; the lines above say why")
        yield workers
    finally:
        for worker in workers.values():
            worker.stdin.close()
            worker.wait()


def _turn(worker: subprocess.Popen) -> float:
    """The seconds of one pass of a contestant."""
    worker.stdin.write("go\n")
    worker.stdin.flush()
    return float(worker.stdout.readline())


def _row(task: Task, about: dict, name: str, seconds: dict[str, list[float]]) -> dict:
    """What is kept, and printed, of one contestant at one task."""
    pairs = zip(seconds[name], seconds["ours"], strict=True)
    times = round(statistics.median(theirs / ours for theirs, ours in pairs), 3)
    median = statistics.median(seconds[name])
    row = {"contestant": name, **task.label}
    if about["target_tokens"]:
        row["tokens_per_second"] = round(about["target_tokens"] / median)
        speed = f"{row['tokens_per_second']:>8,} tokens/s"
    else:
        speed = f"{median:8.2f} s"
    label = "  ".join(f"{key} {value}" for key, value in task.label.items())
    print(f"{name:>15}  {label}  {speed}  {times:.2f} times as long as ours", flush=True)
    each = [round(s, 4) for s in seconds[name]]
    return {**row, "times_as_long_as_ours": times, "seconds": each, "task": about}


def _versions(python: str) -> dict[str, str]:
    if python == sys.executable:
        found = {each.metadata["Name"]: each.version for each in metadata.distributions()}
    else:
        listed = subprocess.run([python, "-m", "pip", "list", "--format=json"], capture_output=True)
        found = {each["name"]: each["version"] for each in json.loads(listed.stdout)}
    return {name: found[name] for name in PACKAGES if name in found}
