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
    """Writes tables.md and tables.json of what a folder holds results of, of needles reach.png."""
    rows = results.read_results(folder, paper.rows)
    config = next(iter(rows.values()))[0]["config"]
    needles = config["data"] == "needle"
    columns = [Column("network", ""), Column("layers", "d"), Column("window", "d")]
    columns += [Column("reach", "d")]
    columns += map(Column, ("found within", "found beyond", "found") if needles else ("copied",))
    columns += [Column("predicted", ".3f")]
    lines = [
        {
            "network": label,
            "layers": runs[0]["config"]["num_layers"],
            "window": _window(runs[0]["config"]),
            "reach": reach_of(runs[0]["config"]),
            **(_found_cells(runs) if needles else _copied_cells(runs)),
            "predicted": predicted(runs[0]),
            **results.run_cells(runs),
        }
        for label, runs in rows.items()
    ]
    reach = (
        "The reach is layers x window; where the upper layers have keys that are "
        f"{STEP} apart, these reach {STEP} times as far."
    )
    chance = f"chance finds {1 / config['symbols']:.2f}"
    reach += " Predicted is what is found by that rule: all within, and beyond by chance."
    notes = [
        f"The needle is one of {config['symbols']} symbols, anywhere before the end of "
        f"{config['length']} tokens: {chance} of them. {reach} Within are distances up to it."
        if needles
        else f"Each of {config['symbols']} symbols is predicted again {config['distance']} tokens "
        f"later: {chance}. {reach}"
    ]
    table = Table([*columns, *results.RUN_COLUMNS], lines)
    title = "Needles" if needles else "Copies"
    results.write_tables(folder, paper.title, {title: table}, rows, notes)
    if not needles:
        return
    curves = [
        _curve(f"{label}, reach {reach_of(r[0]['config'])}", r[0]) for label, r in rows.items()
    ]
    figure = plots.learning_figure(curves, x_label="tokens before the end", y_label="needles found")
    plots.save(figure, folder / "reach.png")


def reach_of(config: dict) -> int:
    """The tokens before the last that it may depend on, by the rule of layers times window."""
    most, (layers, window) = config["length"] - 1, (config["num_layers"], config["window"])
    if config["pattern"] == "full":
        return most
    upper = STEP if config["pattern"] == "dilated" else 1
    return min(most, window + (layers - 1) * upper * window)


def predicted(run: dict) -> float:
    """The fraction that is found where all within the reach is, and beyond it by chance."""
    config, reach = run["config"], reach_of(run["config"])
    chance = 1 / config["symbols"]
    if config["data"] != "needle":
        return 1.0 if config["distance"] <= reach else chance
    counts = run["scores"]["tests"]["test"]["by_distance"]
    total = sum(count for *_, count in counts)
    within = sum(count for distance, _, count in counts if distance <= reach) / total
    return within + (1 - within) * chance


def _window(config: dict) -> int | None:
    return None if config["pattern"] == "full" else config["window"]


def _found_cells(runs: list[dict]) -> dict:
    reach, length = reach_of(runs[0]["config"]), runs[0]["config"]["length"]
    return {
        "found within": results.cell([_found(run, 0, reach + 1) for run in runs]),
        "found beyond": results.cell([_found(run, reach + 1, length) for run in runs]),
        "found": results.cell([_found(run, 0, length) for run in runs]),
    }


def _copied_cells(runs: list[dict]) -> dict:
    return {"copied": results.cell([run["scores"]["tests"]["test"]["accuracy"] for run in runs])}


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
