"""Masked words by the pattern of attention, from results."""

import itertools
from pathlib import Path

from attn_research.viewing.tables import Column, Table
from experiments.harness import results
from experiments.harness.paper import Paper

# The order of the paper's table 1, from the most to the fewest masked words.
ORDER = ("full", "random-window", "random", "window")


def report(folder: Path, paper: Paper) -> None:
    """Writes tables.md and tables.json of what a folder holds results of."""
    rows = results.read_results(folder, paper.rows)
    (name,) = results.test_sets(rows)
    filled = {
        label: [100 * run["scores"]["tests"][name]["filled_accuracy"] for run in runs]
        for label, runs in rows.items()
    }
    columns = [Column("attention", ""), Column("keys", "d"), Column("blank filled", ".1f")]
    columns += [Column("dev perplexity"), *results.RUN_COLUMNS]
    lines = [
        {
            "attention": label,
            "keys": keys_of(runs[0]["config"]),
            "blank filled": results.cell(
                filled[label], results.printed(paper, label).get("accuracy")
            ),
            "dev perplexity": results.cell([run["dev_perplexity"] for run in runs]),
            **results.run_cells(runs),
        }
        for label, runs in rows.items()
    ]
    context = next(iter(rows.values()))[0]["config"]["context"]
    notes = [
        f"Rows have {context} tokens, those of the paper's figures 512. Keys are those that a "
        "token attends to, of a block in the middle; the first and last block of bigbird attend to "
        "all. A blank is one masked word, in percent found.",
        *results.orderings(
            {label: results.mean(values) for label, values in filled.items()},
            itertools.pairwise(ORDER),
            "points",
        ),
    ]
    results.write_tables(folder, paper.title, {"Masked words": Table(columns, lines)}, rows, notes)


def keys_of(config: dict) -> int:
    """The keys of a query in the middle of a row."""
    pattern, context = config["pattern"], config["context"]
    if pattern == "full":
        return context
    blocks = {
        "random": 1 + config["random_blocks"],
        "window": config["window_blocks"],
        "random_window": config["window_blocks"] + config["random_blocks"],
        "bigbird": config["window_blocks"] + config["random_blocks"] + 2,
    }
    return min(context, blocks[pattern] * config["block"])
