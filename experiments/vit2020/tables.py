"""The table and pictures of `experiments.vit2020`, drawn from its results."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from attn_research.data.images import ImageSet
from attn_research.evaluation.rollout import rollout
from attn_research.layers.convolution import ResidualStem
from attn_research.models.vit import ViT
from attn_research.types import Array, Float, PyTree
from attn_research.viewing import plots
from attn_research.viewing.image_maps import ImageMaps, image_figure
from attn_research.viewing.tables import Column, Table
from experiments import reporting
from experiments.paper import Row
from experiments.reporting import cell


def report(
    folder: Path, title: str, rows: Mapping[str, Row], published: Mapping[str, float]
) -> None:
    """Writes the tables of what a folder holds results of.

    `published` are the paper's accuracies on CIFAR-10, in percent.
    """
    results = reporting.read_results(folder, rows)
    columns = [Column("model", ""), Column("layers", "d"), Column("D", "d"), Column("MLP", "d")]
    columns += [Column("heads", "d"), Column("stem", ""), Column("patch", "d")]
    columns += [Column("parameters", ",.0f")]
    columns += [Column("test accuracy", ".4f"), Column("epochs", ".1f"), Column("minutes", ".1f")]
    columns += [Column("seeds", "d")]
    lines = []
    for row, runs in results.items():
        config = runs[0]["config"]
        found = [run["scores"]["tests"]["test"]["accuracy"] for run in runs]
        printed = published.get(row) if config["data"] == "cifar10" else None
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
                    [run["parameters"] for run in runs], rows[row].paper.get("params")
                ),
                "test accuracy": cell(found, printed and printed / 100),
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
    tables = {"Accuracy": Table(columns, lines)}
    reporting.write_tables(folder, title, tables, results, notes)


def _stem(config: Mapping[str, Any]) -> str | None:
    """Blocks and channels of each stage; None where there is no stem."""
    if not config.get("stem_stages"):  # results older than stems have no such knob
        return None
    stem = ResidualStem(config["stem_width"], config["stem_stages"], config["stem_blocks"])
    return ", ".join(f"{stem.blocks} x {width}" for width in stem.widths)


def draw_maps(
    network: ViT, params: PyTree, data: ImageSet, images: Float[Array, "B H W C"], path: Path
) -> None:
    """Where the class token looks in a few test images: by rollout, and by head, last layer."""
    if network.pooling != "class":
        return
    weights = network.apply(params, images, capture="all").weights
    side = network.grid(data.images.shape[1:3])
    maps = [
        ImageMaps(
            image,
            {"rollout": rollout(np.asarray(one))[0, 1:].reshape(side)}
            | {
                f"head {head + 1}": np.asarray(one[-1, head, 0, 1:]).reshape(side)
                for head in range(one.shape[1])
            },
            data.classes[label],
        )
        for image, label, one in zip(data.images, data.labels, weights, strict=True)
    ]
    plots.save(image_figure(maps), path)
