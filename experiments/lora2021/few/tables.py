"""Accuracy by the number of labelled sentences, a line for each method, from results."""

from pathlib import Path

from attn_research.viewing import plots
from attn_research.viewing.plots import Curve
from attn_research.viewing.tables import Column, Table
from experiments.harness.paper import Paper
from experiments.harness.results import (
    RUN_COLUMNS,
    cell,
    mean,
    orderings,
    read_results,
    run_cells,
    write_tables,
)


def report(folder: Path, paper: Paper) -> None:
    """Writes tables.md, tables.json and few.png of what a folder holds results of."""
    results = read_results(folder, paper.rows)
    columns = [Column("model", ""), Column("sentences", ",.0f"), Column("test accuracy", ".4f")]
    columns += [Column("dev accuracy", ".4f"), *RUN_COLUMNS]
    lines, curves = [], {}
    for label, runs in results.items():
        config = runs[0]["config"]
        tests = cell([run["scores"]["tests"]["test"]["accuracy"] for run in runs])
        lines.append(
            {
                "model": label,
                "sentences": config["num_labelled"],
                "test accuracy": tests,
                "dev accuracy": cell([run["dev_accuracy"] for run in runs]),
                **run_cells(runs),
            }
        )
        point = config["num_labelled"], tests.value, tests.deviation or 0.0
        curves.setdefault(config["method"], []).append(point)
    notes = [
        "Sentences are drawn by the seed. The parameters are those of the best accuracy on the "
        "whole development set. The bars of the picture are deviations over seeds.",
        *ordering(results),
    ]
    write_tables(folder, paper.title, {"Scores": Table(columns, lines)}, results, notes)
    figure = plots.sizes_figure(
        [Curve(method, *zip(*points, strict=True)) for method, points in curves.items()],
        x_label="labelled sentences",
        y_label="test accuracy",
    )
    plots.save(figure, folder / "few.png")


def ordering(results: dict[str, list[dict]]) -> list[str]:
    """Whether low-rank updates are ahead, as the paper finds on parts of MNLI."""
    means = {
        label: mean(run["scores"]["tests"]["test"]["accuracy"] for run in runs)
        for label, runs in results.items()
    }
    pairs = [(label, label.replace("lora", "full")) for label in means if label.startswith("lora")]
    return orderings(means, pairs, "of test accuracy")
