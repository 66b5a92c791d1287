"""Rows of a paper with several seeds, over the devices of this machine or as a Slurm array.

python -m experiments.sweep --paper=vaswani2017 --row=base,RNNsearch --seeds=0,1,2
python -m experiments.sweep --paper=vit2020 --devices=0,1 -- --data=mnist --data_dir=DIR
python -m experiments.sweep --paper=lin2017 --row=mean --slurm > sweep.sh; sbatch sweep.sh

What follows -- are flags of the paper. A run is that paper's own command with --resume, so that
finished ones are skipped and interrupted ones go on when a sweep is repeated. At the end comes the
table of all of them. What a run says is in LOGS/ROW.seedN.log.
"""

import itertools
import os
import queue
import shlex
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from absl import app, flags

from attn_research.data.files import user_path
from experiments.harness.config import run_name
from experiments.harness.flags import one_line_errors, parse_flags
from experiments.harness.paper import Paper, nearest
from experiments.harness.path_flags import define_path
from experiments.papers import find

# Flags of a paper that a sweep gives.
OWN = "row", "seed", "resume", "table", "describe"


class Job(NamedTuple):
    """One run: its name, and the words of its command after `python`."""

    name: str
    words: list[str]


def jobs_of(
    paper: Paper, rows: Sequence[str], seeds: Sequence[int], more: Sequence[str]
) -> list[Job]:
    """A run for each seed and row, the seeds of the first row first; ValueError for bad ones."""
    if unknown := [row for row in rows if row not in paper.rows]:
        raise ValueError(
            f"--row={unknown[0]}: {paper.name} has {', '.join(paper.rows)}"
            f"{nearest(unknown[0], list(paper.rows))}"
        )
    for word in more:
        name = word.lstrip("-").partition("=")[0]
        if not word.startswith("--") or name in OWN:
            raise ValueError(
                f"{word}: after -- come flags of the paper, but not --{', --'.join(OWN)}"
            )
    return [
        Job(run_name(row, seed), _words(paper, f"--row={row}", f"--seed={seed}", *more))
        for row, seed in itertools.product(rows, seeds)
    ]


def table_of(
    paper: Paper, rows: Sequence[str], seeds: Sequence[int], more: Sequence[str]
) -> list[str]:
    """The words of a command that finds all runs finished and prints their table."""
    return _words(paper, f"--row={','.join(rows)}", f"--seed={seeds[-1]}", *more)


def _words(paper, *given):
    return ["-m", f"experiments.{paper.name}", *given, "--resume"]


def slurm_script(paper: Paper, jobs: Sequence[Job], table: Sequence[str]) -> str:
    """A script for sbatch, whose tasks are the runs."""
    lines = [f"  {shlex.quote(shlex.join(['python', *job.words]))}" for job in jobs]
    return "\n".join(
        [
            "#!/bin/bash",
            f"#SBATCH --job-name={paper.name}",
            f"#SBATCH --array=0-{len(jobs) - 1}",
            f"# When all have ended: {shlex.join(['python', *table])}",
            "jobs=(",
            *lines,
            ")",
            'eval "exec ${jobs[$SLURM_ARRAY_TASK_ID]}"',
        ]
    )


def run_jobs(jobs: Sequence[Job], devices: Sequence[str], logs: Path) -> list[Job]:
    """Runs the jobs, one at a time on each device, and returns those that failed.

    After a failure none is begun. An empty name of a device stands for whatever JAX takes.
    """
    free, failed = queue.SimpleQueue(), []
    for device in devices:
        free.put(device)
    logs.mkdir(parents=True, exist_ok=True)

    def run(job: Job) -> None:
        if failed:
            return
        device = free.get()
        try:
            log = logs / f"{job.name}.log"
            environment = {"CUDA_VISIBLE_DEVICES": device} if device else {}
            with log.open("wb") as file:
                done = subprocess.run(
                    [sys.executable, *job.words],
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env=os.environ | environment,
                )
            print(f"{job.name}: {_end_of(log) if done.returncode else 'finished'}", flush=True)
            if done.returncode:
                failed.append(job)
        finally:
            free.put(device)

    with ThreadPoolExecutor(len(devices)) as pool:
        list(pool.map(run, jobs))
    return failed


def _end_of(log: Path) -> str:
    lines = log.read_text("utf-8", errors="replace").strip().splitlines()
    return f"{lines[-1] if lines else 'failed'} ({log})"


def _main(argv: Sequence[str]) -> None:
    values = flags.FLAGS
    with one_line_errors(argv[:1]):
        if not values.paper:
            raise ValueError("--paper is missing: `python -m experiments` lists papers")
        paper = find(values.paper)
        rows = values.row or [paper.default_row]
        if not all(seed.isdecimal() for seed in values.seeds):
            raise ValueError(f"--seeds={','.join(values.seeds)}: numbers with commas, as in 0,1,2")
        seeds, more = [int(seed) for seed in values.seeds], argv[1:]
        jobs, table = jobs_of(paper, rows, seeds, more), table_of(paper, rows, seeds, more)
        if values.slurm:
            print(slurm_script(paper, jobs, table))
            return
        logs = user_path(values.logs or f"runs/{paper.name}/sweep")
        print(f"{len(jobs)} runs, {len(values.devices) or 1} at a time; logs in {logs}", flush=True)
        failed = run_jobs(jobs, values.devices or [""], logs)
        if failed:
            raise ValueError(f"{len(failed)} failed, as {failed[0].name}; the same command goes on")
        sys.exit(subprocess.run([sys.executable, *table]).returncode)


if __name__ == "__main__":
    flags.DEFINE_string("paper", "", "Name of the paper, such as vaswani2017.")
    flags.DEFINE_list("row", [], "Rows of its table; unset, its default row.")
    flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of each row.")
    flags.DEFINE_list("devices", [], "Numbers of GPUs, a run at a time on each; unset, one at all.")
    flags.DEFINE_bool("slurm", False, "Print a script for sbatch; run nothing.")
    define_path("logs", "", "Folder of what runs say; unset, runs/PAPER/sweep.")
    flags.DEFINE_bool("debug", False, "Show where an error came from.")
    app.run(_main, flags_parser=parse_flags)
