"""Scores by what is trained, by rank and place of low-rank updates, from results."""

from pathlib import Path

from attn_research.viewing.tables import Column, Table
from experiments.harness.paper import Paper
from experiments.harness.results import cell, mean, read_results, write_tables
from experiments.tasks.text_classification.scores import measured


def report(folder: Path, paper: Paper) -> None:
    """Writes the table of a folder of results."""
    results = read_results(folder, paper.rows)
    first = next(iter(results.values()))[0]
    columns = [Column("model", ""), *(Column(title, ".4f") for title in measured([first]))]
    columns += [Column("trained", ",.0f"), Column("of all, %", ".2f"), Column("minutes", ".1f")]
    columns += [Column("seeds", "d")]
    lines = []
    for label, runs in results.items():
        trained = [run.get("trained_parameters", run["parameters"]) for run in runs]
        lines.append(
            {
                "model": label,
                **{title: cell(values) for title, values in measured(runs).items()},
                "trained": cell(trained),
                "of all, %": cell(
                    [100 * n / run["parameters"] for n, run in zip(trained, runs, strict=True)]
                ),
                "minutes": cell([run["seconds"] / 60 for run in runs]),
                "seeds": len(runs),
            }
        )
    notes = [
        "The trained parameters are those of the updates and of the heads after the last block, "
        "which are new for every task.",
        *ordering(results),
    ]
    write_tables(folder, paper.title, {"Scores": Table(columns, lines)}, results, notes)


def ordering(results: dict[str, list[dict]]) -> list[str]:
    """Whether low-rank updates are within a point of full fine-tuning: Table 2 of the paper."""
    updated = [row for row in results if row.startswith("lora")]
    if "full" not in results or not updated:
        return []
    title = next(iter(measured(results["full"])))
    full = mean(measured(results["full"])[title])
    gaps = {row: 100 * (mean(measured(results[row])[title]) - full) for row in updated}
    return [
        f"Points of {title} above full fine-tuning: "
        + ", ".join(f"{row} {gap:+.2f}" for row, gap in gaps.items())
        + ". Within a point, as the paper has it: "
        + (", ".join(row for row, gap in gaps.items() if gap > -1) or "none")
        + "."
    ]
