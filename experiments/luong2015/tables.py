"""Tables 1, 4 and 6 and Figures 5 to 7 of Luong, Pham, Manning 2015, from results."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from attn_research.viewing import plots
from attn_research.viewing.tables import Column, Table
from experiments.harness.paper import Paper
from experiments.harness.results import (
    cell,
    mean,
    mean_curve,
    printed,
    read_results,
    row_of,
    write_tables,
)
from experiments.tasks.translation.maps import draw_alignments

Results = Mapping[str, list[dict]]

# The systems of Table 1 in its order, as it names them.
TABLE_1 = {
    "base": "base",
    "reverse": "base + reverse",
    "dropout": "base + reverse + dropout",
    "location-no-feed": "base + reverse + dropout + global (location)",
    "location": "base + reverse + dropout + global (location) + feed",
    "local-p-general": "base + reverse + dropout + local-p (general) + feed",
    "ensemble": "ensemble of 8",
}
TABLE_4 = {
    "location": "global (location)",
    "dot": "global (dot)",
    "general": "global (general)",
    "concat": "global (concat)",
    "additive": "global (additive)",
    "local-m-dot": "local-m (dot)",
    "local-m-general": "local-m (general)",
    "local-p-dot": "local-p (dot)",
    "local-p-general": "local-p (general)",
}
# Of each two rows the paper has the first above the second in BLEU.
ORDERINGS = (
    ("reverse", "base"),
    ("dropout", "reverse"),
    ("location-no-feed", "dropout"),
    ("location", "location-no-feed"),
    ("local-p-general", "location"),
    ("dot", "location"),
    ("dot", "general"),
    ("local-m-general", "general"),
    ("local-p-general", "local-p-dot"),
    ("local-p-general", "local-m-general"),
    ("ensemble", "local-p-general"),
)


def report(folder: Path, paper: Paper) -> None:
    """Writes tables.md, tables.json and the pictures of what a folder holds results of."""
    results = read_results(folder, paper.rows)
    tests = list(next(iter(results.values()))[0]["scores"]["tests"])
    tables = {}
    for test in tests:
        tables[f"Table 1, {test}"] = _bleu_table(results, paper, test, TABLE_1)
        tables[f"Table 4, {test}"] = _bleu_table(results, paper, test, TABLE_4)
        if any("aer" in run["scores"]["tests"][test] for runs in results.values() for run in runs):
            tables[f"Table 6, {test}"] = _alignment_table(results, paper, test)
    tables = {name: table for name, table in tables.items() if table.rows}
    notes = _orderings(results, tests[0])
    write_tables(folder, paper.title, tables, results, notes)
    _draw(folder, results, tests[0])
    draw_alignments(folder, results, "figure7")


def _named(results: Results, names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(label, the table's name of it) of the results of some rows, in the table's order."""
    for row, name in names.items():
        for label in results:
            if row_of(label) == row:
                yield label, name + label.removeprefix(row)


def _bleu_table(results: Results, paper: Paper, test: str, names: Mapping[str, str]) -> Table:
    columns = [Column("system", ""), Column("dev ppl"), Column("BLEU")]
    columns += [Column("unk replaced"), Column("40+ words"), Column("seeds", "d")]
    lines = []
    for label, name in _named(results, names):
        there = printed(paper, label)
        found = [run["scores"]["tests"][test] for run in results[label]]
        losses = [run.get("dev_loss") for run in results[label]]
        lines.append(
            {
                "system": name,
                "dev ppl": cell([x and math.exp(x) for x in losses], there.get("ppl")),
                "BLEU": cell([one["bleu"] for one in found], there.get("bleu")),
                "unk replaced": cell(
                    [one.get("bleu_replaced") for one in found], there.get("replaced")
                ),
                "40+ words": cell([one.get("bleu_40") for one in found]),
                "seeds": len(found),
            }
        )
    return Table(columns, lines)


def _alignment_table(results: Results, paper: Paper, test: str) -> Table:
    columns = [Column("system", ""), Column("AER", ".3f"), Column("soft AER", ".3f")]
    columns += [Column("precision", ".3f"), Column("recall", ".3f"), Column("BLEU")]
    columns += [Column("seeds", "d")]
    lines = []
    names = TABLE_4 | {"ensemble": TABLE_1["ensemble"]}
    for label, name in _named(results, names):
        found = [run["scores"]["tests"][test] for run in results[label]]
        if any("aer" in one for one in found):
            numbers = {"AER": "aer", "soft AER": "soft_aer", "BLEU": "bleu"}
            numbers |= {"precision": "precision", "recall": "recall"}
            there = {"AER": printed(paper, label).get("aer")}
            cells = {
                title: cell([one.get(key) for one in found], there.get(title))
                for title, key in numbers.items()
            }
            lines.append({"system": name, **cells, "seeds": len(found)})
    return Table(columns, lines)


def _orderings(results: Results, test: str) -> list[str]:
    """Which of the paper's orderings came out, and which did not."""
    bleu = {
        row: mean([run["scores"]["tests"][test]["bleu"] for run in runs])
        for row, runs in results.items()
    }
    held, failed = [], []
    for above, below in ORDERINGS:
        if above in bleu and below in bleu:
            gap = f"{above} over {below} ({bleu[above] - bleu[below]:+.2f})"
            (held if bleu[above] > bleu[below] else failed).append(gap)
    if not held and not failed:
        return []
    return [
        f"Of the paper's orderings in BLEU these came out on {test}: {', '.join(held) or 'none'}.",
        f"These did not: {', '.join(failed) or 'none'}.",
    ]


def _draw(folder: Path, results: Results, test: str) -> None:
    """Figure 5, development perplexity over training, and Figure 6, BLEU by source length."""
    learning, lengths = [], []
    for row, runs in results.items():
        curves = [run["learning"] for run in runs if "learning" in run]
        if row in TABLE_1 and curves:
            learning.append(mean_curve(row, curves))
        if row in ("dropout", "location", "dot", "local-m-general", "local-p-general", "ensemble"):
            curves = [run["scores"]["tests"][test]["curve"] for run in runs]
            lengths.append(mean_curve(row, curves))
    if learning:
        figure = plots.learning_figure(
            learning, x_label="updates", y_label="development loss per token (nats)"
        )
        plots.save(figure, folder / "figure5.png")
    if lengths:
        plots.save(plots.length_figure(lengths, training_lengths=(50,)), folder / "figure6.png")
