"""Accuracies on long documents, from results."""

from pathlib import Path

from attn_research.viewing.tables import Column, Table
from experiments.harness.paper import Paper
from experiments.harness.results import RUN_COLUMNS, cell, read_results, run_cells, write_tables


def report(folder: Path, paper: Paper) -> None:
    """Writes tables.md and tables.json of what a folder holds results of."""
    results = read_results(folder, paper.rows)
    columns = [Column("encoder", ""), Column("tokens read", ",.0f")]
    columns += [Column("test accuracy", ".4f"), Column("dev accuracy", ".4f"), *RUN_COLUMNS]
    lines = [
        {
            "encoder": label,
            "tokens read": runs[0]["config"]["max_words"],
            "test accuracy": cell([run["scores"]["tests"]["test"]["accuracy"] for run in runs]),
            "dev accuracy": cell([run["dev_accuracy"] for run in runs]),
            **run_cells(runs),
        }
        for label, runs in results.items()
    ]
    first = next(iter(results.values()))[0]
    notes = [
        f"{first['scores']['tests']['test']['examples']:.0f} test texts of "
        f"{first['config']['min_words']} words or more. Tokens read are the most of a text."
    ]
    write_tables(folder, paper.title, {"Documents": Table(columns, lines)}, results, notes)
