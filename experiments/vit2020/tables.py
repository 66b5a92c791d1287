"""Tables 1 and 5 of Dosovitskiy et al. 2020, from results."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attn_research.layers.convolution import ResidualStem
from attn_research.viewing.tables import Column, Table
from experiments.harness.paper import Paper
from experiments.harness.results import cell, printed, read_results, write_tables

# Top-1 accuracy on CIFAR-10 after training on ImageNet, at 384 pixels: the paper's Table 5, in
# percent.
PAPER_CIFAR_10 = {"B/16": 98.13, "B/32": 97.77, "L/16": 97.86, "L/32": 97.94}


def report(folder: Path, paper: Paper) -> None:
    """Writes the table of accuracies of what a folder holds results of."""
    results = read_results(folder, paper.rows)
    columns = [Column("model", ""), Column("layers", "d"), Column("D", "d"), Column("MLP", "d")]
    columns += [Column("heads", "d"), Column("stem", ""), Column("patch", "d")]
    columns += [Column("parameters", ",.0f")]
    columns += [Column("test accuracy", ".4f"), Column("lossy", "")]
    columns += [Column("epochs", ".1f"), Column("minutes", ".1f"), Column("seeds", "d")]
    lines = []
    for row, runs in results.items():
        config = runs[0]["config"]
        tests = [run["scores"]["tests"]["test"] for run in runs]
        lossy = sorted({one["lossy"] for one in tests if "lossy" in one})
        there = PAPER_CIFAR_10.get(row) if config["data"] == "cifar10" else None
        lines.append(
            {
                "model": row,
                "layers": config["num_layers"],
                "D": config["model_dim"],
                "MLP": config["mlp_dim"],
                "heads": config["num_heads"],
                "stem": _stem(config),
                "patch": config["patch"],
                "parameters": cell(
                    [run["parameters"] for run in runs], printed(paper, row).get("params")
                ),
                "test accuracy": cell([one["accuracy"] for one in tests], there and there / 100),
                "lossy": ", ".join(lossy) or None,
                "epochs": cell([run["epochs"] for run in runs]),
                "minutes": cell([run["seconds"] / 60 for run in runs]),
                "seeds": len(runs),
            }
        )
    notes = [
        "The paper's 0.9813 for B/16 on CIFAR-10 is of a model of 86M parameters trained on 1.3 "
        "million images of ImageNet, then on CIFAR-10 at 384 pixels (its Table 5); here a small "
        "one sees the images of this data set alone, at their own size.",
    ]
    if any(line["stem"] for line in lines):
        notes.append(
            "A stem is a residual network, here the blocks and channels of each of its stages; "
            "patches are then of its feature map, as the paper's hybrids have them (section 3.1)."
        )
    if any(line["lossy"] for line in lines):
        notes.append(
            "An accuracy on a lossy copy of the data set, in which something of the images is "
            "lost, differs a little from that on the data set of its authors."
        )
    else:
        columns = [column for column in columns if column.title != "lossy"]
        lines = [{k: v for k, v in line.items() if k != "lossy"} for line in lines]
    tables = {"Accuracy": Table(columns, lines)}
    write_tables(folder, paper.title, tables, results, notes)


def _stem(config: Mapping[str, Any]) -> str | None:
    """Blocks and channels of each stage; None where there is no stem."""
    if not config.get("stem_stages"):  # results older than stems have no such setting
        return None
    stem = ResidualStem(config["stem_width"], config["stem_stages"], config["stem_blocks"])
    return ", ".join(f"{stem.blocks} x {width}" for width in stem.widths)
