"""Verification of results: every number computed again from the predictions that were kept."""

import functools
import json
import multiprocessing
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from attn_research.training.cores import available_cores
from experiments.harness.paper import Paper, parse_command
from experiments.harness.results import tables_alone

Find = Callable[[str], Paper]
# (name, finding, whether it holds); None: not verified.
Finding = tuple[str, str, bool | None]


def result_folders(root: Path) -> list[Path]:
    """The folders under `root` that hold results of one experiment, data set and scale."""
    return sorted({path.parent for path in root.rglob("*.seed*.json")})


class Check(NamedTuple):
    """What was found of a result file, with its scores as its predictions give them now."""

    finding: Finding
    scores: dict[str, Any] | None


def render(folder: Path, find: Find) -> None:
    """Writes the tables and figures of a folder anew."""
    first = json.loads(_results(folder)[0].read_bytes())
    paper = find(first["experiment"])
    paper.report(folder, paper)


def tables_again(
    folder: Path, find: Find, scores: Mapping[Path, dict[str, Any]] | None = None
) -> dict[str, bytes]:
    """The tables of a folder by file name, rendered in a copy of it.

    With `scores`, by result file, they are in the place of those that the results have.
    """
    ignored = shutil.ignore_patterns("*.png")
    with tempfile.TemporaryDirectory() as place:
        copy = Path(shutil.copytree(folder, place, dirs_exist_ok=True, ignore=ignored))
        for path, found in (scores or {}).items():
            result = json.loads(path.read_bytes()) | {"scores": found}
            (copy / path.name).write_text(json.dumps(result))
        with tables_alone():
            render(copy, find)
        return _tables(copy)


def verify(folder: Path, find: Find, data_dir: str = "") -> Iterator[Finding]:
    """The findings of each row and of the tables. `find` gives a paper by its name."""
    return verify_all([folder], find, data_dir)


def verify_all(folders: Iterable[Path], find: Find, data_dir: str = "") -> Iterator[Finding]:
    """The findings of folders, in their order; many are computed on all cores."""
    places = [place for folder in folders for place in (*_results(folder), folder)]
    return (check.finding for check in _on_all_cores(places, find, data_dir))


def check_results(
    folders: Iterable[Path], find: Find, data_dir: str = ""
) -> Iterator[tuple[Path, Check]]:
    """Each result file of folders, in their order, and what was found of it."""
    places = [place for folder in folders for place in _results(folder)]
    return zip(places, _on_all_cores(places, find, data_dir), strict=True)


def _on_all_cores(places: Sequence[Path], find: Find, data_dir: str) -> Iterator[Check]:
    check = functools.partial(_check, find=find, data_dir=data_dir)
    # A process takes seconds to start.
    workers = min(available_cores(), len(places) // 16)
    if workers < 2:
        yield from map(check, places)
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(check, places)


def _results(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.seed*.json"))


def _check(place: Path, find: Find, data_dir: str) -> Check:
    """The finding of a result file, or of the tables of a folder."""
    if place.is_dir():
        return Check(_verify_tables(place, find), None)
    name = place.relative_to(place.parents[2]).with_suffix("").as_posix()
    result = json.loads(place.read_bytes())
    paper = find(result["experiment"])
    if changes := list(stale(result, find)):
        finding = f"its command gives another run: {'; '.join(changes)}"
        return Check((name, finding, False), None)
    config = paper.config.replace(**result["config"])
    if "data_dir" in config.values():
        config = config.replace(data_dir=data_dir)
    try:
        scores = paper.task(config).score(place.with_suffix(""))
    except FileNotFoundError as error:
        return Check((name, f"data absent: {error}", None), None)
    except ValueError as error:
        return Check((name, str(error), False), None)
    drift = list(_differences(result["scores"], scores))
    return Check((name, "; ".join(drift) or "every number recomputed", not drift), scores)


def _verify_tables(folder: Path, find: Find) -> Finding:
    name = f"{folder.relative_to(folder.parent.parent).as_posix()}/tables.md"
    same = _tables(folder) == tables_again(folder, find)
    return name, "rendered the same" if same else "differs from its results", same


def _tables(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("tables.*"))}


def stale(result: dict[str, Any], find: Find) -> Iterator[str]:
    """The values of a result that its command would set differently today."""
    paper = find(result["experiment"])
    kept, now = paper.config.replace(**result["config"]), parse_command(paper, result["command"])
    return _differences(kept.identity(), now.identity())


def _differences(kept: Any, found: Any, where: str = "") -> Iterator[str]:
    """Every place where two trees of JSON values differ."""
    if isinstance(kept, dict) and isinstance(found, dict):
        for key in sorted(kept.keys() | found.keys()):
            yield from _differences(kept.get(key), found.get(key), f"{where}/{key}")
    elif json.loads(json.dumps(found)) != kept:
        yield f"{where or '/'} is {kept} in the result, {found} recomputed"
