"""Scores of fine-tuned encoders, from results."""

from pathlib import Path

from attn_research.viewing.tables import Column, Table
from experiments.harness.paper import Paper
from experiments.harness.results import cell, read_results, run_cells, write_tables
from experiments.tasks.text_classification.scores import measured

# GLUE's test sets, as printed: Devlin et al. 2018 of base, Turc et al. 2019 of the sizes below.
# F1 of MRPC, Spearman of STS-B, Matthews of CoLA, else accuracy.
PUBLISHED = {
    "tiny": {"sst2_phrases": 83.2, "cola": 0.0, "rte": 57.2},
    "mini": {"sst2_phrases": 85.9, "cola": 0.0, "rte": 57.9},
    "small": {"sst2_phrases": 89.7, "cola": 27.8, "rte": 61.8},
    "medium": {"sst2_phrases": 89.6, "cola": 38.0, "rte": 62.2},
    "base": {"sst2_phrases": 93.5, "cola": 52.1, "rte": 66.4, "mrpc": 88.9, "stsb": 85.8},
}


def report(folder: Path, paper: Paper) -> None:
    """Writes the table of a folder of results."""
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
    printed = [f"BERT-{size} {found[data]}" for size, found in PUBLISHED.items() if data in found]
    if printed:
        notes.append(
            "Published, of GLUE's own test set, which has no public labels, so that they are of "
            f"other examples than ours: {', '.join(printed)} (F1 of MRPC, Spearman of STS-B, "
            "Matthews of CoLA, else accuracy)."
        )
    write_tables(folder, paper.title, {"Scores": Table(columns, lines)}, results, notes)
