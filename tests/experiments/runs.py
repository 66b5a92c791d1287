"""Runs of rows in temporary folders."""

from pathlib import Path
from typing import Any

from experiments.harness.paper import Paper, resolve
from experiments.harness.runner import run_row


def run(paper: Paper, row: str, folder: Path, *, resume: bool = False, **given: Any) -> Path:
    """Trains and evaluates a row; its result file is in FOLDER/results."""
    return run_row(
        paper, row, resolve(paper, row, given), given=given, run_dir=folder / "runs",
        results_dir=folder / "results", progress=False, resume=resume,
    )  # fmt: skip
