"""The table of scores of fine-tuned networks, from results."""

from collections.abc import Mapping
from pathlib import Path

from attn_research.viewing.tables import Column, Table
from experiments.harness.paper import Paper
from experiments.harness.results import (
    cell,
    mean,
    orderings,
    read_results,
    run_cells,
    write_tables,
)
from experiments.tasks.text_classification.scores import measured

# GLUE's test sets have no public labels: ours are other examples, of its development sets.
_OTHER_EXAMPLES = "cola", "rte"


def write_scores(
    folder: Path, paper: Paper, published: Mapping[str, Mapping[str, float]], measures: str
) -> None:
    """Writes the table of a folder of results, beside published figures by model and data set.

    `measures` says what these figures are.
    """
    results = read_results(folder, paper.rows)
    first = next(iter(results.values()))[0]
    columns = [Column("model", ""), *(Column(title, ".4f") for title in measured([first]))]
    columns += [Column("parameters", ",.0f"), Column("epochs", ".1f")]
    columns += [Column("tokens in rows", ".3f"), Column("minutes", ".1f"), Column("seeds", "d")]
    lines = [
        {
            "model": label,
            **{title: cell(values) for title, values in measured(runs).items()},
            "epochs": cell([run["epochs"] for run in runs]),
            "tokens in rows": cell([run["about"]["padding_efficiency"] for run in runs]),
            **run_cells(runs),
        }
        for label, runs in results.items()
    ]
    data = first["config"]["data"]
    count = first["scores"]["tests"]["test"]["examples"]
    shared = first["config"]["batching"] == "packed"
    notes = [f"{count:.0f} test examples." + " Several examples share a row of a batch." * shared]
    printed = [f"{model} {found[data]}" for model, found in published.items() if data in found]
    if printed:
        examples = "the test set"
        if data in _OTHER_EXAMPLES:
            examples = "GLUE's own test set, while ours is its development set"
        notes.append(f"Published, of {examples}: {', '.join(printed)} ({measures}).")
    title = next(iter(measured([first])))
    means = {label: mean(measured(runs)[title]) for label, runs in results.items()}
    notes += orderings(means, [("fine-tuned", "from-nothing")], f"of {title}")
    write_tables(folder, paper.title, {"Scores": Table(columns, lines)}, results, notes)
