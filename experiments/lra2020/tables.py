"""Accuracies of the arena by the kind of attention, from results."""

import dataclasses
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from attn_research.viewing.tables import Column, Table
from experiments.harness import results
from experiments.harness.paper import Paper
from experiments.tasks.text_classification.config import LabelledTextConfig
from experiments.tasks.text_classification.data import examples

TITLES = {
    "listops": "ListOps", "imdb": "Text", "halves": "Halves of reviews",
    "pixels": "Image", "pathfinder": "Pathfinder",
}  # fmt: skip


def by_first_operator(values: dict[str, Any]) -> float:
    """The accuracy, in percent, of the commonest value of lists with the same first operator."""
    names = (field.name for field in dataclasses.fields(LabelledTextConfig))
    config = LabelledTextConfig(**{name: values[name] for name in names if name in values})
    values_of = defaultdict(Counter)
    for each in examples(config, "dev"):
        values_of[each.texts[0].split()[0]][each.label] += 1
    guess = {operator: counts.most_common(1)[0][0] for operator, counts in values_of.items()}
    test = examples(config, "test")
    right = sum(guess.get(each.texts[0].split()[0]) == each.label for each in test)
    return round(100 * right / len(test), 2)


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
    if data == "listops":
        expected = by_first_operator(first["config"])
        lines.append({"attention": "the first operator alone", "test accuracy, %": expected})
    notes = [
        f"{first['scores']['tests']['test']['examples']:.0f} test examples of at most "
        f"{first['config']['max_words']} tokens. The paper's figures are of its own networks, "
        "lengths and files; what is drawn here follows the arena's description, and halves of "
        "reviews stand in for its retrieval of articles, whose figures are of another task. The "
        "class is read at a first token, which in the row local sees layers x "
        f"{first['config']['block']} tokens of a text."
    ]
    if data == "listops":
        notes.append(
            "The first operator alone: the commonest value of development lists that begin with "
            "it, which a network finds without reading on."
        )
    title = TITLES.get(data, data)
    results.write_tables(folder, paper.title, {title: Table(columns, lines)}, rows, notes)
