"""Comparison of a report with an older one: the cells that moved by more than the seeds' spread."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from experiments.report.measurements import read_conformance, read_measurements
from experiments.report.shown import ShownTable

# By the name of a folder or file, tables by name as tables.json has them.
Tables = Mapping[str, Mapping[str, Any]]
_EMBEDDED = re.compile(r'<script type="application/json" id="report">(.*?)</script>', re.DOTALL)


class Move(NamedTuple):
    """A cell that moved, and the spread over seeds that it moved by more than.

    Its row is the `number`-th, from 0, of those with that label.
    """

    folder: str
    table: str
    row: str
    number: int
    column: str
    before: Any
    now: Any
    spread: float | None


class Difference(NamedTuple):
    """The cells that moved, and what is in one report alone."""

    moves: list[Move]
    new: list[str]
    gone: list[str]


def read_older(path: Path) -> Tables:
    """The tables of an older report, or of an older folder of results; ValueError for neither."""
    if path.is_dir():
        found = read_all_tables(path)
        if not found:
            raise ValueError(f"--diff={path}: no tables of results are there")
        return found
    if not path.exists():
        raise ValueError(f"--diff={path}: there is no such file; name a report or a folder")
    text = path.read_text("utf-8", errors="replace")
    embedded = _EMBEDDED.search(text)
    try:
        return json.loads(embedded[1] if embedded else text)["tables"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"--diff={path}: it has no data of a report: name an HTML file that "
            "experiments.report wrote, or a folder of results"
        ) from None


def read_all_tables(root: Path) -> dict[str, dict[str, Any]]:
    """Every table in a folder of results."""
    found = {
        path.parent.relative_to(root).as_posix(): json.loads(path.read_bytes())
        for path in sorted(root.rglob("tables.json"))
    }
    for folder in ("benchmarks", "published"):
        for each in read_measurements(root, folder):
            found[each.name] = _plain(each.tables)
    conformance = read_conformance(root)
    return found | ({"conformance": _plain(conformance.tables)} if conformance else {})


def _plain(tables: list[ShownTable]) -> dict[str, Any]:
    return {table.name: table.plain() for table in tables}


def compare(before: Tables, now: Tables) -> Difference:
    """The cells of `now` that moved since `before`, and the rows that one of them has alone.

    A cell moved if its value changed by more than the larger deviation over seeds, before or now;
    of one seed there is none, and any change counts.
    """
    old, new = dict(_cells(before)), dict(_cells(now))
    moves = []
    for place in new.keys() & old.keys():
        found = _moved(old[place], new[place])
        if found is not None:
            folder, table, (row, number), column = place
            values = _value(old[place]), _value(new[place])
            moves.append(Move(folder, table, row, number, column, *values, found[0]))
    # In the order of the report.
    order = {place: i for i, place in enumerate(dict.fromkeys(p[:2] for p in new))}
    moves.sort(key=lambda move: (order[move[:2]], move[2:5]))
    return Difference(moves, _rows(new.keys() - old.keys()), _rows(old.keys() - new.keys()))


def _cells(tables: Tables) -> Iterator[tuple[tuple, Any]]:
    """((folder, table, (label of the row, its number among those), column), cell) of each."""
    for folder, by_name in tables.items():
        for name, table in by_name.items():
            seen: dict[str, int] = {}
            first, *columns = table["columns"]
            for row in table["rows"]:
                label = str(_value(row.get(first)))
                number = seen[label] = seen.get(label, -1) + 1
                for column in columns:
                    yield (folder, name, (label, number), column), row.get(column)


def _value(cell: Any) -> Any:
    return cell["value"] if isinstance(cell, dict) else cell


def _moved(before: Any, now: Any) -> tuple[float | None] | None:
    """The spread that a cell moved by more than, in a tuple; None where it did not move."""
    old, new = _value(before), _value(now)
    if old == new:
        return None
    if not all(isinstance(x, int | float) for x in (old, new)):
        return (None,)
    known = [cell.get("deviation") for cell in (before, now) if isinstance(cell, dict)]
    spread = max((x for x in known if x is not None), default=None)
    return (spread,) if spread is None or abs(new - old) > spread else None


def _rows(places: Any) -> list[str]:
    return sorted({f"{folder}, {table}: {label}" for folder, table, (label, _), _ in places})
