"""Conformance, speeds and published checkpoints in a page."""

from collections.abc import Sequence
from pathlib import Path

from experiments.report.comparing import Move
from experiments.report.markup import Mark, anchor, escape, figure, table
from experiments.report.measurements import Measurement, read_conformance, read_measurements
from experiments.report.pictures import data_uri
from experiments.report.results import marks_of
from experiments.report.shown import ShownTable


def show_conformance(root: Path, moves: Sequence[Move]) -> str:
    """The conformance matrix: how many cases of each implementation pass."""
    found = read_conformance(root)
    if found is None:
        return '<section><h2 id="conformance">Conformance</h2><p>Not measured here.</p></section>'
    parts = [
        '<section><h2 id="conformance">Conformance</h2>',
        "<p>Every implementation of attention is compared with float64 NumPy, context, weights and "
        f"gradients. Of {found.cases:,} cases {found.passed:,} pass, {found.refused:,} are refused "
        f"by name, and <b>{len(found.wrong)} are wrong</b>. An implementation refuses what it does "
        "not support; another one computes it then.</p>",
        f"<p><code>{escape(found.command)}</code></p>",
    ]
    parts += [
        table(each, _shades(each) | marks_of(each, "conformance", moves)) for each in found.tables
    ]
    bounds = "".join(f"<li>{escape(line)}</li>" for line in found.bound)
    parts.append(f"<p>An entry x passes within:</p><ul>{bounds}</ul>")
    parts += [f'<p class="state wrong">{escape(line)}</p>' for line in found.wrong]
    return "".join([*parts, f'<p class="quiet">{escape(found.machine)}</p></section>'])


def _shades(shown: ShownTable) -> dict[tuple[int, int], Mark]:
    """Marks of the cells in which all cases pass, none does, or one is wrong."""
    marks = {}
    for y, row in enumerate(shown.rows):
        for x, cell in enumerate(row[1:], 1):
            passed, _, total = cell.text.partition(" of ")
            if "wrong" in cell.text:
                marks[y, x] = Mark("wrong")
            elif passed in ("0", total):
                marks[y, x] = Mark("none" if passed == "0" else "all")
    return marks


def show_measurements(root: Path, moves: Sequence[Move]) -> list[str]:
    """Speeds by machine, and what published checkpoints gave."""
    speeds = read_measurements(root, "benchmarks")
    parts = [
        '<section><h2 id="speeds">Speeds</h2>',
        "<p>A ratio is the peer's time by ours, the median over interleaved rounds on one machine: "
        'above 1 this code is faster. Where a peer is ahead the cell says so. "one-device" and '
        '"huge-pages" are this code in another setting.</p>',
    ]
    machines = dict.fromkeys(each.machine for each in speeds)
    for machine in machines:
        here = [each for each in speeds if each.machine == machine]
        parts.append(f'<h3 id="{anchor(machine)}">{escape(machine)}</h3>')
        ahead, count = _count_ahead(here)
        if count:
            parts.append(f"<p>Peers are ahead in {ahead} of {count} ratios.</p>")
        parts += [_show(each, moves, "h4") for each in here]
    for path in sorted((root / "benchmarks").rglob("*.png")):
        title = path.stem.replace("_", " ")
        parts.append(figure(data_uri(path), title, title))
    published = read_measurements(root, "published")
    shown = (
        "".join(_show(each, moves, "h3") for each in published) or "<p>None is measured here.</p>"
    )
    title = '<section><h2 id="published">Published checkpoints</h2>'
    return ["".join([*parts, "</section>"]), f"{title}{shown}</section>"]


def _show(found: Measurement, moves: Sequence[Move], level: str) -> str:
    tables = "".join(
        table(each, _ahead(each, found) | marks_of(each, found.name, moves))
        for each in found.tables
    )
    return (
        f"<{level}>{escape(found.path.stem.replace('_', ' '))}</{level}>"
        f"<p><code>{escape(found.command)}"
        f'</code><br><span class="quiet">{escape(found.versions())}</span></p>{tables}'
    )


def _ahead(shown: ShownTable, found: Measurement) -> dict[tuple[int, int], Mark]:
    """Marks of the ratios below 1."""
    columns = [shown.columns.index(name) for name in found.ratios[shown.name]]
    return {
        (y, x): Mark("ahead", "peer ahead")
        for y, row in enumerate(shown.rows)
        for x in columns
        if isinstance(row[x].value, float) and row[x].value < 1
    }


def _count_ahead(measurements: Sequence[Measurement]) -> tuple[int, int]:
    """The number of ratios below 1, and of all."""
    ahead = count = 0
    for found in measurements:
        for shown in found.tables:
            ahead += len(_ahead(shown, found))
            columns = [shown.columns.index(name) for name in found.ratios[shown.name]]
            count += sum(row[x].value is not None for row in shown.rows for x in columns)
    return ahead, count
