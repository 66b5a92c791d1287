"""Bits per character by the windows of the layers, from results."""

from pathlib import Path

from attn_research.viewing.tables import Column, Table
from experiments.harness import results
from experiments.harness.paper import Paper

# In each pair the paper's first has more bits per character than its second (table 4).
ORDERINGS = (("decreasing", "fixed"), ("fixed", "increasing"), ("increasing", "increasing-dilated"))


def report(folder: Path, paper: Paper) -> None:
    """Writes tables.md and tables.json of what a folder holds results of."""
    rows = results.read_results(folder, paper.rows)
    (name,) = results.test_sets(rows)

    def bits(run: dict) -> float:
        return run["scores"]["tests"][name]["strided"]["bits_per_character"]

    columns = [Column("windows", ""), Column("smallest", "d"), Column("largest", "d")]
    columns += [Column("bits per character", ".3f"), Column("dev loss", ".4f")]
    columns += results.RUN_COLUMNS
    lines = []
    for label, runs in rows.items():
        config = runs[0]["config"]
        windowed = config["windows"] != "none"
        lines.append(
            {
                "windows": label,
                "smallest": config["smallest"] if windowed else None,
                "largest": config["largest"] if windowed else None,
                "bits per character": results.cell(
                    map(bits, runs), results.printed(paper, label).get("bits_per_character")
                ),
                "dev loss": results.cell([run["dev_loss"] for run in runs]),
                **results.run_cells(runs),
            }
        )
    found = {label: results.mean(map(bits, runs)) for label, runs in rows.items()}
    notes = [
        f"The text is {name}; every character has at least half a context before it, where there "
        "is so much. Windows count the tokens before one; all rows but full have the same sum of "
        "them. The paper's figures are of text8 with windows from 32 to 512.",
        *results.orderings(found, ORDERINGS, "bits"),
    ]
    results.write_tables(
        folder, paper.title, {"Language modelling": Table(columns, lines)}, rows, notes
    )
