"""The table of duplication, by what trained and what read, from results."""

from pathlib import Path

from attn_research.viewing.tables import Column, Table
from experiments.harness import results
from experiments.harness.paper import Paper

# Rounds of hashing, by the paper's name of what reads; 0 is attention to all.
READERS = {"full": 0, "LSH-8": 8, "LSH-4": 4, "LSH-2": 2, "LSH-1": 1}


def report(folder: Path, paper: Paper) -> None:
    """Writes tables.md and tables.json of what a folder holds results of."""
    rows = results.read_results(folder, paper.rows)
    lines = []
    for label, runs in rows.items():
        figures = results.printed(paper, label)
        accuracies = {
            name: results.cell([100 * _accuracy(run, name) for run in runs], figures.get(name))
            for name in READERS
        }
        lines.append(
            {
                "trained": label,
                **accuracies,
                **results.run_cells(runs),
            }
        )
    columns = [Column("trained", ""), *(Column(name, ".1f") for name in READERS)]
    columns += results.RUN_COLUMNS
    task = next(iter(rows.values()))[0]["config"]
    notes = [
        f"Accuracy in percent of the symbols of the second word, in sequences of {task['length']} "
        f"tokens with {task['symbols']} symbols, read with attention to all, or with 8, 4, 2 and 1 "
        "rounds of hashing. The paper's sequences have 1,024 tokens."
    ]
    table = Table(columns, lines)
    results.write_tables(folder, paper.title, {"Duplication": table}, rows, notes)


def _accuracy(run: dict, reader: str) -> float:
    return run["scores"]["tests"][reader]["accuracy"]
