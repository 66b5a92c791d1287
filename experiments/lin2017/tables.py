"""The table of poolings of Lin et al. 2017, and where rows of attention attend, from results."""

import json
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.layers.pooling import redundancy
from attn_research.viewing import plots
from attn_research.viewing.attention_maps import Panel, attention_figure
from attn_research.viewing.tables import Column, Table
from experiments.harness.config import file_name
from experiments.harness.paper import Paper
from experiments.harness.results import (
    RUN_COLUMNS,
    cell,
    mean,
    read_results,
    row_of,
    run_cells,
    write_tables,
)
from experiments.tasks.text_classification.predictions import ATTENTION

Results = Mapping[str, list[dict]]

# Of each two rows the paper has the first above the second in accuracy, from memory: self-attention
# above other poolings, several rows above one, and the penalty above none.
ORDERINGS = (
    ("rows-penalty", "last"),
    ("rows-penalty", "mean"),
    ("rows-penalty", "max"),
    ("rows", "one-row"),
    ("rows-penalty", "one-row"),
    ("rows-penalty", "rows"),
)
MEASURES = {
    "accuracy": "accuracy", "F1": "f1", "Matthews": "matthews", "Pearson": "pearson",
    "Spearman": "spearman",
}  # fmt: skip


def report(folder: Path, paper: Paper) -> None:
    """Writes tables.md, tables.json and the pictures of what a folder holds results of."""
    results = read_results(folder, paper.rows)
    first = next(iter(results.values()))[0]["scores"]["tests"]["test"]
    measures = {title: name for title, name in MEASURES.items() if name in first}
    columns = [Column("model", ""), *(Column(f"test {title}", ".4f") for title in measures)]
    best = "dev_accuracy" if "accuracy" in first else "dev_pearson"
    columns += [Column(best.replace("_", " "), ".4f"), Column("rows", "d")]
    columns += [Column("redundancy"), Column("attends to head", ".3f")]
    columns += RUN_COLUMNS
    lines = []
    for label, runs in results.items():
        tests, config = [run["scores"]["tests"]["test"] for run in runs], runs[0]["config"]
        attends = config["pooling"] == "attention"
        found = {
            f"test {title}": cell([one[name] for one in tests]) for title, name in measures.items()
        }
        lines.append(
            {
                "model": label,
                **found,
                best.replace("_", " "): cell([run[best] for run in runs]),
                "rows": config["num_rows"] if attends else None,
                "redundancy": cell([_redundancy(folder, run) for run in runs]),
                "attends to head": cell([one.get("attends_to_head") for one in tests]),
                **run_cells(runs),
            }
        )
    columns = [c for c in columns if any(_known(line.get(c.title)) for line in lines)]
    titles = {column.title for column in columns}
    lines = [{k: v for k, v in line.items() if k in titles} for line in lines]
    table = Table(columns, lines)
    write_tables(folder, paper.title, {"Accuracy": table}, results, _notes(results, first))
    _draw(folder, results)


def _known(value) -> bool:
    return getattr(value, "value", value) is not None


def _panels(folder: Path, run: dict) -> list[dict]:
    path = folder / run["name"] / ATTENTION
    return json.loads(path.read_bytes()) if path.exists() else []


def _redundancy(folder: Path, run: dict) -> float | None:
    """The mean ‖A Aᵀ - I‖²_F over the sentences of which attention was kept.

    In float64 and rounded, so that every processor finds the number that a table has.
    """
    with jax.enable_x64(True):
        kept = [jnp.asarray(each["weights"], float) for each in _panels(folder, run)]
        return mean([round(float(redundancy(weights)), 6) for weights in kept])


def _notes(results: Results, first: Mapping[str, float]) -> list[str]:
    notes = [
        f"{first['examples']:.0f} test examples. The paper's figures are of other data: as we "
        "recall them, and have not read them again, its model has an accuracy of 80.45 on Age, "
        "64.21 on Yelp and 84.4 on SNLI, in percent.",
        "Redundancy is ‖A Aᵀ - I‖²_F, which the penalty reduces, on twelve sentences of the test "
        "set; it is 0 where each row attends to one word of its own.",
    ]
    tests = [run["scores"]["tests"]["test"] for runs in results.values() for run in runs]
    if any("attends_to_head" in test for test in tests):
        notes.append(
            "The column on the head: the fraction of the sentences in which some row attends most "
            "to the one noun that the label depends on. Several rows apart cover most words of a "
            "short sentence, so that it tells something of one row above all."
        )
    if "accuracy" in first:
        notes += _orderings(results)
    return notes


def _orderings(results: Results) -> list[str]:
    """Which of the paper's orderings came out, and which did not."""
    accuracy = {
        label: mean([run["scores"]["tests"]["test"]["accuracy"] for run in runs])
        for label, runs in results.items()
    }
    held, failed = [], []
    for above, below in ORDERINGS:
        if above in accuracy and below in accuracy:
            gap = 100 * (accuracy[above] - accuracy[below])
            (held if gap > 0 else failed).append(f"{above} over {below} ({gap:+.2f} points)")
    if not held and not failed:
        return []
    return [
        "Of the paper's orderings in accuracy, as we recall them, these came out: "
        f"{', '.join(held) or 'none'}.",
        f"These did not: {', '.join(failed) or 'none'}.",
    ]


def _draw(folder: Path, results: Results, count: int = 4) -> None:
    """`attention-ROW.png` for each row of which attention was kept, of its first seed."""
    for label, runs in results.items():
        panels = [
            Panel(
                np.array(each["weights"]),
                each["words"],
                [f"row {number + 1}" for number in range(len(each["weights"]))],
                title=f"{each['found']} (gold: {each['label']})",
            )
            for each in _panels(folder, runs[0])[:count]
        ]
        if panels and row_of(label) != "one-row":
            plots.save(attention_figure(panels), folder / f"attention-{file_name(label)}.png")
