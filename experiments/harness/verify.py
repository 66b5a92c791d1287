"""Verification of results: every number computed again from the predictions that were kept."""

import functools
import hashlib
import json
import multiprocessing
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from attn_research.training.cores import available_cores
from experiments.harness.paper import Paper, parse_command

Find = Callable[[str], Paper]
# (name, finding, whether it holds); None: not verified.
Finding = tuple[str, str, bool | None]


def result_folders(root: Path) -> list[Path]:
    """The folders under `root` that hold results of one experiment, data set and scale."""
    return sorted({path.parent for path in root.rglob("*.seed*.json")})


def render(folder: Path, find: Find) -> None:
    """Writes the tables and figures of a folder anew."""
    first = json.loads(_results(folder)[0].read_bytes())
    paper = find(first["experiment"])
    paper.report(folder, paper)


def verify(folder: Path, find: Find, data_dir: str = "") -> Iterator[Finding]:
    """The findings of each row and of the tables. `find` gives a paper by its name."""
    return verify_all([folder], find, data_dir)


def verify_all(folders: Iterable[Path], find: Find, data_dir: str = "") -> Iterator[Finding]:
    """The findings of folders, in their order; many are computed on all cores."""
    places = [place for folder in folders for place in (*_results(folder), folder)]
    check = functools.partial(_verify, find=find, data_dir=data_dir)
    # A process takes seconds to start.
    workers = min(available_cores(), len(places) // 16)
    if workers < 2:
        yield from map(check, places)
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(check, places)


def _results(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.seed*.json"))


def _verify(place: Path, find: Find, data_dir: str) -> Finding:
    """The finding of a result file, or of the tables of a folder."""
    if place.is_dir():
        return _verify_tables(place, find)
    name = place.relative_to(place.parents[2]).with_suffix("").as_posix()
    result = json.loads(place.read_bytes())
    paper = find(result["experiment"])
    if changes := list(stale(result, find)):
        return name, f"its command gives another run: {'; '.join(changes)}", False
    config = paper.config.replace(**result["config"])
    if "data_dir" in config.values():
        config = config.replace(data_dir=data_dir)
    try:
        scores = paper.task(config).score(place.with_suffix(""))
    except FileNotFoundError as error:
        return name, f"data absent: {error}", None
    except ValueError as error:
        return name, str(error), False
    drift = list(_differences(result["scores"], scores))
    return name, "; ".join(drift) or "every number recomputed", not drift


def _verify_tables(folder: Path, find: Find) -> Finding:
    name = f"{folder.relative_to(folder.parent.parent).as_posix()}/tables.md"
    kept = _hash_tables(folder)
    with tempfile.TemporaryDirectory() as copy:
        render(Path(shutil.copytree(folder, copy, dirs_exist_ok=True)), find)
        again = _hash_tables(Path(copy))
    return name, "rendered the same" if kept == again else "differs from its results", kept == again


def stale(result: dict[str, Any], find: Find) -> Iterator[str]:
    """The values of a result that its command would set differently today."""
    paper = find(result["experiment"])
    kept, now = paper.config.replace(**result["config"]), parse_command(paper, result["command"])
    return _differences(kept.identity(), now.identity())


def _hash_tables(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("tables.*"))
    }


def _differences(kept: Any, found: Any, where: str = "") -> Iterator[str]:
    """Every place where two trees of JSON values differ."""
    if isinstance(kept, dict) and isinstance(found, dict):
        for key in sorted(kept.keys() | found.keys()):
            yield from _differences(kept.get(key), found.get(key), f"{where}/{key}")
    elif json.loads(json.dumps(found)) != kept:
        yield f"{where or '/'} is {kept} in the result, {found} recomputed"
