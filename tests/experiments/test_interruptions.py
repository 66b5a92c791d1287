"""Runs that are killed, interrupted or begun twice, through the command line."""

import json
import os
import signal
import subprocess
import sys
import time

from attn_research.training.checkpoints import Checkpoints, digest
from experiments.harness.lock import locked
from experiments.harness.paper import resolve
from experiments.harness.program import make_program
from experiments.vit2020.paper import PAPER
from tests.experiments.contributing import ROOT
from tests.experiments.runs import run

GIVEN = {"scale": "tiny", "num_steps": 2000, "save_every": 1000, "eval_every": 2000}
GIVEN |= {"num_layers": 1, "model_dim": 8, "mlp_dim": 8, "pooling": "mean", "batch_size": 8}
NAME = "small,num_layers=1,model_dim=8,mlp_dim=8,pooling=mean.seed0"


def start(folder, *words):
    command = [sys.executable, "-m", "experiments.vit2020", "--noprogress"]
    command += [f"--{name}={value}" for name, value in GIVEN.items()]
    command += [f"--run_dir={folder / 'runs'}", f"--results_dir={folder / 'results'}", *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stderr=pipe, stdout=pipe, text=True)


def last_line(process, code):
    _, errors = process.communicate(timeout=120)
    assert process.returncode == code, errors
    return errors.splitlines()[-1]


def measured(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.endswith("_per_second")} for line in lines]


def end_of(folder):
    config = resolve(PAPER, "small", GIVEN)
    kept = Checkpoints(folder / "checkpoints", config.identity(), read_only=True)
    step, state, _ = kept.restore(make_program(PAPER, config).state_shapes())
    kept.close()
    return step, kept.steps()[-2:], digest(state)


def test_signals_save_and_a_resumed_run_ends_as_an_uninterrupted_one(tmp_path):
    folder = tmp_path / "runs" / NAME
    for number, code, after in ((signal.SIGINT, 130, 0), (signal.SIGTERM, 143, 1000)):
        process = start(tmp_path, *(["--resume"] if after else []))
        deadline = time.monotonic() + 100
        while not any(line["step"] > after for line in _lines(folder)):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        line = last_line(process, code)
        assert "which is saved; to continue: python -m experiments.vit2020 --noprogress" in line
        assert line.endswith(" --resume") and line.count("--resume") == 1
        step = int(line.partition("after step ")[2].partition(",")[0])
        assert after < step < 2000 and (folder / "checkpoints" / str(step)).is_dir()
    assert "results" in start(tmp_path, "--resume").communicate(timeout=120)[0]
    run(PAPER, "small", tmp_path / "whole", **GIVEN)
    whole = tmp_path / "whole" / "runs" / NAME
    assert measured(folder) == measured(whole)
    assert end_of(folder) == end_of(whole)


def _lines(folder):
    path = folder / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def test_a_second_process_in_a_run_folder_is_refused(tmp_path):
    with locked(tmp_path / "runs" / NAME):
        line = last_line(start(tmp_path), 1)
    assert line.startswith("error: ") and f"is in use by process {os.getpid()} on " in line


def test_runs_killed_at_random_moments_are_resumed_to_the_same_end():
    words = ["-m", "experiments.robustness.kills", "--kills=10"]
    environ = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr + done.stdout
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["kills"] == 10 and not found["different"]
