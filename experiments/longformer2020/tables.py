"""Bits per character by the windows of the layers, from results."""

from pathlib import Path

from attn_research.viewing.tables import Column, Table
from experiments.harness.paper import Paper
from experiments.harness.results import (
    cell,
    mean,
    orderings,
    printed,
    read_results,
    test_sets,
    write_tables,
)

# In each pair the paper's first has more bits per character than its second (table 4).
ORDERINGS = (("decreasing", "fixed"), ("fixed", "increasing"), ("increasing", "increasing-dilated"))


def report(folder: Path, paper: Paper) -> None:
    """Writes tables.md and tables.json of what a folder holds results of."""
    results = read_results(folder, paper.rows)
    (name,) = test_sets(results)

    def bits(run: dict) -> float:
        return run["scores"]["tests"][name]["strided"]["bits_per_character"]

    columns = [Column("windows", ""), Column("smallest", "d"), Column("largest", "d")]
    columns += [Column("bits per character", ".3f"), Column("dev loss", ".4f")]
    columns += [Column("parameters", ",.0f"), Column("minutes", ".1f"), Column("seeds", "d")]
    lines = []
    for label, runs in results.items():
        config = runs[0]["config"]
        windowed = config["windows"] != "none"
        lines.append(
            {
                "windows": label,
                "smallest": config["smallest"] if windowed else None,
                "largest": config["largest"] if windowed else None,
                "bits per character": cell(
                    map(bits, runs), printed(paper, label).get("bits_per_character")
                ),
                "dev loss": cell([run["dev_loss"] for run in runs]),
                "parameters": cell([run["parameters"] for run in runs]),
                "minutes": cell([run["seconds"] / 60 for run in runs]),
                "seeds": len(runs),
            }
        )
    found = {label: mean(map(bits, runs)) for label, runs in results.items()}
    notes = [
        f"The text is {name}; every character has at least half a context before it, where there "
        "is so much. Windows count the tokens before one; all rows but full have the same sum of "
        "them. The paper's figures are of text8 with windows from 32 to 512.",
        *orderings(found, ORDERINGS, "bits"),
    ]
    write_tables(folder, paper.title, {"Language modelling": Table(columns, lines)}, results, notes)
