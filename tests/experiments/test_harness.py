"""The harness on a task that it does not know: training, scores, tables and responses."""

import dataclasses
import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest

from attn_research.training.sharded import Sharded
from experiments.harness import config
from experiments.harness.flags import help_text
from experiments.harness.paper import resolve, trace
from experiments.harness.run_folder import load_run
from experiments.harness.runner import run_row
from experiments.harness.verify import verify
from tests.experiments.contributing import load_reversal
from tests.experiments.programs import error_of

PAPER = load_reversal().PAPER

HARNESS = Path(__file__).parents[2] / "experiments" / "harness"


def run(folder, row="wide", **given):
    return run_row(
        PAPER, row, resolve(PAPER, row, given), run_dir=folder / "runs",
        results_dir=folder / "reversal2026" / "results", progress=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("harness")
    run(folder)
    PAPER.report(folder / "reversal2026" / "results", PAPER)
    return folder


def find(name):
    assert name == PAPER.name
    return PAPER


def test_the_harness_names_no_task():
    words = [
        "translation",
        "source",
        "target",
        "sentence",
        "nll",
        "bleu",
        "image",
        "pronoun",
        "grammar",
    ]
    for path in HARNESS.glob("*.py"):
        found = [word for word in words if re.search(word, path.read_text(), re.IGNORECASE)]
        assert not found, f"{path.name} says {found}"


def test_a_new_task_is_learned_scored_tabulated_and_verified(finished):
    results = finished / "reversal2026" / "results"
    result = json.loads((results / "wide.seed0.json").read_text())
    assert result["scores"]["accuracy"] > 0.95
    assert {"dev_loss", "dev_accuracy", "train_loss", "train_accuracy"} <= result.keys()
    assert "| wide " in (results / "tables.md").read_text()
    assert [holds for *_, holds in verify(results, find)] == [True, True]
    path = results / "wide.seed0" / "test.txt"
    text = path.read_text()
    path.write_text(str((int(text[0]) + 1) % 10) + text[1:])
    assert [holds for *_, holds in verify(results, find)] == [False, True]
    path.write_text(text)


def test_a_loaded_run_predicts_on_new_inputs(finished):
    run = load_run(finished / "runs" / "wide.seed0", find)
    (response,) = run.task.respond([run.network], [run.params], ["314159"])
    assert response.output == "951413"
    assert response.maps["attention"].weights.argmax(-1).tolist() == [5, 4, 3, 2, 1, 0]


def test_the_best_checkpoint_has_the_best_value_of_best_by(finished):
    lines = (finished / "runs" / "wide.seed0" / "metrics.jsonl").read_text().splitlines()
    measured = [line for line in map(json.loads, lines) if "dev_accuracy" in line]
    best = max(measured, key=lambda line: line["dev_accuracy"])
    result = json.loads((finished / "reversal2026" / "results" / "wide.seed0.json").read_text())
    assert result["dev_accuracy"] == best["dev_accuracy"] and result["best_step"] == best["step"]


def test_parameters_come_from_another_run_where_they_fit(finished, tmp_path):
    kept = str(finished / "runs" / "wide.seed0")
    found = run(tmp_path, scale="tiny", init_from=kept, learning_rate=0.0)
    result = json.loads(found.read_text())
    assert result["scores"]["accuracy"] > 0.95
    with pytest.raises(
        ValueError, match=r"--init_from=.* do not fit .* \(16, 10\) there and \(2, 10\)"
    ):
        run(tmp_path, "narrow", scale="tiny", init_from=kept)


def test_the_origin_of_every_value_is_recorded():
    found, layers = trace(PAPER, "narrow", {"scale": "tiny", "length": 4})
    assert found.task.length == 4 and found.model.width == 2 and found.train.num_steps == 4
    wanted = {"num_steps": "scale tiny", "width": "row narrow", "length": "flag"}
    assert {name: layers[name] for name in wanted} == wanted
    assert layers["batch_size"] == "default"


def test_folders_without_a_run_are_refused(tmp_path, finished):
    with pytest.raises(ValueError, match="no folder of a run"):
        load_run(tmp_path, find)
    with pytest.raises(ValueError, match=r"it holds the runs wide.seed0: name one of them"):
        load_run(finished / "runs", find)


def test_an_unknown_best_by_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"--best_by=\+: the name of a measurement"):
        run(tmp_path, scale="tiny", best_by="+")
    with pytest.raises(
        ValueError, match=r"no measurement 'speed'; name another .* --best_by, of loss, accuracy"
    ):
        run(tmp_path, scale="tiny", best_by="speed")
    assert not list(tmp_path.iterdir())


def test_a_paper_may_start_from_parameters_and_train_some_of_them(finished, tmp_path):
    start = load_run(finished / "runs" / "wide.seed0", find)
    partly = dataclasses.replace(
        PAPER,
        initial=lambda config, task: start.params,
        trainable=lambda config: lambda path: path.startswith("params/Dense_0/"),
    )
    run_row(
        partly, "wide", resolve(partly, "wide", {"scale": "tiny"}), run_dir=tmp_path / "runs",
        results_dir=tmp_path / "results", progress=False,
    )  # fmt: skip
    found = load_run(tmp_path / "runs" / "wide.seed0", lambda name: partly).params["params"]
    for name, before in start.params["params"].items():
        same = jax.tree.map(np.array_equal, before, found[name])
        assert all(jax.tree.leaves(same)) == (name != "Dense_0"), name


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([], ["--run=FOLDER is missing"]),
        (["--run=nowhere", "--text=a"], ["nowhere is no folder of a run", "run.json"]),
        (["--rum=nowhere"], ["no flag --rum; did you mean run?"]),
    ],
)
def test_predict_gives_one_line_errors(words, parts):
    line = error_of("experiments.predict", *words)
    assert all(part in line for part in parts), line


def test_help_groups_flags_by_part_with_the_values_of_the_row():
    text = help_text(PAPER, {"narrow": trace(PAPER, "narrow", {"scale": "tiny"})})
    assert text.startswith("Reversal: attention by position alone\n")
    assert "--width: Width of embeddings. (2, by row narrow)" in text
    assert "--num_steps: Number of training steps. (4, by scale tiny)" in text
    assert text.index("Digits.") < text.index("--length:") < text.index("--width:")


@pytest.mark.parametrize(
    ("given", "num_rows", "count"),
    [
        ({}, 64, 4), ({}, 6, 3), ({}, 7, 1), ({"num_microbatches": 2}, 12, 3),
        ({"placement": "jit"}, 64, 1), ({"mesh": "data=2"}, 64, 2),
    ],
)  # fmt: skip
def test_the_cores_in_use_share_a_batch_that_they_divide(monkeypatch, given, num_rows, count):
    monkeypatch.setattr(config, "cores_in_use", lambda: 4)
    found = config.config_placement(resolve(PAPER, "wide", given), (), num_rows)
    assert found.row_multiple == count * given.get("num_microbatches", 1)
    assert isinstance(found, Sharded) == (count > 1)
