"""Timing of several systems on the same batches, in interleaved rounds.

Each system is a process that holds a config and its batches. In each round every system runs all
batches once, one system at a time, after a batch that is not timed. Results are medians over
rounds: seconds, and the ratio to this code's seconds in the same round.
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

from experiments.benchmarks.idle import exit_if_busy
from experiments.benchmarks.peers import LEARNING_RATE
from experiments.harness.path_flags import define_path
from experiments.huge_pages import TUNABLE

PAD, BOS = 0, 1
PACKAGES = ("torch", "joeynmt", "transformers", "ctranslate2", "flax")
# Environment variables of this code's process: "small-pages" is this code again, without the huge
# pages that all systems have else, "one-device" with the whole CPU as one device.
SMALL_PAGES, ONE_DEVICE = "small-pages", "one-device"
SETTINGS = {"ours": {}, SMALL_PAGES: {"GLIBC_TUNABLES": f"{TUNABLE}=0"}, ONE_DEVICE: {}}

Batch = dict[str, np.ndarray]
Run = Callable[[Batch], object]


class Comparison(NamedTuple):
    """The systems of a benchmark.

    `ours` builds this code's step from a config. `peers` maps a name to a module of `peers` and its
    options; `maker` is the function called there. With `fresh`, every round starts new processes
    without warm-up. The CPU is divided into `devices`, one for each core where it is 0.
    """

    module: str
    ours: Callable[[dict], Run]
    peers: dict[str, tuple[str, dict]]
    maker: str = "make_step"
    fresh: bool = False
    devices: int = 0


class Task(NamedTuple):
    """One problem size: its label, and a function that writes config and batches to a folder.

    `read` says what the systems left in the folder, for the result.
    """

    label: dict[str, object]
    write: Callable[[Path], dict]
    read: Callable[[Path], dict] = lambda folder: {}


def define_output() -> None:
    """The flag for the result's file. A folder is refused before anything is measured."""
    define_path("output", "", "JSON file for the result.")
    flags.register_validator(
        "output", lambda name: not Path(name or ".json").is_dir(), "a folder: name a file in it"
    )


def define_flags(comparison: Comparison, peers: str, rounds: int) -> None:
    """Flags of every benchmark, with this one's defaults of `peers` and `rounds`."""
    names = ", ".join(_peers(comparison))
    flags.DEFINE_string("peers", peers, f"Systems to compare with, with commas, of {names}.")
    define_path("peer_python", sys.executable, "Python interpreter that has the peers.")
    flags.DEFINE_integer("rounds", rounds, "Number of rounds.", lower_bound=1)
    define_output()
    flags.DEFINE_string("worker", "", "Internal: the system that this process runs.")
    define_path("folder", "", "Internal: the folder of config and batches.")


def define_data_flags(num_batches: int) -> None:
    """Flags of the benchmarks that draw batches from a corpus."""
    flags.DEFINE_string("data", "grammar", "Corpus of the batches: grammar or multi30k.")
    define_path("data_dir", os.environ.get("ATTN_DATA_DIR", ""), "Folder of data sets.")
    flags.DEFINE_integer("num_batches", num_batches, "Batches of a round.", lower_bound=1)


def main(
    comparison: Comparison, tasks: Callable[[], Iterable[Task]], argv: Sequence[str] = ()
) -> None:
    """Runs all tasks, or acts as one worker process. `argv` is what flags left."""
    values = flags.FLAGS
    if len(argv) > 1:
        sys.exit(f"error: not a flag: {' '.join(argv[1:])}")
    if values.worker:
        _work(comparison, values.worker, Path(values.folder))
        return
    from attn_research.data.files import write_whole
    from experiments.harness.results import command_line, environment

    names = ["ours", *filter(None, values.peers.split(","))]
    if set(names[1:]) - set(_peers(comparison)):
        sys.exit(f"error: --peers={values.peers}: known are {', '.join(_peers(comparison))}")
    idle = exit_if_busy()
    rows = []
    for task in tasks():
        with tempfile.TemporaryDirectory() as folder:
            about = task.write(Path(folder))
            seconds = _compare(comparison, names, values.peer_python, Path(folder), values.rounds)
            about |= task.read(Path(folder))
        rows += [_row(task, about, name, seconds) for name in names]
    result = {
        "command": command_line(comparison.module, sys.argv[1:]),
        "environment": environment() | {"peers": _versions(values.peer_python), "idle": idle},
        "rows": rows,
    }
    if values.output:
        write_whole(Path(values.output), (json.dumps(result, indent=1) + "\n").encode())


def our_step(paper: str, **values: Any) -> Callable[[dict], Run]:
    """The maker of this code's training step, by a paper's name, some values and a config's.

    The learning rate is that of the peers, and gradients are clipped to norm 1 as theirs are.
    """

    def make_step(config: dict) -> Run:
        from experiments.harness.program import make_program
        from experiments.papers import find

        fixed = {"schedule": "constant", "learning_rate": LEARNING_RATE} | values
        found = find(paper)
        return our_training(make_program(found, found.config.replace(**config, **fixed)))

    return make_step


def our_training(program: Any) -> Run:
    """The training step of this code for an `experiments.harness.program.Program`."""
    import jax

    key, placement = jax.random.key(0), program.placement
    state = placement.shard_state(jax.jit(program.initial_state)(key))
    train_step = program.compile(key)

    def step(batch):
        nonlocal state
        names = program.task.batch_spec()
        inputs = {name: _pad_rows(name, batch[name], placement.row_multiple) for name in names}
        state, metrics = train_step(state, placement.shard_batch(inputs))
        return float(metrics.sums.total / metrics.sums.weight)

    return step


def _pad_rows(name: str, array: np.ndarray, multiple: int) -> np.ndarray:
    """The array with empty rows up to a multiple, as batches of training have them."""
    missing = [(0, -len(array) % multiple)] + [(0, 0)] * (array.ndim - 1)
    return np.pad(array, missing, constant_values=-1 if name == "label" else PAD)


def write_batches(folder: Path, config: dict, batches: Iterable[Batch]) -> dict:
    """The config with counts of batches, target tokens and padded positions; writes both to folder.

    A batch with a target also gets `target_in`, the target shifted right by one, after BOS.
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


def _peers(comparison: Comparison) -> list[str]:
    return [*comparison.peers, SMALL_PAGES, ONE_DEVICE]


def _work(comparison: Comparison, name: str, folder: Path) -> None:
    """A worker process: for each line read, runs all batches once and prints the seconds."""
    config = json.loads((folder / "config.json").read_bytes())
    batches = [dict(np.load(path)) for path in sorted(folder.glob("batch*.npz"))]
    if name in SETTINGS:
        from attn_research.training.cores import use_cores

        use_cores(1 if name == ONE_DEVICE else comparison.devices)
        run = comparison.ours(config)
    else:
        module, options = comparison.peers[name]
        module = import_module(f"experiments.benchmarks.peers.{module}")
        run = getattr(module, comparison.maker)(config, 0, **options)
    if not comparison.fresh:
        for batch in batches * 2:  # every shape is compiled, every buffer allocated
            run(batch)
    print("ready", flush=True)
    for _ in sys.stdin:
        if not comparison.fresh:
            # While others ran, the machine may have taken memory back; in training no step waits.
            run(batches[-1])
        start = time.perf_counter()
        for batch in batches:
            run(batch)
        print(time.perf_counter() - start, flush=True)


def _compare(
    comparison: Comparison, names: Sequence[str], python: str, folder: Path, rounds: int
) -> dict[str, list[float]]:
    """Seconds of each system in each round."""
    seconds = {name: [] for name in names}
    if comparison.fresh:
        for _ in range(rounds):
            for name in names:
                with _started(comparison, [name], python, folder) as workers:
                    seconds[name].append(_turn(workers[name]))
        return seconds
    with _started(comparison, names, python, folder) as workers:
        for _ in range(rounds):
            for name in names:
                seconds[name].append(_turn(workers[name]))
    return seconds


@contextmanager
def _started(
    comparison: Comparison, names: Sequence[str], python: str, folder: Path
) -> Generator[dict[str, subprocess.Popen]]:
    """The processes of systems, ready to run; ended on exit."""
    workers = {}
    try:
        for name in names:
            interpreter = sys.executable if name in SETTINGS else python
            command = [
                interpreter,
                "-m",
                comparison.module,
                f"--worker={name}",
                f"--folder={folder}",
            ]
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
    """Seconds of one system for all batches."""
    worker.stdin.write("go\n")
    worker.stdin.flush()
    return float(worker.stdout.readline())


def _row(task: Task, about: dict, name: str, seconds: dict[str, list[float]]) -> dict:
    """The result row of one system on one task; also printed."""
    pairs = zip(seconds[name], seconds["ours"], strict=True)
    times = round(statistics.median(theirs / ours for theirs, ours in pairs), 3)
    median = statistics.median(seconds[name])
    row = {"system": name, **task.label}
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
