"""The summary of a program whose rows are trained."""

import shlex
from pathlib import Path
from typing import Any

from experiments.harness.given import folder_name
from experiments.harness.paper import Paper, Resolved


def summary(
    paper: Paper,
    rows: dict[str, Resolved],
    given: dict[str, Any],
    *,
    run_dir: Path,
    results_dir: Path,
) -> str:
    """The tables of a folder of results, where its files are, and a command to go on with."""
    tables = (results_dir / "tables.md").read_text("utf-8").partition("\n## Runs")[0]
    lines = [tables, f"Tables, figures and predictions: {results_dir}"]
    trained = [row for row in rows if not paper.rows[row].members]
    example = paper.task(paper.config).example
    if trained and example:
        row = paper.default_row if paper.default_row in trained else trained[-1]
        folder = run_dir / folder_name(paper, row, given, rows[row].config)
        run = shlex.quote(f"--run={folder}")
        lines += [f"Try {row}: python -m experiments.predict {run} {example}"]
    return "\n".join(lines)
