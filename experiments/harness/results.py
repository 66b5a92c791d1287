"""Result files: the environment they were measured in, and the tables made of many of them."""

import contextlib
import contextvars
import json
import os
import platform
import shlex
import statistics
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import flax
import jax
import numpy as np

from attn_research.data.files import write_whole
from attn_research.training.cores import available_cores
from attn_research.viewing.plots import Curve
from attn_research.viewing.tables import Cell, Column, Table, to_dict, to_markdown
from experiments.harness.config import run_name
from experiments.harness.paper import Paper

INSTRUCTIONS = {"amx_tile": "AMX", "avx512f": "AVX-512", "avx2": "AVX2"}  # the widest first
FIELDS = ("family", "cpu family"), ("model", "model\t")  # the latter is not its name
SETTINGS = ("GLIBC_TUNABLES", "XLA_FLAGS")  # of the environment


def read_results(folder: Path, rows: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """The results in a folder by label, in the order of rows and seeds.

    The label is the row's name, with what flags changed of its network, and where the runs of a
    label differ in more than their seed also with that. Rows without results are absent. Each
    result has the "name" of its file, which is that of the folder of its predictions too.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        for pattern in (run_name(row, "*"), run_name(f"{row},*", "*")):
            for path in sorted(folder.glob(f"{pattern}.json")):
                result = json.loads(path.read_bytes()) | {"name": path.stem}
                found.setdefault(result.get("label", row), []).append(result)
    if not found:
        raise FileNotFoundError(f"no results in {folder}: run an experiment with --table first")
    alike: dict[str, list[dict[str, Any]]] = {}
    for label, runs in found.items():
        differing = _differing([run["config"] for run in runs])
        for run in runs:
            changed = [f"{name}={run['config'][name]}" for name in differing]
            alike.setdefault(", ".join([label, *changed]), []).append(run)
    return alike


def _differing(configs: Sequence[dict[str, Any]]) -> list[str]:
    """The values besides the seed in which configs differ, of those that all of them have."""
    first, *others = configs
    common = [name for name in first if name != "seed" and all(name in each for each in others)]
    return [name for name in common if any(each[name] != first[name] for each in others)]


def test_sets(results: Mapping[str, Sequence[dict[str, Any]]]) -> list[str]:
    """The names of the test sets, the same in all results."""
    return list(next(iter(results.values()))[0]["scores"]["tests"])


def row_of(label: str) -> str:
    """The row of a label."""
    return label.partition(", ")[0]


def printed(paper: Paper, label: str) -> dict[str, Any]:
    """The figures that the paper printed of a row; none of one that flags changed."""
    return paper.rows[label].paper if label in paper.rows else {}


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
    text += _runs(results)
    write_whole(folder / "tables.md", ("\n".join(text) + "\n").encode())
    plain = {name: to_dict(table) for name, table in tables.items()}
    write_whole(folder / "tables.json", json.dumps(plain, indent=1, ensure_ascii=False).encode())
    if _ALONE.get():
        raise _TablesWritten


class _TablesWritten(Exception):
    """The end of a report of which no figures are wanted."""


_ALONE = contextvars.ContextVar("tables alone", default=False)


@contextlib.contextmanager
def tables_alone() -> Generator[None]:
    """A block in which a report ends once its tables are written, before it draws figures."""
    token = _ALONE.set(True)
    try:
        yield
    except _TablesWritten:
        pass
    finally:
        _ALONE.reset(token)


def _runs(results: Mapping[str, Sequence[dict]]) -> list[str]:
    """The command, machine and data of runs that differ in their row and seed alone, by line."""
    rows: dict[tuple[str, str, tuple[int, ...]], list[str]] = {}
    for row, runs in results.items():
        seeds: dict[tuple[str, str, str], list[int]] = {}
        for run in runs:
            seed = run["config"]["seed"]
            words = {f"--row={row_of(row)}": "--row={row}", f"--seed={seed}": "--seed={seed}"}
            command = " ".join(words.get(word, word) for word in run["command"].split(" "))
            # A recipe that changed since has the same command.
            recipe = json.dumps(run["config"] | {"seed": None}, sort_keys=True)
            where = f"{machine(run)}; data SHA-256 {data_hashes(run)}"
            if planned := ", then ".join(map(str, run.get("planned_steps", []))):
                where += f"; begun with learning rates planned for {planned} steps"
            alike = command, where, recipe
            seeds.setdefault(alike, []).append(seed)
        for (command, where, _), found in seeds.items():
            rows.setdefault((command, where, tuple(found)), []).append(row_of(row))
    lines = []
    for (command, where, (seed, *others)), found in rows.items():
        # Not str.format: a command may hold braces of its own.
        for name, value in (("row", ",".join(found)), ("seed", seed)):
            command = command.replace(f"--{name}={{{name}}}", f"--{name}={value}")
        more = "".join(f", `--seed={other}`" for other in others)
        lines.append(f"- `{command}`{more}  \n  {where}")
    return lines


def machine(run: Mapping[str, Any]) -> str:
    """The versions and hardware of a run."""
    return ", ".join(f"{name} {value}" for name, value in run["environment"].items())


def data_hashes(run: Mapping[str, Any]) -> str:
    """The beginning of each SHA-256 of a run's data, by split."""
    return ", ".join(
        f"{split} {' '.join(one[:12] for one in ones)}"
        for split, ones in run["about"].get("sha256", {}).items()
    )


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def orderings(
    values: Mapping[str, float | None], pairs: Iterable[tuple[str, str]], unit: str
) -> list[str]:
    """A line for each pair of which the paper's first is above its second: did it come out?"""
    lines = []
    for above, below in pairs:
        first, second = values.get(above), values.get(below)
        if first is not None and second is not None:
            verb, gap = "came out" if first > second else "did not come out", first - second
            lines.append(
                f"The paper has {above} above {below}: here it {verb} ({gap:+.3g} {unit})."
            )
    return lines


def cell(values: Iterable[float | None], paper: float | str | None = None) -> Cell:
    """Mean and deviation over seeds, beside the paper's figure; equal values have no deviation."""
    known = [value for value in values if value is not None]
    deviation = statistics.stdev(known) if len(set(known)) > 1 else None
    return Cell(mean(known), deviation, paper)


# What every table may end with; `run_cells` has the values.
RUN_COLUMNS = (Column("parameters", ",.0f"), Column("minutes", ".1f"), Column("seeds", "d"))


def run_cells(runs: Sequence[Mapping[str, Any]]) -> dict[str, Cell | int]:
    """The parameters, the minutes of training and the number of the runs of a row."""
    return {
        "parameters": cell([run["parameters"] for run in runs]),
        "minutes": cell([run["seconds"] / 60 for run in runs]),
        "seeds": len(runs),
    }


def mean_curve(label: str, runs: Sequence[Sequence[tuple[float, float | None]]]) -> Curve:
    """The mean over seeds, at each x of the first, of curves of points (x, y)."""
    at_each = zip(*runs, strict=True)
    return Curve(label, [x for x, _ in runs[0]], [mean(y for _, y in at) for at in at_each])


def command_line(module: str, arguments: Sequence[str]) -> str:
    """The command that made a result, with machine-specific paths replaced by PATH."""
    paths = tuple(
        f"--{name}=" for name in ("peer_python", "data_dir", "output", "checkpoint", "init_from")
    )
    words = [f"{x.split('=')[0]}=PATH" if x.startswith(paths) else x for x in arguments]
    return shlex.join(["python", "-m", module, *words])


def environment() -> dict[str, Any]:
    """The versions and hardware a number was measured with, and settings that change speeds."""
    settings = {name: os.environ[name] for name in SETTINGS if os.environ.get(name)}
    return {
        "python": platform.python_version(),
        "jax": jax.__version__,
        "flax": flax.__version__,
        "numpy": np.__version__,
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "cpus": available_cores(),
        "processor": _processor(),
    } | settings


def _processor() -> str:
    """The processor's name where the system tells it, else its architecture.

    With the family, the model and the widest instructions, since one name stands for many.
    """
    name = _cpu_info("model name") or platform.processor() or platform.machine()
    about = [f"{word} {found}" for word, line in FIELDS if (found := _cpu_info(line))]
    known = _cpu_info("flags").split()
    about += [title for flag, title in INSTRUCTIONS.items() if flag in known][:1]
    return f"{name} ({', '.join(about)})" if about else name


def processor_kind() -> str:
    """The processor's name and the instructions that it has."""
    return f"{platform.machine()} {_processor()} {_cpu_info('flags')}"


def _cpu_info(name: str) -> str:
    """A line of the system's description of the processor; empty where there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    found = [line.split(":", 1)[1].strip() for line in lines if line.startswith(name)]
    return found[0] if found else ""
