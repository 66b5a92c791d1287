"""The examples of CONTRIBUTING.md, applied to a copy of the repository and run."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.experiments.contributing import ROOT, apply, blocks, commands

PLACES = {"A score": 4, "A mask": 4, "A normalizer": 4, "A task": 1}


@pytest.fixture
def copy(tmp_path):
    """The code without its results."""
    for folder in ("attn_research", "experiments"):
        ignored = shutil.ignore_patterns("results", "__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    return tmp_path


def call(folder, *words):
    """The output of a command in a folder, compiled as quickly as tests are."""
    environ = {k: v for k, v in os.environ.items() if k != "ATTN_DATA_DIR"}
    environ["XLA_FLAGS"] = re.sub(r"--xla_force_host\S*", "", environ.get("XLA_FLAGS", ""))
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def edit(folder, heading):
    chosen = [block for block in blocks() if block.heading == heading]
    for block in chosen:
        apply(block, folder)
    return {block.path for block in chosen}


def test_examples_edit_the_stated_number_of_files():
    for heading, count in PLACES.items():
        assert len({block.path for block in blocks() if block.heading == heading}) == count
    folders = {b.path.rpartition("/")[0] for b in blocks() if b.heading == "A paper"}
    assert folders == {"experiments/reversal2026"}


def test_mechanisms_pass_conformance_and_run_in_every_model_by_flag(copy):
    headings = "A score", "A mask", "A normalizer"
    assert all(edit(copy, heading) for heading in headings)
    of_each = [commands(heading) for heading in headings]
    score, mask, normalizer = (found[0].rpartition("=")[2] for found in of_each)
    cases = [f"--mechanisms={score},{normalizer}", f"--masks={mask}"]
    words = ["--implementations=reference,tiled", "--samples=0", "--notransformations", *cases]
    table = call(copy, "-m", "experiments.conformance", "--noprogress", *words)
    assert "**0 pass" not in table and "0 are wrong" in table
    # A command of each paper, with the flags of all.
    for command, *others in zip(*of_each, strict=True):
        assert all(command.split()[:3] == other.split()[:3] for other in others)
        small = [other.split()[-1] for other in others]
        small += ["--num_steps=2", "--eval_every=2", "--noprogress"]
        small += [] if "vit2020" in command else ["--train_pairs=300", "--test_pairs=4"]
        assert "results" in call(copy, *command.split()[1:], *small)


def test_a_task_and_a_paper_run_and_answer(copy):
    assert edit(copy, "A task") and edit(copy, "A paper")
    assert "reversal2026" in call(copy, "-m", "experiments")
    train, predict = (command.split()[1:] for command in commands("A paper"))
    assert "| wide " in call(copy, *train, "--noprogress")
    assert call(copy, *predict).startswith("951413")
    results = "--results_dir=runs/reversal2026/small/results"
    assert "every number recomputed" in call(copy, "-m", "experiments.tables", "--verify", results)
