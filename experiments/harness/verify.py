"""Verification of results: every number computed again from the predictions that were kept."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from experiments.harness.paper import Paper, parse_command

Find = Callable[[str], Paper]


def result_folders(root: Path) -> list[Path]:
    """The folders under `root` that hold results of one experiment, data set and scale."""
    return sorted({path.parent for path in root.rglob("*.seed*.json")})


def render(folder: Path, find: Find) -> None:
    """Writes the tables and figures of a folder anew."""
    first = json.loads(next(iter(sorted(folder.glob("*.seed*.json")))).read_bytes())
    paper = find(first["experiment"])
    paper.report(folder, paper)


def verify(folder: Path, find: Find, data_dir: str = "") -> Iterator[tuple[str, str, bool | None]]:
    """(name, finding, whether it holds) of each row and of the tables; None: not verified.

    `find` gives a paper by its name.
    """
    for path in sorted(folder.glob("*.seed*.json")):
        name = path.relative_to(folder.parent.parent).with_suffix("").as_posix()
        result = json.loads(path.read_bytes())
        paper = find(result["experiment"])
        if changes := list(stale(result, find)):
            yield name, f"its command gives another run: {'; '.join(changes)}", False
            continue
        config = paper.config.replace(**result["config"])
        if "data_dir" in config.values():
            config = config.replace(data_dir=data_dir)
        try:
            scores = paper.task(config).score(path.with_suffix(""))
        except FileNotFoundError as error:
            yield name, f"data absent: {error}", None
            continue
        except ValueError as error:
            yield name, str(error), False
            continue
        drift = list(_differences(result["scores"], scores))
        yield name, "; ".join(drift) or "every number recomputed", not drift
    name = f"{folder.relative_to(folder.parent.parent).as_posix()}/tables.md"
    kept = _hash_tables(folder)
    with tempfile.TemporaryDirectory() as copy:
        render(Path(shutil.copytree(folder, copy, dirs_exist_ok=True)), find)
        again = _hash_tables(Path(copy))
    yield name, "rendered the same" if kept == again else "differs from its results", kept == again


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
