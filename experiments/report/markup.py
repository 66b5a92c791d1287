"""Parts of a page: tables, figures, and texts in which nothing is read as HTML."""

import html
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from experiments.report.shown import Cell, ShownTable


class Mark(NamedTuple):
    """What is said of a cell: a class of page.css, and words below the cell."""

    kind: str
    words: str = ""


Marks = Mapping[tuple[int, int], Mark]


def escape(text: Any) -> str:
    """A text as HTML shows it."""
    return html.escape(str(text))


def table(
    shown: ShownTable, marks: Marks | None = None, *, about: str = "", caption: str = ""
) -> str:
    """A table of results: the paper's figure below ours, and marks of some cells in words too."""
    kinds = [_is_text(column) for column in zip(*shown.rows, strict=True)] or [True]
    # The first column names the rows.
    heads = "".join(
        f'<th scope="col"{_of_text(is_text or not place)}>{escape(title) or _unseen("row")}</th>'
        for place, (title, is_text) in enumerate(itertools.zip_longest(shown.columns, kinds))
    )
    lines = []
    for y, row in enumerate(shown.rows):
        cells = [
            _cell(cell, (marks or {}).get((y, x)), first=not x, is_text=kinds[x])
            for x, cell in enumerate(row)
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    title = caption or shown.name
    return grid(title, heads, "".join(lines), about=about)


def grid(title: str, heads: str, lines: str, *, about: str = "") -> str:
    """A table of header cells and rows in HTML, in a region that scrolls by keyboard too."""
    more = f" <span>{about}</span>" if about else ""
    return (
        f'<div class="scroll" role="group" aria-label="{escape(title)}" tabindex="0"><table>'
        f"<caption>{escape(title)}{more}</caption><thead><tr>{heads}</tr></thead>"
        f"<tbody>{lines}</tbody></table></div>"
    )


def simple_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of text, whose cells are HTML already and whose first ones name their rows."""
    heads = "".join(f'<th scope="col" class="text">{escape(name)}</th>' for name in columns)
    lines = []
    for first, *others in rows:
        cells = "".join(f'<td class="text">{cell}</td>' for cell in others)
        lines.append(f'<tr><th scope="row">{first}</th>{cells}</tr>')
    return grid(title, heads, "".join(lines))


def _cell(cell: Cell, mark: Mark | None, *, first: bool, is_text: bool) -> str:
    text = escape(cell.text)
    if cell.paper is not None:
        text += f"<small>paper {escape(cell.paper)}</small>"
    if mark is not None and mark.words:
        text += f'<small class="note">{escape(mark.words)}</small>'
    if first:
        return f'<th scope="row">{text}</th>'
    kinds = [mark.kind] if mark is not None else []
    kinds += ["text"] if is_text else []
    return f"<td{_classes(kinds)}>{text}</td>"


def _is_text(column: Sequence[Cell]) -> bool:
    """Whether a column is of words; long ones are set flush left."""
    return any(isinstance(cell.value, str) and len(cell.text) > 14 for cell in column)


def _of_text(is_text: bool) -> str:
    return ' class="text"' if is_text else ""


def _classes(kinds: Sequence[str]) -> str:
    return f' class="{" ".join(kinds)}"' if kinds else ""


def _unseen(text: str) -> str:
    return f'<span class="unseen">{escape(text)}</span>'


def figure(image: tuple[str, int, int], text: str, caption: str) -> str:
    """A picture with the text that stands for it, and its caption."""
    source, width, height = image
    return (
        f'<figure><img src="{source}" width="{width}" height="{height}" alt="{escape(text)}" '
        f'loading="lazy"><figcaption>{escape(caption)}</figcaption></figure>'
    )


def code(text: str, label: str) -> str:
    """A block of code, which scrolls by keyboard too."""
    return (
        f'<pre tabindex="0" role="group" aria-label="{escape(label)}">'
        f"<code>{escape(text)}</code></pre>"
    )


def paragraph(text: str) -> str:
    """A paragraph of Markdown as tables.md has it: code between backticks, indented blocks."""
    lines = text.splitlines()
    if all(line.startswith("    ") for line in lines if line):
        return code("\n".join(line[4:] for line in lines), "Sample")
    parts = re.split(r"`([^`]+)`", text)
    shown = [f"<code>{escape(x)}</code>" if i % 2 else escape(x) for i, x in enumerate(parts)]
    return f"<p>{''.join(shown)}</p>"


def anchor(text: str) -> str:
    """A name for a place in the page."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")
