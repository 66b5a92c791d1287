"""Benchmarks, the conformance matrix and published checkpoints, as tables of a report."""

import json
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from attn_research.viewing.tables import Column, Table
from experiments.report.shown import ShownTable, shown

# Systems of a benchmark that are this code, with other settings or another mask.
_OURS = {"ours", "huge-pages", "one-device", "window", "full"}
_TIMES = "times_as_long_as_ours"


class Measurement(NamedTuple):
    """A file of measurements: its tables, and of each the columns that are peer time / our time."""

    path: Path
    name: str
    command: str
    environment: Mapping[str, Any]
    tables: list[ShownTable]
    ratios: dict[str, list[str]]

    @property
    def machine(self) -> str:
        """The processor and devices."""
        place = self.environment
        device = place["device"]
        about = device if "cpu" not in device else f"{place['cpus']} cores, devices: {device}"
        return f"{place['processor']}, {about}" if "cpu" in device else about

    def versions(self) -> str:
        """The versions and settings."""
        shown = {k: v for k, v in self.environment.items() if k not in ("processor", "idle")}
        peers = shown.pop("peers", {})
        return ", ".join(f"{name} {value}" for name, value in {**shown, **peers}.items())


def read_measurements(root: Path, folder: str) -> list[Measurement]:
    """The measurements in a folder of results, in the order of their names."""
    found = [_read(path, root) for path in sorted((root / folder).rglob("*.json"))]
    return [each for each in found if each.tables]


def _read(path: Path, root: Path) -> Measurement:
    record = json.loads(path.read_bytes())
    name = path.relative_to(root).with_suffix("").as_posix()
    tables, ratios = [], {}
    for title, table, columns in _tables(record):
        full = f"{path.stem}: {title}" if title else path.stem
        tables.append(shown(full, table))
        ratios[full] = columns
    about = record.get("command", ""), record.get("environment", {})
    return Measurement(path, name, *about, tables, ratios)


def _tables(record: Mapping[str, Any]) -> Iterator[tuple[str, Table, list[str]]]:
    """(title, table, columns of ratios) of what a file holds."""
    for name, value in record.items():
        if isinstance(value, dict) and {"columns", "rows"} <= value.keys():
            yield (name, _generic(value["rows"], value["columns"]), [])
        elif name == "steps":
            rows = [{"mechanism": each, **found} for each, found in value.items()]
            yield (name, _generic(rows), [])
        elif name == "crossovers":
            for mask, rows in value.items():
                yield (f"crossovers, mask {mask}", _generic(rows), [])
        elif _is_rows(value):
            first = value[0]
            if _TIMES in first or "times_as_long" in first:
                yield ("" if name == "rows" else name, *_ratios(value))
            elif "of_unmasked_cudnn" in first:
                yield ("", *_gpu(value))
            else:
                yield ("" if name == "rows" else name, _generic(value), [])


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(x, dict) for x in value)


def _ratios(rows: Sequence[Mapping[str, Any]]) -> tuple[Table, list[str]]:
    """A line for each problem, with the time of each other system relative to this code's."""
    times = _TIMES if _TIMES in rows[0] else "times_as_long"
    own = {times, f"{_TIMES}_full", "system", "seconds", "all_seconds", "temporary_bytes"}
    own |= {"tokens_per_second", "task"}
    systems = list(dict.fromkeys(row["system"] for row in rows))
    ours, *others = systems
    lines: dict[str, dict[str, Any]] = {}
    for row in rows:
        label = ", ".join(_label(name, x) for name, x in row.items() if name not in own)
        line = lines.setdefault(label, {"problem": label})
        if row["system"] == ours:
            line |= {"our seconds": _median(row["seconds"])}
            line |= {"our tokens/s": row.get("tokens_per_second")}
        else:
            line[row["system"]] = row[times]
    columns = [Column("problem", ""), Column("our seconds", ".4g")]
    columns += [Column("our tokens/s", ",d")] if "tokens_per_second" in rows[0] else []
    columns += [Column(name, ".2f") for name in others]
    titles = {column.title for column in columns}
    lines = [{k: v for k, v in line.items() if k in titles} for line in lines.values()]
    return Table(columns, lines), [name for name in others if name not in _OURS]


def _gpu(rows: Sequence[Mapping[str, Any]]) -> tuple[Table, list[str]]:
    """A line for each problem: the speed of each implementation, and cuDNN's time by ours."""
    lines: dict[str, dict[str, Any]] = {}
    names = list(dict.fromkeys(row["implementation"] for row in rows))
    for row in rows:
        sizes = ", ".join(_label(name, row[name]) for name in ("mask", "length", "width"))
        label = f"{sizes}, {_label('gradient', row['gradient'])}"
        line = lines.setdefault(label, {"problem": label})
        line[f"{row['implementation']}, TFLOP/s"] = row["teraflops"]
        line[row["implementation"]] = row["seconds"]
    found = []
    for line in lines.values():
        seconds = {name: line.pop(name, None) for name in names}
        if seconds.get("cudnn") and seconds.get("hopper"):
            line["cuDNN time / our time"] = seconds["cudnn"] / seconds["hopper"]
        found.append(line)
    columns = [Column("problem", "")]
    columns += [Column(f"{name}, TFLOP/s", ".0f") for name in names]
    ratio = "cuDNN time / our time"
    return Table([*columns, Column(ratio, ".2f")], found), [ratio]


def _label(name: str, value: Any) -> str:
    if name == "gradient":
        return "with gradients" if value else "forward"
    return f"{name} {value}"


def _median(seconds: float | Sequence[float]) -> float:
    return seconds if isinstance(seconds, float) else statistics.median(seconds)


def _generic(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None) -> Table:
    """Rows of values as they are, nested ones by their path; lists of rounds are left out."""
    flat = [dict(_flat(row)) for row in rows]
    titles = list(dict.fromkeys(columns or [name for row in flat for name in row]))
    formats = {}
    for title in titles:
        values = [row.get(title) for row in flat]
        numbers = [x for x in values if isinstance(x, int | float)]
        formats[title] = ".4g" if any(isinstance(x, float) for x in numbers) else ""
    return Table([Column(title, formats[title]) for title in titles], flat)


def _flat(row: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}, ")
        elif not isinstance(value, list):
            yield f"{before}{name}", value


class Conformance(NamedTuple):
    """The conformance matrix: counts of cases by mask and by mechanism, and what is said of it."""

    command: str
    machine: str
    cases: int
    passed: int
    refused: int
    wrong: list[str]
    bound: list[str]
    tables: list[ShownTable]


def read_conformance(root: Path) -> Conformance | None:
    """The conformance matrix in a folder of results, or None."""
    path = root / "conformance" / "conformance.json"
    if not path.exists():
        return None
    record = json.loads(path.read_bytes())
    dtypes = record["columns"][5:]
    cells = [
        (implementation, mechanism, mask, dtype, _outcome(cell))
        for implementation, mechanism, mask, _, _, *found in record["cases"]
        for dtype, cell in zip(dtypes, found, strict=True)
    ]
    outcomes = [cell[-1] for cell in cells]
    names = list(dict.fromkeys(cell[0] for cell in cells))
    tables = [
        _counts("Cases that pass, by mask", "mask", names, [(c[0], c[2], c[-1]) for c in cells]),
        _counts("Cases that pass, by score", "score", names, [(c[0], c[1], c[-1]) for c in cells]),
        _counts("Cases that pass, by dtype", "dtype", names, [(c[0], c[3], c[-1]) for c in cells]),
    ]
    return Conformance(
        record["command"],
        ", ".join(f"{name} {value}" for name, value in record["environment"].items()),
        len(cells),
        outcomes.count("pass"),
        outcomes.count("refused"),
        record["wrong"],
        record["bound"],
        tables,
    )


def _outcome(cell: Any) -> str:
    return "pass" if isinstance(cell, list) else "refused" if "refused" in cell else "wrong"


def _counts(
    name: str, title: str, implementations: Sequence[str], cells: Sequence[tuple[str, str, str]]
) -> ShownTable:
    """The outcomes (implementation, line, outcome), counted by line and implementation."""
    found: dict[str, dict[str, list[str]]] = {}
    for implementation, line, outcome in cells:
        found.setdefault(line, {}).setdefault(implementation, []).append(outcome)
    rows = []
    for line, by_name in found.items():
        row: dict[str, str | None] = {title: line}
        for implementation, outcomes in by_name.items():
            wrong = outcomes.count("wrong")
            row[implementation] = f"{outcomes.count('pass')} of {len(outcomes)}" + (
                f", {wrong} wrong" if wrong else ""
            )
        rows.append(row)
    return shown(name, Table([Column(title, ""), *(Column(x, "") for x in implementations)], rows))
