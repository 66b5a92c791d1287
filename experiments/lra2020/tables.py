"""Accuracies of the arena by the kind of attention, from results."""

from pathlib import Path

from attn_research.viewing.tables import Column, Table
from experiments.harness import results
from experiments.harness.paper import Paper

TITLES = {
    "listops": "ListOps", "imdb": "Text", "halves": "Halves of reviews",
    "pixels": "Image", "pathfinder": "Pathfinder",
}  # fmt: skip


def report(folder: Path, paper: Paper) -> None:
    """Writes tables.md and tables.json of what a folder holds results of."""
    rows = results.read_results(folder, paper.rows)
    columns = [Column("attention", ""), Column("test accuracy, %"), Column("dev accuracy, %")]
    columns += results.RUN_COLUMNS
    data = next(iter(rows.values()))[0]["config"]["data"]
    lines = [
        {
            "attention": label,
            "test accuracy, %": results.cell(
                [100 * run["scores"]["tests"]["test"]["accuracy"] for run in runs],
                results.printed(paper, label).get(data),
            ),
            "dev accuracy, %": results.cell([100 * run["dev_accuracy"] for run in runs]),
            **results.run_cells(runs),
        }
        for label, runs in rows.items()
    ]
    first = next(iter(rows.values()))[0]
    notes = [
        f"{first['scores']['tests']['test']['examples']:.0f} test examples of at most "
        f"{first['config']['max_words']} tokens. The paper's figures are of its own networks, "
        "lengths and files; what is drawn here follows the arena's description, and halves of "
        "reviews stand in for its retrieval of articles, whose figures are of another task. The "
        "class is read at a first token, which in the row local sees layers x "
        f"{first['config']['block']} tokens of a text."
    ]
    title = TITLES.get(data, data)
    results.write_tables(folder, paper.title, {title: Table(columns, lines)}, rows, notes)
