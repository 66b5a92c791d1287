"""Recall of captions and of images, from results."""

from pathlib import Path

from attn_research.viewing.tables import Column, Table
from experiments.harness import results
from experiments.harness.paper import Paper

RECALLS = ("captions @1", "images @1", "captions @5", "images @5")


def report(folder: Path, paper: Paper) -> None:
    """Writes the table of what a folder holds results of."""
    rows = results.read_results(folder, paper.rows)
    columns = [Column("towers", ""), *(Column(name, ".4f") for name in RECALLS)]
    columns += results.RUN_COLUMNS
    lines = []
    for label, runs in rows.items():
        tests = [run["scores"]["tests"]["test"] for run in runs]
        recalls = {name: results.cell([one[name] for one in tests]) for name in RECALLS}
        lines.append({"towers": label, **recalls, **results.run_cells(runs)})
    config = next(iter(rows.values()))[0]["config"]
    size = config["test_size"]
    notes = [
        f"The caption of an image, or the image of a caption, among those of {size} drawn scenes: "
        f"how often it is the first found, and how often one of the first five. By chance that is "
        f"{1 / size:.2f} and {5 / size:.2f}. The mean over {config['test_groups']} sets of scenes."
    ]
    results.write_tables(folder, paper.title, {"Recall": Table(columns, lines)}, rows, notes)
