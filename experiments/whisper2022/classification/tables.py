"""Accuracies of spoken words, over seeds and over held-out speakers, from results."""

from pathlib import Path

from attn_research.viewing.tables import Column, Table
from experiments.harness import results
from experiments.harness.paper import Paper


def report(folder: Path, paper: Paper) -> None:
    """Writes tables.md and tables.json of what a folder holds results of."""
    rows = results.read_results(folder, paper.rows)
    columns = [Column("network", ""), Column("test accuracy", ".4f"), Column("dev accuracy", ".4f")]
    columns += [Column("test sounds", "d"), *results.RUN_COLUMNS]
    lines, speakers = [], {}
    for label, runs in rows.items():
        tests = [run["scores"]["tests"]["test"] for run in runs]
        held_out = tests[0].get("speaker")
        paper_has = results.printed(paper, label).get(runs[0]["config"]["data"])
        lines.append(
            {
                "network": label,
                "test accuracy": results.cell([one["accuracy"] for one in tests], paper_has),
                "dev accuracy": results.cell([run["dev_accuracy"] for run in runs]),
                "test sounds": tests[0]["sounds"],
                **results.run_cells(runs),
            }
        )
        if held_out:
            changed = [x for x in label.split(", ")[1:] if not x.startswith("held_out_speaker=")]
            name = ", ".join([runs[0]["config"]["network"], *changed])
            row = speakers.setdefault(name, {})
            row[held_out] = sum(one["accuracy"] for one in tests) / len(tests)
    tables = {"Accuracy": Table(columns, lines)}
    if speakers:
        tables["Speakers held out"] = _by_speaker(speakers)
    notes = [
        "The figure 0.97 is that published for a ViT-shaped model on the official split, whose "
        "speakers are those of training."
    ]
    data = next(iter(rows.values()))[0]["config"]["data"]
    notes = notes if data == "fsdd" else []
    results.write_tables(folder, paper.title, tables, rows, notes)


def _by_speaker(speakers: dict[str, dict[str, float]]) -> Table:
    """The accuracy on each speaker that is not in training; mean and deviation over speakers."""
    names = sorted({name for row in speakers.values() for name in row})
    columns = [Column("network", ""), *(Column(name, ".4f") for name in names)]
    columns.append(Column("mean", ".4f"))
    lines = [
        {"network": label, **found, "mean": results.cell(found.values())}
        for label, found in speakers.items()
    ]
    return Table(columns, lines)
