"""Results as they are kept: what a run was measured with, and the tables made of many runs."""

import json
import os
import platform
import shlex
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import flax
import jax
import numpy as np

from attn_research.data.files import write_whole
from attn_research.viewing.plots import Curve
from attn_research.viewing.tables import Cell, Table, to_dict, to_markdown


def read_results(folder: Path, rows: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """The results in a folder by row, in the order of seeds; rows without results are absent."""
    files = {row: sorted(folder.glob(f"{row}.seed*.json")) for row in rows}
    found = {
        row: [json.loads(path.read_text()) for path in paths]
        for row, paths in files.items()
        if paths
    }
    if not found:
        raise FileNotFoundError(f"no results in {folder}: run an experiment with --table first")
    return found


def write_tables(
    folder: Path,
    title: str,
    tables: dict[str, Table],
    results: dict[str, list[dict]],
    notes: Sequence[str] = (),
) -> None:
    """Writes tables.md and tables.json: tables, notes, then the command and machine of each run."""
    text = [f"# {title}\n"]
    text += [f"## {name}\n\n{to_markdown(table)}" for name, table in tables.items()]
    text += [f"{note}\n" for note in notes]
    text.append("## Runs\n")
    text += [_run(alike) for runs in results.values() for alike in _alike(runs)]
    write_whole(folder / "tables.md", ("\n".join(text) + "\n").encode())
    plain = {name: to_dict(table) for name, table in tables.items()}
    write_whole(folder / "tables.json", json.dumps(plain, indent=1, ensure_ascii=False).encode())


def _run(alike: Sequence[dict]) -> str:
    """The command, machine and data of runs that differ in their seed alone."""
    first, *others = alike
    seeds = "".join(f", `--seed={run['config']['seed']}`" for run in others)
    machine = ", ".join(f"{name} {value}" for name, value in first["environment"].items())
    hashes = ", ".join(
        f"{split} {' '.join(one[:12] for one in ones)}"
        for split, ones in first["about"]["sha256"].items()
    )
    return f"- `{first['command']}`{seeds}  \n  {machine}; data SHA-256 {hashes}"


def _alike(runs: Sequence[dict]) -> list[list[dict]]:
    groups: dict[str, list[dict]] = {}
    for run in runs:
        config = run["config"] | {"seed": None}
        kept = json.dumps([config, run["environment"], run["about"]["sha256"]], sort_keys=True)
        groups.setdefault(kept, []).append(run)
    return list(groups.values())


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def cell(values: Iterable[float | None], paper: float | str | None = None) -> Cell:
    """Mean and deviation over seeds, beside the paper's figure."""
    known = [value for value in values if value is not None]
    deviation = statistics.stdev(known) if len(known) > 1 else None
    return Cell(mean(known), deviation, paper)


def mean_curve(label: str, runs: Sequence[Sequence[tuple[float, float | None]]]) -> Curve:
    """The mean over seeds, at each x of the first, of curves of points (x, y)."""
    at_each = zip(*runs, strict=True)
    return Curve(label, [x for x, _ in runs[0]], [mean(y for _, y in at) for at in at_each])


def command_line(module: str, arguments: Sequence[str]) -> str:
    """The command that made a result; what is a path of one machine alone reads PATH."""
    paths = ("--peer_python=", "--data_dir=", "--output=")
    words = [f"{x.split('=')[0]}=PATH" if x.startswith(paths) else x for x in arguments]
    return shlex.join(["python", "-m", module, *words])


def environment() -> dict[str, Any]:
    """The versions and hardware a number was measured with."""
    return {
        "python": platform.python_version(),
        "jax": jax.__version__,
        "flax": flax.__version__,
        "numpy": np.__version__,
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "cpus": _cpus(),
        "processor": _processor(),
    }


def _cpus() -> int | None:
    """How many this process may run on, where the system tells it, else how many there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _processor() -> str:
    """The processor's name where the system tells it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
