"""Verification for a report: scores computed again, and the cells of tables that they change."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.harness.verify import Check, Find, check_results, tables_again
from experiments.report.collect import Folder
from experiments.report.shown import Cell, ShownTable, read_tables

# By (row, column) of a table, what stands there when scores are computed again.
Wrong = dict[tuple[int, int], str]


class Verified(NamedTuple):
    """What verification found: of each result file, and of the cells of tables by folder."""

    checks: dict[Path, Check]
    wrong: dict[tuple[str, str], Wrong]
    seconds: float

    def count(self, holds: bool | None) -> int:
        """The number of result files that were found so; None: not verified, for lack of data."""
        return sum(check.finding[2] is holds for check in self.checks.values())

    def failed(self) -> bool:
        """Whether a result file or a cell is not what its predictions give."""
        return bool(self.count(False) or any(self.wrong.values()))


def verify_folders(folders: Sequence[Folder], find: Find, data_dir: str) -> Verified:
    """The verification of folders: scores from kept predictions, and tables from those scores."""
    began = time.perf_counter()
    checks = dict(check_results([folder.path for folder in folders], find, data_dir))
    wrong = {}
    for folder in folders:
        scores = {
            path: check.scores
            for path, check in checks.items()
            if path.parent == folder.path and check.scores is not None
        }
        files = tables_again(folder.path, find, scores)
        plain = json.loads(files["tables.json"])
        again = {each.name: each for each in read_tables(files["tables.md"].decode(), plain)}
        for table in folder.tables:
            found = _changed(table, again.get(table.name))
            if found:
                wrong[folder.name, table.name] = found
    return Verified(checks, wrong, time.perf_counter() - began)


def _changed(table: ShownTable, again: ShownTable | None) -> Wrong:
    """The cells that are others when they are computed again; of another shape, all of them."""
    places = [(y, x) for y, row in enumerate(table.rows) for x in range(len(row))]
    if again is None or [len(row) for row in again.rows] != [len(row) for row in table.rows]:
        return dict.fromkeys(places, "no such cell")
    return {
        (y, x): _told(table.rows[y][x], again.rows[y][x])
        for y, x in places
        if table.rows[y][x].plain != again.rows[y][x].plain
    }


def _told(cell: Cell, again: Cell) -> str:
    """The text of a cell, or its value where rounding hides the difference."""
    if again.text != cell.text or not isinstance(again.value, float):
        return again.text
    return f"{again.value:.8g}"
