"""Tables as a report shows them: values, as in tables.json, with their texts, as in tables.md."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from attn_research.viewing.tables import Table, to_dict, to_markdown

# A cell of tables.json: a bare value, or {"value", "deviation", "paper"} of which some are there.
Plain = Any


class Cell(NamedTuple):
    """The text of a cell, that of the paper's figure beside it, and the value itself."""

    text: str
    paper: str | None
    plain: Plain

    @property
    def value(self) -> Any:
        """The value, unrounded."""
        return self.plain["value"] if isinstance(self.plain, dict) else self.plain

    @property
    def deviation(self) -> float | None:
        """The deviation over seeds, where there are several."""
        return self.plain.get("deviation") if isinstance(self.plain, dict) else None


class ShownTable(NamedTuple):
    """A named table: titles of columns, and rows of cells."""

    name: str
    columns: list[str]
    rows: list[list[Cell]]

    def plain(self) -> dict[str, Any]:
        """The table as tables.json has it."""
        rows = [
            {title: cell.plain for title, cell in zip(self.columns, row, strict=True)}
            for row in self.rows
        ]
        return {"columns": self.columns, "rows": rows}

    def choose(self, rows: list[str], columns: list[str]) -> "ShownTable":
        """Some rows, by their first cell, and some columns; ValueError where one is absent."""
        by_label = {row[0].text: row for row in self.rows}
        unknown = [each for each in rows if each not in by_label]
        unknown += [each for each in columns if each not in self.columns]
        if unknown:
            raise ValueError(f"the table {self.name!r} has no {', '.join(map(repr, unknown))}")
        places = [0, *map(self.columns.index, columns)]
        chosen = [[by_label[label][place] for place in places] for label in rows]
        return ShownTable(self.name, [self.columns[place] for place in places], chosen)


def shown(name: str, table: Table) -> ShownTable:
    """A table as a report shows it."""
    return _join(name, to_dict(table), _texts(to_markdown(table).splitlines()))


def read_tables(markdown: str, plain: dict[str, Any]) -> Iterator[ShownTable]:
    """The tables of a folder of results, from the text of tables.md and what tables.json holds."""
    sections = dict(section.split("\n", 1) for section in markdown.split("\n## ")[1:])
    for name, table in plain.items():
        yield _join(name, table, _texts(sections.get(name, "").splitlines()))


def read_notes(markdown: str) -> list[str]:
    """The paragraphs of tables.md that are no tables, before its list of runs."""
    before = markdown.partition("\n## Runs\n")[0]
    paragraphs = re.split(r"\n{2,}", before)
    return [each for each in paragraphs if each.strip() and not re.match(r"[#|]", each)]


def read_folder(folder: Path, plain: dict[str, Any]) -> list[ShownTable]:
    """The tables of a folder of results, whose tables.json holds `plain`."""
    path = folder / "tables.md"
    return list(read_tables(path.read_text("utf-8") if path.exists() else "", plain))


def _texts(lines: list[str]) -> list[list[str]]:
    """The cells of the rows of a Markdown table, without its heading."""
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines if line.startswith("|")]
    return [[cell.strip().replace("\\|", "|") for cell in row] for row in rows[2:]]


def _join(name: str, plain: dict[str, Any], texts: list[list[str]]) -> ShownTable:
    """Values with their texts, or written plainly where the texts are of another table."""
    columns, rows = plain["columns"], plain["rows"]
    fits = len(texts) == len(rows) and all(len(row) == len(columns) for row in texts)
    cells = [
        [_cell(row.get(title), texts[y][x] if fits else None) for x, title in enumerate(columns)]
        for y, row in enumerate(rows)
    ]
    return ShownTable(name, columns, cells)


def _cell(plain: Plain, text: str | None) -> Cell:
    paper = plain.get("paper") if isinstance(plain, dict) else None
    if text is None:
        value = plain["value"] if isinstance(plain, dict) else plain
        return Cell(_show(value), None if paper is None else _show(paper), plain)
    if paper is not None and (found := re.fullmatch(r"(.*) \(paper (.*)\)", text)):
        return Cell(found[1], found[2], plain)
    return Cell(text, None, plain)


def _show(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "–" if value is None else str(value)
