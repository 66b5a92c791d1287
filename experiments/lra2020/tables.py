"""Accuracies of the arena by the kind of attention, from results."""

from pathlib import Path

from attn_research.viewing.tables import Column, Table
from experiments.harness.paper import Paper
from experiments.harness.results import cell, printed, read_results, write_tables

TITLES = {
    "listops": "ListOps", "imdb": "Text", "halves": "Halves of reviews",
    "pixels": "Image", "pathfinder": "Pathfinder",
}  # fmt: skip


def report(folder: Path, paper: Paper) -> None:
    """Writes tables.md and tables.json of what a folder holds results of."""
    results = read_results(folder, paper.rows)
    columns = [Column("attention", ""), Column("test accuracy, %"), Column("dev accuracy, %")]
    columns += [Column("parameters", ",.0f"), Column("minutes", ".1f"), Column("seeds", "d")]
    data = next(iter(results.values()))[0]["config"]["data"]
    lines = [
        {
            "attention": label,
            "test accuracy, %": cell(
                [100 * run["scores"]["tests"]["test"]["accuracy"] for run in runs],
                printed(paper, label).get(data),
            ),
            "dev accuracy, %": cell([100 * run["dev_accuracy"] for run in runs]),
            "parameters": cell([run["parameters"] for run in runs]),
            "minutes": cell([run["seconds"] / 60 for run in runs]),
            "seeds": len(runs),
        }
        for label, runs in results.items()
    ]
    first = next(iter(results.values()))[0]
    notes = [
        f"{first['scores']['tests']['test']['examples']:.0f} test examples of at most "
        f"{first['config']['max_words']} tokens. The paper's figures are of its own networks, "
        "lengths and files; what is drawn here follows the arena's description, and halves of "
        "reviews stand in for its retrieval of articles."
    ]
    title = TITLES.get(data, data)
    write_tables(folder, paper.title, {title: Table(columns, lines)}, results, notes)
