"""Table and figure of needles found by their distance from the end, from results."""

from pathlib import Path

from attn_research.viewing import plots
from attn_research.viewing.plots import Curve
from attn_research.viewing.tables import Column, Table
from experiments.harness import results
from experiments.harness.paper import Paper

BIN = 8  # distances of a point of the figure
STEP = 3  # tokens from key to key of the dilated window


def report(folder: Path, paper: Paper) -> None:
    """Writes tables.md, tables.json and reach.png of what a folder holds results of."""
    rows = results.read_results(folder, paper.rows)
    columns = [Column("network", ""), Column("layers", "d"), Column("window", "d")]
    columns += [Column("reach", "d"), Column("found within"), Column("found beyond")]
    columns += results.RUN_COLUMNS
    lines, curves = [], []
    for label, runs in rows.items():
        config = runs[0]["config"]
        reach = reach_of(config)
        lines.append(
            {
                "network": label,
                "layers": config["num_layers"],
                "window": None if config["pattern"] == "full" else config["window"],
                "reach": reach,
                "found within": results.cell([_found(run, 0, reach + 1) for run in runs]),
                "found beyond": results.cell(
                    [_found(run, reach + 1, config["length"]) for run in runs]
                ),
                **results.run_cells(runs),
            }
        )
        curves.append(_curve(f"{label}, reach {reach}", runs[0]))
    config = next(iter(rows.values()))[0]["config"]
    notes = [
        f"The needle is one of {config['symbols']} symbols, anywhere before the end of "
        f"{config['length']} tokens: chance finds {1 / config['symbols']:.2f} of them. The reach "
        f"is layers x window, times {STEP} where keys are {STEP} apart; within are distances up to "
        "it."
    ]
    results.write_tables(folder, paper.title, {"Needles": Table(columns, lines)}, rows, notes)
    figure = plots.learning_figure(curves, x_label="tokens before the end", y_label="needles found")
    plots.save(figure, folder / "reach.png")


def reach_of(config: dict) -> int:
    """The tokens before the last that it may depend on, by the rule of layers times window."""
    step = {
        "full": config["length"],
        "window": config["window"],
        "dilated": STEP * config["window"],
    }
    return min(config["length"] - 1, config["num_layers"] * step[config["pattern"]])


def _found(run: dict, least: int, below: int) -> float | None:
    """The fraction of the needles in a range of distances that were found."""
    every = run["scores"]["tests"]["test"]["by_distance"]
    counts = [each for each in every if least <= each[0] < below]
    total = sum(count for *_, count in counts)
    return sum(found for _, found, _ in counts) / total if total else None


def _curve(label: str, run: dict) -> Curve:
    edges = range(0, run["config"]["length"], BIN)
    found = [_found(run, low, low + BIN) for low in edges]
    return Curve(label, [low + BIN / 2 for low in edges], found)
