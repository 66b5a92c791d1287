"""Rows and seeds of a paper over the local devices, or as a Slurm array; one table at the end.

python -m experiments.sweep --paper=luong2015 --table --seeds=0,1,2 [flags of the paper]
python -m experiments.sweep --paper=vit2020 --row=small,Ti/4 --seeds=0,1 --slurm=sweep.sh

A process has one accelerator, or on a CPU a group of cores (--processes). What is finished is
skipped and what was interrupted goes on, so that the same command continues a sweep; after a Slurm
array it computes the ensembles and writes the table.
"""

import contextlib
import functools
import os
import queue
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from absl import app, flags

from attn_research.attention.backends.xla_flash.cache import available_cores
from attn_research.data.files import write_whole
from experiments.harness.checks import check_place
from experiments.harness.flags import (
    chosen_folders,
    define_flags,
    fail,
    given_values,
    one_line_errors,
    parse_flags,
    resolve_rows,
)
from experiments.harness.given import check_given, folder_name
from experiments.harness.paper import Paper, resolve, trace
from experiments.harness.path_flags import define_path
from experiments.harness.runner import make_place
from experiments.harness.summary import summary
from experiments.papers import find, names

# Flags of a paper that say nothing of a row and a seed.
_NO_EFFECT = ("describe", "json", "resume", "coordinator", "num_processes", "process_id", "cluster")
_CORES = 2  # of a process, unless --processes says otherwise


class Job(NamedTuple):
    """A row and a seed: the name of its files, its command, and whether it needs other rows."""

    name: str
    words: list[str]
    is_ensemble: bool


class Slot(NamedTuple):
    """What one process computes on: environment variables, and the cores it may use."""

    environment: Mapping[str, str]
    cores: frozenset[int] | None


def main(paper: Paper, argv: Sequence[str]) -> None:
    with one_line_errors(argv):
        values, rows = flags.FLAGS, resolve_rows(paper)
        if wrong := [name for name in _NO_EFFECT if flags.FLAGS[name].present]:
            raise ValueError(f"--{wrong[0]} has no effect in a sweep: remove it")
        given = given_values(paper.config)
        if "seed" in given:
            raise ValueError(f"--seed={given['seed']}: in a sweep give --seeds={given['seed']}")
        seeds = [int(seed) for seed in values.seeds]
        run_dir, results_dir = chosen_folders(paper, next(iter(rows.values())).config)
        where = {"run_dir": run_dir, "results_dir": results_dir}
        jobs = list(unfinished(paper, rows, seeds, given, where))
        print(f"{len(rows) * len(seeds) - len(jobs)} of {len(rows) * len(seeds)} are finished")
        alone, ensembles = ([job for job in jobs if job.is_ensemble is x] for x in (False, True))
        if values.slurm and alone:
            write_whole(Path(values.slurm), slurm_script(paper, alone, run_dir).encode())
            (run_dir / "logs").mkdir(parents=True, exist_ok=True)
            print(f"{len(alone)} jobs: sbatch {shlex.quote(values.slurm)} (with the partition, GPU")
            print("and time of your cluster); then this command again, without --slurm: the table")
            return
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            runner = Runner(slots(values.processes) if jobs else [], run_dir / "logs")
            failed = runner.run(alone) or runner.run(ensembles)
        except KeyboardInterrupt:
            print("interrupted; what ran is saved, and this command continues", file=sys.stderr)
            sys.exit(130)
        if failed:
            raise ValueError(
                f"{len(failed)} failed: {', '.join(failed)}; the ends of {run_dir}/logs/*.txt say "
                "why, and this command again runs what is missing"
            )
        paper.report(results_dir, paper)
        first = {row: trace(paper, row, given | {"seed": seeds[0]}) for row in rows}
        print(summary(paper, first, given, **where))


def unfinished(
    paper: Paper, rows: Iterable[str], seeds: Sequence[int], given: Mapping[str, Any],
    where: Mapping[str, Path],
) -> Iterable[Job]:  # fmt: skip
    """The jobs that have no result; ValueError for flags or folders that do not fit one of them."""
    for seed in seeds:
        for row in rows:
            check_given(paper, row, given)
            config = resolve(paper, row, {**given, "seed": seed})
            place = make_place(paper, row, config, given=given, **where)
            if check_place(place, paper, config, resume=True):
                continue
            shown = [f"--{name}={value}" for name, value in {**given, **where}.items()]
            words = ["-m", f"experiments.{paper.name}", f"--row={row}", f"--seed={seed}", *shown]
            name = folder_name(paper, row, given, config)
            yield Job(name, [*words, "--resume", "--noprogress"], bool(paper.rows[row].members))


def slots(count: int) -> list[Slot]:
    """What processes compute on: an accelerator each, or a group of the cores of a CPU.

    ValueError for more processes than there are of these.
    """
    probe = "import jax; print(jax.default_backend(), jax.local_device_count())"
    said = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    if said.returncode:
        raise ValueError(f"JAX finds no device: {said.stderr.strip().splitlines()[-1]}")
    kind, number = said.stdout.split()[-2:]
    if kind == "cpu":
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        most = max(1, len(cores) or available_cores())
        chosen = count or max(1, most // _CORES)
        parts = [frozenset(cores[i::chosen]) or None for i in range(chosen)]
        found = [Slot({}, cores) for cores in parts]
    else:
        most = int(number) if kind == "gpu" else 1  # the devices of a TPU host work together
        chosen = count or most
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        ids = visible.split(",") if visible else list(map(str, range(most)))
        found = [Slot({"CUDA_VISIBLE_DEVICES": x} if kind == "gpu" else {}, None) for x in ids]
    if chosen > most:
        raise ValueError(f"--processes={count}: there are {most}, of {kind}")
    return found[:chosen]


class Runner:
    """Jobs, as many at a time as there are slots; an interruption reaches each of them."""

    def __init__(self, places: Sequence[Slot], logs: Path):
        self._places, self._logs = places, logs
        self._lock = threading.Lock()
        self._running: list[subprocess.Popen] = []
        self._stopped = False

    def run(self, jobs: Sequence[Job]) -> list[str]:
        """Runs jobs to their ends; returns the names of those that failed."""
        if not jobs:
            return []
        self._logs.mkdir(parents=True, exist_ok=True)
        free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        for slot in self._places:
            free.put(slot)
        print(f"{len(jobs)} jobs, {len(self._places)} at a time; output: {self._logs}", flush=True)
        with ThreadPoolExecutor(len(self._places)) as pool:
            ends = [(job, pool.submit(self._call, job, free)) for job in jobs]
            try:
                return [job.name for job, end in ends if end.result()]
            except KeyboardInterrupt:
                with self._lock:
                    self._stopped = True
                    for process in self._running:
                        process.terminate()  # each saves its run
                raise

    def _call(self, job: Job, free: queue.SimpleQueue) -> int:
        """Runs a job in the next free slot; its exit code."""
        slot, began = free.get(), time.perf_counter()
        try:
            with (self._logs / f"{job.name}.txt").open("wb") as log:
                with self._lock:
                    if self._stopped:
                        return 1
                    process = subprocess.Popen(
                        [sys.executable, *job.words],
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        env={**os.environ, **slot.environment},
                        start_new_session=True,  # a signal comes from here alone
                    )
                    self._running.append(process)
                if slot.cores:
                    with contextlib.suppress(OSError):  # of a process that has ended
                        os.sched_setaffinity(process.pid, slot.cores)
                code = process.wait()
            with self._lock:
                self._running.remove(process)
        finally:
            free.put(slot)
        minutes = (time.perf_counter() - began) / 60
        print(f"{job.name}: {'failed' if code else 'finished'}, {minutes:.1f} minutes", flush=True)
        return code


def _interrupt(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt


def slurm_script(paper: Paper, jobs: Sequence[Job], run_dir: Path) -> str:
    """A Slurm array, a task for each job."""
    cases = [
        f"  {number}) exec {shlex.join([sys.executable, *job.words])} ;;"
        for number, job in enumerate(jobs)
    ]
    return "\n".join(
        [
            "#!/bin/bash",
            f"#SBATCH --job-name={paper.name}",
            f"#SBATCH --array=0-{len(jobs) - 1}",
            f"#SBATCH --output={run_dir}/logs/%A_%a.txt",
            'case "$SLURM_ARRAY_TASK_ID" in',
            *cases,
            '  *) echo "error: no task $SLURM_ARRAY_TASK_ID in this array" >&2; exit 1 ;;',
            "esac",
            "",
        ]
    )


def _chosen_paper(argv: Sequence[str]) -> Paper:
    """The paper that --paper names, whose flags are defined before any is read."""
    found = [word.partition("=")[2] for word in argv if word.startswith("--paper=")]
    if not found:
        raise ValueError(f"give --paper=NAME, one of {', '.join(names())}")
    return find(found[-1])


def _define_own(paper: Paper) -> None:
    define_flags(paper)
    flags.DEFINE_string("paper", paper.name, "Paper.")
    flags.DEFINE_list("seeds", ["0"], "Seeds of each row, with commas.")
    flags.DEFINE_integer("processes", 0, "Processes at a time; 0: one for each device.", 0)
    define_path("slurm", "", "File for a Slurm array script; nothing is run.")
    flags.register_validator(
        "seeds", lambda seeds: seeds and all(x.isdecimal() for x in seeds), "numbers from 0 on"
    )


if __name__ == "__main__":
    try:
        chosen = _chosen_paper(sys.argv)
    except ValueError as error:
        fail(error)
    _define_own(chosen)
    app.run(functools.partial(main, chosen), flags_parser=parse_flags)
