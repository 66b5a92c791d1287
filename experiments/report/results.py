"""Results of a paper in a page: tables, runs, learning curves and figures of each folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from attn_research.data.files import shorten
from experiments.report.checking import Verified
from experiments.report.collect import Folder, RunLine
from experiments.report.comparing import Move
from experiments.report.markup import (
    Mark,
    anchor,
    escape,
    figure,
    paragraph,
    simple_table,
    table,
)
from experiments.report.pictures import data_uri, draw_curves
from experiments.report.shown import ShownTable

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def show_folder(
    folder: Folder,
    verified: Verified | None,
    moves: Sequence[Move],
    *,
    shown_before: Sequence[Path] = (),
) -> str:
    """A folder of results; figures that the page has shown before are not shown again."""
    name = folder.name
    parts = [f'<h3 id="{anchor(name)}">{escape(name)}</h3>']
    for each in folder.tables:
        marks = marks_of(each, name, moves)
        about = ""
        if verified is not None:
            wrong = verified.wrong.get((name, each.name), {})
            marks |= {
                place: Mark("wrong", f"its predictions give {text}")
                for place, text in wrong.items()
            }
            about = _said(folder, verified, len(wrong))
        parts.append(table(each, marks, about=about))
    parts += map(paragraph, folder.notes)
    parts.append(_runs(folder, verified))
    if folder.curves:
        title = f"Learning curves of {name}"
        parts += ["<h4>Learning curves</h4>", f"<div>{draw_curves(folder.curves, title)}</div>"]
    else:
        parts.append("<p>No learning curve of these runs was kept.</p>")
    figures = [path for path in folder.figures if path not in shown_before]
    if figures:
        shown = "".join(
            figure(data_uri(path), f"{_title(path, folder)} of {name}", _title(path, folder))
            for path in figures
        )
        parts += ["<h4>Figures</h4>", f'<div class="gallery">{shown}</div>']
    return "".join(parts)


def marks_of(shown: ShownTable, folder: str, moves: Sequence[Move]) -> dict:
    """The marks of the cells that moved since an older report."""
    found = {}
    for move in moves:
        if move[:2] != (folder, shown.name):
            continue
        column, count = shown.columns.index(move.column), 0
        for y, row in enumerate(shown.rows):
            if str(row[0].value) == move.row:
                if count == move.number:
                    found[y, column] = Mark("moved", f"was {value_text(move.before)}")
                count += 1
    return found


def value_text(value: object) -> str:
    """A value of a cell, as short as it can be read."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "nothing" if value is None else str(value)


def _title(path: Path, folder: Folder) -> str:
    """The name of a figure, from that of its file."""
    words = path.relative_to(folder.path).with_suffix("").as_posix()
    return words.replace("figure", "Figure ", 1) if words.startswith("figure") else words


def _said(folder: Folder, verified: Verified, wrong: int) -> str:
    """What verification found of a table, in words beside its title."""
    if wrong:
        cells = "1 cell is" if wrong == 1 else f"{wrong} cells are"
        return f'<b class="state wrong">{cells} not what the predictions give</b>'
    states = [verified.checks[path].finding[2] for run in folder.runs for path in run.files]
    if all(state is None for state in states):
        return "not verified: the data are absent"
    if None in states:
        return "as the predictions give it, where the data are at hand"
    return '<b class="state good">as the predictions give it</b>'


def _runs(folder: Folder, verified: Verified | None) -> str:
    """A line for each command, and where it was measured, by letter."""
    places = list(dict.fromkeys((run.machine, run.data) for run in folder.runs))
    letters = dict(zip(places, _letters(len(places)), strict=True))
    columns = ["row", "seeds", "minutes", "parameters", "where", "command"]
    columns += [] if verified is None else ["scores"]
    rows = [
        [
            escape(run.label),
            ", ".join(map(str, run.seeds)),
            f"{run.minutes:.1f}",
            f"{run.parameters:,}",
            letters[run.machine, run.data],
            f"<code>{escape(run.command)}</code>",
            *([] if verified is None else [_state(run, verified)]),
        ]
        for run in folder.runs
    ]
    where = "".join(
        f"<li><b>{letters[place]}</b> {escape(place[0])}; data SHA-256 {escape(place[1])}</li>"
        for place in places
    )
    return (
        simple_table("Runs", columns, rows)
        + f'<ul class="machines" aria-label="Where it was measured">{where}</ul>'
    )


def _letters(count: int) -> list[str]:
    return [_LETTERS[i] if i < 26 else str(i + 1) for i in range(count)]


def _state(run: RunLine, verified: Verified) -> str:
    """What verification found of the runs of a line; of several, the worst."""
    findings = [verified.checks[path].finding for path in run.files]
    for _, text, holds in findings:
        if holds is False:
            return f'<b class="state wrong">differ</b><small>{escape(shorten(text, 300))}</small>'
    if any(holds is None for _, _, holds in findings):
        return "not verified"
    return '<span class="state good">recomputed</span>'


def count_beside(folders: Sequence[Folder]) -> int:
    """The number of cells that stand beside a figure of the paper."""
    tables = [each for folder in folders for each in folder.tables]
    return sum(cell.paper is not None for each in tables for row in each.rows for cell in row)


def by_paper(folders: Sequence[Folder]) -> Mapping[str, list[Folder]]:
    """Folders by the name of their paper; a second experiment of a paper belongs to it."""
    found: dict[str, list[Folder]] = {}
    for folder in folders:
        found.setdefault(folder.paper.name.partition(".")[0], []).append(folder)
    return found
