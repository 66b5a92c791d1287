"""Sweeps: their runs, the script for Slurm, the devices they take, and what stops them."""

import os
import stat
import subprocess

import pytest

from experiments.lin2017.paper import PAPER
from experiments.sweep import Job, jobs_of, run_jobs, slurm_script, table_of
from tests.experiments.programs import error_of

MORE = ["--data=trec", "--data_dir=a folder"]


def test_each_row_runs_with_each_seed_and_goes_on_where_it_was():
    jobs = jobs_of(PAPER, ["mean", "rows-penalty"], [0, 1], MORE)
    assert [job.name for job in jobs] == [
        "mean.seed0", "mean.seed1", "rows-penalty.seed0", "rows-penalty.seed1",
    ]  # fmt: skip
    assert jobs[1].words == [
        "-m", "experiments.lin2017", "--row=mean", "--seed=1", *MORE, "--resume",
    ]  # fmt: skip
    assert "--row=mean,rows-penalty" in table_of(PAPER, ["mean", "rows-penalty"], [0, 1], MORE)


def test_a_task_of_the_slurm_array_is_a_run(tmp_path):
    jobs = jobs_of(PAPER, ["mean"], [0, 1, 2], MORE)
    script = tmp_path / "sweep.sh"
    script.write_text(slurm_script(PAPER, jobs, ["table"]))
    assert "--array=0-2\n" in script.read_text()
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    changes = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_ARRAY_TASK_ID": "2"}
    said = subprocess.check_output(["bash", script], text=True, env=os.environ | changes)
    assert said.splitlines() == jobs[2].words


def test_runs_share_devices_and_a_failure_stops_the_rest(tmp_path, capsys):
    code = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"
    jobs = [Job(f"row.seed{seed}", ["-c", code]) for seed in range(4)]
    assert run_jobs(jobs, ["3", "5"], tmp_path / "logs") == []
    assert {path.read_text() for path in (tmp_path / "logs").iterdir()} == {"3\n", "5\n"}
    bad = Job("bad.seed0", ["-c", "raise SystemExit('error: no such data')"])
    assert run_jobs([bad, *jobs], ["1"], tmp_path / "others") == [bad]
    assert [path.name for path in (tmp_path / "others").iterdir()] == ["bad.seed0.log"]
    assert "bad.seed0: error: no such data (" in capsys.readouterr().out


def test_bad_sweeps_are_refused_before_anything_runs():
    with pytest.raises(ValueError, match=r"--row=mea: .*; did you mean mean"):
        jobs_of(PAPER, ["mea"], [0], [])
    for word in ("--seed=3", "mean"):
        with pytest.raises(ValueError, match=f"{word}: after -- come flags of the paper"):
            jobs_of(PAPER, ["mean"], [0], [word])
    assert "--paper is missing" in error_of("experiments.sweep")
    words = ["--paper=lin2017", "--seeds=0,x"]
    assert "--seeds=0,x: numbers with commas" in error_of("experiments.sweep", *words)
