"""Renders every table from results/, or recomputes its numbers from the predictions.

python -m experiments.tables                          tables and figures from the results
python -m experiments.tables --verify --data_dir=DIR  every cell from its predictions, or fail
"""

import hashlib
import importlib
import itertools
import json
import logging
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags

from experiments import conformance_tables
from experiments.paper import RESULTS, identify, of_command


def result_folders(root: Path) -> list[Path]:
    """The folders under `root` that hold results of one experiment, data set and scale."""
    return sorted({path.parent for path in root.rglob("*.seed*.json")})


def render(folder: Path) -> None:
    """Writes the tables and figures of a folder anew."""
    first = json.loads(next(iter(sorted(folder.glob("*.seed*.json")))).read_text())
    importlib.import_module(f"experiments.{first['experiment']}").report(folder)


def verify(folder: Path, data_dir: str) -> Iterator[tuple[str, str, bool | None]]:
    """Yields (name, finding, whether it holds) for each row and the tables; None: not verified."""
    for path in sorted(folder.glob("*.seed*.json")):
        name = path.relative_to(folder.parent.parent).with_suffix("").as_posix()
        result = json.loads(path.read_text())
        paper = importlib.import_module(f"experiments.{result['experiment']}").PAPER
        config = paper.config(**(result["config"] | {"data_dir": data_dir}))
        if other := list(stale(result)):
            yield name, f"its command gives another run: {'; '.join(other)}", False
            continue
        try:
            scores = paper.rescore(config, path.with_suffix(""))
        except FileNotFoundError as error:
            yield name, f"data absent: {error}", None
            continue
        except ValueError as error:
            yield name, str(error), False
            continue
        drift = list(_differences(result["scores"], scores))
        yield name, "; ".join(drift) or "every number recomputed", not drift
    name = f"{folder.relative_to(folder.parent.parent).as_posix()}/tables.md"
    kept = _tables(folder)
    with tempfile.TemporaryDirectory() as copy:
        render(Path(shutil.copytree(folder, copy, dirs_exist_ok=True)))
        again = _tables(Path(copy))
    yield name, "rendered the same" if kept == again else "differs from its results", kept == again


def stale(result: dict[str, Any]) -> Iterator[str]:
    """Every knob of a result that its command sets otherwise, because a recipe changed since."""
    paper = importlib.import_module(f"experiments.{result['experiment']}").PAPER
    kept, now = paper.config(**result["config"]), of_command(paper, result["command"])
    return _differences(identify(kept), identify(now))


def verify_conformance(path: Path) -> tuple[str, str, bool]:
    """Whether nothing in a conformance matrix was wrong, and its page is made of it."""
    found = json.loads(path.read_text())
    same = conformance_tables.render(found) == path.with_suffix(".md").read_text()
    finding = "; ".join(found["wrong"]) or (
        "rendered the same" if same else "differs from its JSON"
    )
    return path.parent.name, finding, same and not found["wrong"]


def _tables(folder: Path) -> dict[str, str]:
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


def _main(argv: Sequence[str]) -> None:
    del argv
    root = Path(flags.FLAGS.results_dir)
    folders = result_folders(root)
    if not folders:
        sys.exit(f"error: no results in {root}: name another --results_dir")
    if not flags.FLAGS.verify:
        for folder in folders:
            render(folder)
            print(f"{folder}: tables and figures written")
        return
    failed = 0
    matrices = map(verify_conformance, sorted(root.rglob("conformance.json")))
    papers = (verify(folder, flags.FLAGS.data_dir) for folder in folders)
    for name, finding, holds in itertools.chain(matrices, *papers):
        word = {True: "verified", False: "FAILED", None: "not verified"}[holds]
        print(f"{word:>12}  {name}: {finding}", flush=True)
        failed += holds is False
    if failed:
        sys.exit(f"error: {failed} of the results do not follow from their predictions")


if __name__ == "__main__":
    logging.getLogger("absl").setLevel(logging.WARNING)
    flags.DEFINE_bool("verify", False, "recompute every number from the kept predictions")
    flags.DEFINE_string("results_dir", str(RESULTS), "where results are")
    flags.DEFINE_string("data_dir", "", "folder of data sets; ATTN_DATA_DIR if unset")
    app.run(_main)
