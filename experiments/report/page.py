"""A report as one HTML file: the history, results beside the papers', and all that was measured."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from attn_research.data.files import shorten
from attn_research.viewing.page import embedded, palette, policy_hash
from experiments.report.checking import Verified
from experiments.report.collect import Folder
from experiments.report.comparing import Difference, Move, read_all_tables
from experiments.report.history import Entry, History, mask_matrix
from experiments.report.markup import (
    anchor,
    code,
    escape,
    figure,
    simple_table,
    table,
)
from experiments.report.mathml import to_mathml
from experiments.report.measured import show_conformance, show_measurements
from experiments.report.pictures import data_uri, draw_mask
from experiments.report.results import by_paper, count_beside, show_folder, value_text

STYLE = Path(__file__).with_name("page.css")


class Report(NamedTuple):
    """What a page is made of; without `folders` it is the history alone."""

    root: Path
    history: History
    folders: Sequence[Folder]
    verified: Verified | None = None
    difference: Difference | None = None
    since: str = ""
    complete: bool = True

    @property
    def moves(self) -> Sequence[Move]:
        """The cells that moved since an older report."""
        return self.difference.moves if self.difference else []


def make_page(report: Report) -> str:
    """The HTML of a report."""
    papers = [entry.name for entry in report.history.papers]
    found = by_paper(report.folders)
    others = [name for name in found if name not in papers] if report.complete else []
    sections = [_introduction(report)]
    if report.complete:
        sections.append(_overview(report, found, [*papers, *others]))
    for entry in report.history.papers:
        sections.append(_paper(report, entry, found.get(entry.name, [])))
    for name in others:
        title = found[name][0].paper.title
        shown = _results(report, found[name], [])
        sections.append(f'<section><h2 id="{anchor(name)}">{escape(title)}</h2>{shown}</section>')
    if report.complete:
        sections.append(show_conformance(report.root, report.moves))
        sections += show_measurements(report.root, report.moves)
    body = "".join(sections)
    style = palette() + STYLE.read_text("utf-8")
    title = report.history.title if not report.complete else "Attention: report"
    data = ""
    if report.complete:
        content = {"version": 1, "tables": read_all_tables(report.root)}
        data = f'<script type="application/json" id="report">{embedded(content)}</script>'
    policy = f"default-src 'none'; img-src data:; style-src '{policy_hash(style)}'; base-uri 'none'"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body>"
        '<a class="skip" href="#content">To the content</a><div class="frame">'
        f"{_contents(report, found, others)}<div><header>{_head(report, title)}</header>"
        f'<main id="content">{body}</main></div></div>{data}</body></html>\n'
    )


def _head(report: Report, title: str) -> str:
    made = "python -m experiments.report" + ("" if report.complete else " --page=history")
    parts = [f"<h1>{escape(title)}</h1>"]
    if not report.complete:
        return parts[0] + f'<p class="quiet">Made by <code>{made}</code>.</p>'
    runs = sum(len(run.seeds) for folder in report.folders for run in folder.runs)
    cells = count_beside(report.folders)
    parts.append(
        f"<p>{len(by_paper(report.folders))} papers with results, {len(report.folders)} data sets "
        f"and scales, {runs} runs; {cells} cells stand beside the paper's own figure. The paper's "
        "figures are of its own data, ours of the data named: compare orders and differences. "
        f'<span class="quiet">Made by <code>{made}</code>.</span></p>'
    )
    return "".join(parts)


def _contents(report: Report, found: Mapping[str, list[Folder]], others: Sequence[str]) -> str:
    def link(target: str, text: str, inner: str = "") -> str:
        return f'<li><a href="#{anchor(target)}">{escape(text)}</a>{inner}</li>'

    def below(name: str) -> str:
        links = "".join(link(folder.name, folder.path.name) for folder in found.get(name, []))
        return f"<ul>{links}</ul>" if links and report.complete else ""

    links = [link("verification", "Verification")] if report.verified else []
    links += [link("moved", "What moved")] if report.difference else []
    links += [link("introduction", "Attention")]
    links += [link("papers", "Papers")] if report.complete else []
    for entry in report.history.papers:
        links.append(link(entry.name, f"{entry.year} {_family(entry)}", below(entry.name)))
    links += [link(name, name, below(name)) for name in others]
    if report.complete:
        links += [link("conformance", "Conformance"), link("speeds", "Speeds")]
        links += [link("published", "Published checkpoints")]
    return f'<nav aria-label="Contents"><p>Contents</p><ul>{"".join(links)}</ul></nav>'


def _family(entry: Entry) -> str:
    """The family name of the first author."""
    return entry.authors.split(",")[0].split()[-1]


def _introduction(report: Report) -> str:
    told = report.history
    shown = _verification(report) + _moved(report)
    return (
        f'{shown}<section><h2 id="introduction">Attention</h2><p>{escape(told.text)}</p>'
        f"{code(told.example, 'Example')}<p>It prints</p>{code(told.output, 'Output')}"
        f"<p>{escape(told.after)}</p></section>"
    )


def _verification(report: Report) -> str:
    verified = report.verified
    if verified is None:
        return ""
    cells = sum(map(len, verified.wrong.values()))
    failed = [check.finding for check in verified.checks.values() if check.finding[2] is False]
    absent = verified.count(None)
    parts = [
        '<section><h2 id="verification">Verification</h2>',
        f"<p>Of {len(verified.checks)} result files, every score of {verified.count(True)} was "
        f"computed again from its predictions and is the same; {len(failed)} differ; {absent} "
        "could not be verified, because their data are absent. It took "
        f"{verified.seconds:.0f} seconds.</p>",
    ]
    if verified.failed():
        parts.append(
            f'<p class="state wrong">{cells} cells of tables are not what the predictions give; '
            "they are marked.</p>"
        )
        rows = [[escape(name), escape(shorten(text, 300))] for name, text, _ in failed]
        parts.append(simple_table("Result files that differ", ["result", "what differs"], rows))
    return "".join([*parts, "</section>"])


def _moved(report: Report) -> str:
    difference = report.difference
    if difference is None:
        return ""
    rows = [
        [
            f'<a href="#{anchor(move.folder)}">{escape(move.folder)}</a>',
            escape(move.table),
            escape(move.row),
            escape(move.column),
            escape(value_text(move.before)),
            escape(value_text(move.now)),
            "one seed" if move.spread is None else f"{move.spread:.3g}",
        ]
        for move in difference.moves
    ]
    columns = ["folder", "table", "row", "column", "before", "now", "spread of seeds"]
    parts = [
        f'<section><h2 id="moved">Moved since {escape(report.since)}</h2>'
        f"<p>{len(rows)} cells moved by more than the spread of their seeds; of a cell of one seed "
        f"any change counts. {len(difference.new)} rows are new, {len(difference.gone)} are "
        "gone.</p>"
    ]
    parts += [simple_table("Cells that moved", columns, rows)] if rows else []
    for title, names in (("New rows", difference.new), ("Rows that are gone", difference.gone)):
        if names:
            parts.append(f"<h3>{title}</h3><ul>")
            parts += [f"<li>{escape(name)}</li>" for name in names] + ["</ul>"]
    return "".join([*parts, "</section>"])


def _overview(report: Report, found: Mapping[str, list[Folder]], names: Sequence[str]) -> str:
    entries = {entry.name: entry for entry in report.history.papers}
    rows = []
    for name in names:
        folders, entry = found.get(name, []), entries.get(name)
        data = ", ".join(
            f'<a href="#{anchor(folder.name)}">{escape(folder.path.name)}</a>' for folder in folders
        )
        seeds = sum(len(run.seeds) for folder in folders for run in folder.runs)
        rows.append(
            [
                f'<a href="#{anchor(name)}">{escape(name)}</a>',
                escape(entry.question if entry else folders[0].paper.title),
                data or "no committed results yet",
                str(seeds or ""),
                str(count_beside(folders) or ""),
            ]
        )
    columns = ["paper", "question", "results", "runs", "cells beside the paper's"]
    shown = simple_table("Papers in their order", columns, rows)
    return f'<section><h2 id="papers">Papers</h2>{shown}</section>'


def _paper(report: Report, entry: Entry, folders: Sequence[Folder]) -> str:
    """A paper: its question, equation, code and command, beside its picture and numbers."""
    left = [f"<p>{escape(entry.text)}</p>"]
    if entry.equation:
        left += [to_mathml(entry.equation), f'<p class="where">{escape(entry.where)}</p>']
    lines = "".join(
        f"<dt>{escape(line.path)}:{line.number}, <code>{escape(line.symbol)}</code></dt>"
        f"<dd>{code(line.text, f'Line of {line.symbol}')}</dd>"
        for line in entry.code
    )
    left += [f'<dl class="code">{lines}</dl>', code(entry.command, "Command")]
    right, picture = [], report.root / entry.picture
    if entry.picture and picture.exists():
        right.append(figure(data_uri(picture), entry.caption, f"{entry.caption} {entry.picture}"))
    elif entry.mask:
        drawn = draw_mask(mask_matrix(entry.mask), entry.caption)
        right.append(f"<figure>{drawn}<figcaption>{escape(entry.caption)}</figcaption></figure>")
    left += _chosen(entry, folders)
    if not folders:
        left.append('<p class="quiet">No results are committed yet.</p>')
    shown = _results(report, folders, [picture] if entry.picture else [])
    return (
        f'<section><h2 id="{anchor(entry.name)}">{entry.year}: {escape(entry.question)}</h2>'
        f'<p class="byline">{escape(entry.authors)}. <cite>{escape(entry.title)}</cite></p>'
        f'<div class="paper"><div>{"".join(left)}</div><div class="side">{"".join(right)}</div>'
        f"</div>{shown if report.complete else ''}</section>"
    )


def _chosen(entry: Entry, folders: Sequence[Folder]) -> list[str]:
    """Some rows of a committed table, and what they are measured on."""
    choice = entry.table
    if choice is None:
        return []
    for folder in folders:
        for each in folder.tables:
            if (folder.name, each.name) == (choice.folder, choice.name):
                chosen = each.choose(choice.rows, choice.columns)
                title = f"{choice.folder}, {choice.name}"
                return [table(chosen, caption=title), f'<p class="where">{escape(entry.data)}</p>']
    return []


def _results(report: Report, folders: Sequence[Folder], pictures: Sequence[Path]) -> str:
    return "".join(
        show_folder(folder, report.verified, report.moves, shown_before=pictures)
        for folder in folders
    )
