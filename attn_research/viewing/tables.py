"""Result tables: rows and columns to aligned Markdown and to a plain dictionary for JSON."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

Value = float | int | str | None


@dataclasses.dataclass(frozen=True)
class Cell:
    """A value with, where known, its deviation over runs and the figure that the paper printed."""

    value: Value
    deviation: float | int | None = None
    paper: Value = None


@dataclasses.dataclass(frozen=True)
class Column:
    """A column's title and the format, a Python format specification, of all its numbers."""

    title: str
    format: str = ".2f"


@dataclasses.dataclass(frozen=True)
class Table:
    """Columns and rows; a row maps column titles to cells or bare values, absent ones are None."""

    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Cell | Value]]

    def __post_init__(self):
        titles = [column.title for column in self.columns]
        if len(set(titles)) < len(titles):
            raise ValueError(f"column titles must differ; got {titles}")
        for index, row in enumerate(self.rows):
            if unknown := [title for title in row if title not in titles]:
                raise ValueError(f"row {index} names {unknown}; the columns are {titles}")
            for title in row:
                if not all(map(_is_showable, dataclasses.astuple(_cell(row, title)))):
                    raise ValueError(f"row {index}, column {title!r} is not finite: {row[title]}")


def to_markdown(table: Table) -> str:
    """A Markdown table with aligned bars, the first column flush left and the others right.

    None shows as –, a deviation as `31.20 ± 0.30`, a paper's figure as `31.20 (paper 26.75)`.
    """
    lines = [[column.title for column in table.columns]]
    lines += [[_text(_cell(row, c.title), c.format) for c in table.columns] for row in table.rows]
    lines = [[text.replace("|", "\\|") for text in line] for line in lines]
    widths = [max(3, *map(len, texts)) for texts in zip(*lines, strict=True)]
    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    padded = [
        [line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]
        for line in [lines[0], rule, *lines[1:]]
    ]
    return "".join("| " + " | ".join(line) + " |\n" for line in padded)


def to_dict(table: Table) -> dict:
    """The table as JSON holds it, unrounded: column titles, and a row as title to cell fields.

    A cell with nothing but a value is the bare value.
    """
    return {
        "columns": [column.title for column in table.columns],
        "rows": [
            {column.title: _plain(_cell(row, column.title)) for column in table.columns}
            for row in table.rows
        ],
    }


def _cell(row: Mapping[str, Cell | Value], title: str) -> Cell:
    entry = row.get(title)
    return entry if isinstance(entry, Cell) else Cell(entry)


def _is_showable(value: Value) -> bool:
    return value is None or isinstance(value, str) or math.isfinite(value)


def _text(cell: Cell, spec: str) -> str:
    def show(value: Value) -> str:
        if value is None:
            return "–"
        return value if isinstance(value, str) else format(value, spec)

    deviation = "" if cell.deviation is None else f" ± {show(cell.deviation)}"
    paper = "" if cell.paper is None else f" (paper {show(cell.paper)})"
    return show(cell.value) + deviation + paper


def _plain(cell: Cell) -> Value | dict[str, Value]:
    beside = {"deviation": cell.deviation, "paper": cell.paper}
    beside = {name: value for name, value in beside.items() if value is not None}
    return {"value": cell.value, **beside} if beside else cell.value
