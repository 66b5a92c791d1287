"""Commands and settings in result files."""

import json

from attn_research.viewing.tables import Cell, Column, Table
from experiments.harness.config import run_name
from experiments.harness.results import (
    cell,
    command_line,
    environment,
    read_results,
    write_tables,
)


def test_machine_specific_paths_are_replaced_in_a_command():
    words = ["--rounds=5", "--peer_python=/a/b/python", "--output=x/y.json", "--data_dir=/data"]
    expected = "python -m m.n --rounds=5 --peer_python=PATH --output=PATH --data_dir=PATH"
    assert command_line("m.n", words) == expected


def test_runs_that_differ_in_row_and_seed_share_a_line(tmp_path):
    runs = [(row, seed, 1, 1) for seed in (0, 1) for row in ("a", "b/4")]
    for row, seed, device, rate in [*runs, ("c", 0, 2, 1), ("c", 1, 2, 3)]:
        result = {
            "command": f"python -m m --row={row} --seed={seed} --text='{{}} {{row}}'",
            "config": {"seed": seed, "row": row, "rate": rate},
            "environment": {"device": device},
            "about": {"sha256": {"train": ["0123456789abcdef"]}},
        }
        (tmp_path / f"{run_name(row, seed)}.json").write_text(json.dumps(result))
    results = read_results(tmp_path, ["a", "b/4", "c"])
    assert {label: len(runs) for label, runs in results.items()} == {
        "a": 2, "b/4": 2, "c, rate=1": 1, "c, rate=3": 1,
    }  # fmt: skip
    assert results["b/4"][1]["name"] == "b-4.seed1"
    write_tables(tmp_path, "Title", {"Table": Table([Column("x", "")], [{"x": "1"}])}, results)
    text = (tmp_path / "tables.md").read_text().split("## Runs")[1]
    lines = [line for line in text.splitlines() if line.startswith("- ")]
    rest = "--text='{} {row}'`"
    assert lines[0].strip() == f"- `python -m m --row=a,b/4 --seed=0 {rest}, `--seed=1`"
    assert lines[1].strip() == f"- `python -m m --row=c --seed=0 {rest}"
    assert lines[2].strip() == f"- `python -m m --row=c --seed=1 {rest}"
    assert text.count("data SHA-256 train 0123456789ab") == 3


def test_a_result_records_environment_variables_that_change_speed(monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    found = environment()
    assert found["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1"
    assert "XLA_FLAGS" not in found


def test_a_cell_has_a_deviation_where_seeds_differ():
    assert cell([3.0, 5.0, None]) == Cell(4.0, 2**0.5)
    assert cell([7, 7, 7]) == Cell(7, None)
    assert cell([7]) == Cell(7, None)
