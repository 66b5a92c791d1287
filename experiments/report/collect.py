"""Folders of results as a report reads them: tables, runs, learning curves and figures."""

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.harness.paper import Paper
from experiments.harness.results import data_hashes, machine, mean_curve, read_results
from experiments.harness.verify import Find, result_folders
from experiments.report.shown import ShownTable, read_folder, read_notes


class RunLine(NamedTuple):
    """The runs of one label that one command made, but for its seed."""

    label: str
    seeds: list[int]
    command: str
    minutes: float
    parameters: int
    machine: str
    data: str
    files: list[Path]


class Line(NamedTuple):
    """A learning curve: the development loss by update, of a label."""

    label: str
    points: list[tuple[float, float]]


class Folder(NamedTuple):
    """Results of a paper on one data set at one scale."""

    path: Path
    paper: Paper
    tables: list[ShownTable]
    notes: list[str]
    runs: list[RunLine]
    curves: list[Line]
    figures: list[Path]

    @property
    def name(self) -> str:
        """The name below the folder of results, as in vit2020/digits-small."""
        return name_of(self.path)


def name_of(path: Path) -> str:
    """The name of a folder of results."""
    return f"{path.parent.name}/{path.name}"


def read_folders(root: Path, find: Find) -> list[Folder]:
    """The folders of results below `root`; ValueError where there are none."""
    folders = [_read(path, find) for path in result_folders(root)]
    if not folders:
        raise ValueError(f"--results_dir={root}: no results are there")
    return folders


def _read(path: Path, find: Find) -> Folder:
    first = json.loads(min(path.glob("*.seed*.json")).read_bytes())
    paper = find(first["experiment"])
    results = read_results(path, paper.rows)
    tables, markdown = path / "tables.json", path / "tables.md"
    if not tables.exists() or not markdown.exists():
        raise ValueError(f"{path} has no tables: `python -m experiments.tables` writes them")
    figures = [*sorted(path.glob("*.png")), *sorted(path.glob("*/*.png"))]
    return Folder(
        path,
        paper,
        read_folder(path, json.loads(tables.read_bytes())),
        read_notes(markdown.read_text("utf-8")),
        _runs(path, results),
        list(_curves(results)),
        figures,
    )


def _runs(path: Path, results: Mapping[str, Sequence[dict[str, Any]]]) -> list[RunLine]:
    lines = []
    for label, runs in results.items():
        alike: dict[tuple[str, ...], list[dict]] = {}
        for run in runs:
            seed = f" --seed={run['config']['seed']}"
            key = run["command"].replace(seed, ""), machine(run), data_hashes(run)
            alike.setdefault(key, []).append(run)
        for (_, where, data), found in alike.items():
            lines.append(
                RunLine(
                    label,
                    [run["config"]["seed"] for run in found],
                    found[0]["command"],
                    statistics.mean(run["seconds"] for run in found) / 60,
                    found[0]["parameters"],
                    where,
                    data,
                    [path / f"{run['name']}.json" for run in found],
                )
            )
    return lines


def _curves(results: Mapping[str, Sequence[dict[str, Any]]]) -> Iterator[Line]:
    for label, runs in results.items():
        kept = [run["learning"] for run in runs if run.get("learning")]
        # Of the seeds that were evaluated at the same updates, as all are but for other lengths.
        alike = [one for one in kept if [x for x, _ in one] == [x for x, _ in kept[0]]]
        if alike:
            curve = mean_curve(label, alike)
            yield Line(label, list(zip(curve.x, curve.y, strict=True)))
