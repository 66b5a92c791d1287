"""Sweeps: what is left to run, several processes at a time, and Slurm arrays."""

import shutil
import subprocess

import pytest

from experiments.harness.paper import RESULTS
from experiments.papers import find
from experiments.sweep import Job, Runner, Slot, slurm_script, unfinished
from tests.experiments.programs import call

DIGITS = RESULTS / "vit2020" / "digits-small"


def left(tmp_path, rows, seeds, **given):
    where = {"run_dir": tmp_path / "runs", "results_dir": DIGITS}
    return list(unfinished(find("vit2020"), rows, seeds, given, where))


def test_finished_rows_are_skipped(tmp_path):
    (job,) = left(tmp_path, ["small"], [0, 1, 2, 3])
    assert job.name == "small.seed3" and not job.is_ensemble
    assert job.words[1:4] == ["experiments.vit2020", "--row=small", "--seed=3"]
    with pytest.raises(ValueError, match="another configuration"):
        left(tmp_path, ["small"], [0], num_steps=7)


def test_a_finished_sweep_ends_with_one_table(tmp_path):
    results = shutil.copytree(DIGITS, tmp_path / "results")
    (results / "tables.md").unlink()
    words = ["--row=small", "--seeds=0,1,2", f"--run_dir={tmp_path}/runs"]
    done = call("experiments.sweep", "--paper=vit2020", *words, f"--results_dir={results}")
    assert done.returncode == 0, done.stderr
    assert "3 of 3 are finished" in done.stdout and "| small |" in done.stdout
    assert (results / "tables.md").read_bytes() == (DIGITS / "tables.md").read_bytes()


def test_jobs_run_in_their_slots_and_failures_are_named(tmp_path):
    code = "import os, sys; print(os.environ['PLACE']); sys.exit({})"
    jobs = [Job(f"job{number}", ["-c", code.format(number == 2)], False) for number in range(4)]
    runner = Runner([Slot({"PLACE": "a"}, None), Slot({"PLACE": "b"}, None)], tmp_path)
    assert runner.run(jobs) == ["job2"]
    said = [(tmp_path / f"job{number}.txt").read_text().strip() for number in range(4)]
    assert set(said) <= {"a", "b"} and len(said) == 4


def test_each_task_of_a_slurm_array_is_one_job(tmp_path):
    jobs = [Job(f"job{number}", ["-c", f"print('it is {number}')"], False) for number in range(2)]
    script = tmp_path / "sweep.sh"
    script.write_text(slurm_script(find("vit2020"), jobs, tmp_path))
    assert "#SBATCH --array=0-1\n" in script.read_text()
    for number, code in ((0, 0), (1, 0), (2, 1)):
        environment = {"SLURM_ARRAY_TASK_ID": str(number)}
        done = subprocess.run(["bash", script], env=environment, capture_output=True, text=True)
        assert done.returncode == code and (code or done.stdout == f"it is {number}\n")


def test_bad_input_is_one_line(tmp_path):
    for words, said in (
        ([], "give --paper=NAME, one of bahdanau2014"),
        (["--paper=lora2021.few", "--scale=paper"], "--scale=paper: lora2021.few has tiny and"),
        (["--paper=vit2020", "--seed=1"], "in a sweep give --seeds=1"),
        (["--paper=vit2020", "--describe"], "--describe has no effect in a sweep"),
    ):
        done = call("experiments.sweep", *words)
        assert done.returncode == 1 and done.stderr.startswith("error: ") and said in done.stderr
