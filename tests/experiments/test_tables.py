"""Committed results and the commands that made them."""

import json
import shutil

import pytest

from experiments.harness import verify as harness_verify
from experiments.harness.paper import RESULTS
from experiments.harness.verify import result_folders, stale, verify_all
from experiments.papers import find


@pytest.mark.parametrize(
    "folder", result_folders(RESULTS), ids=lambda path: f"{path.parent.name}-{path.name}"
)
def test_the_command_of_a_committed_result_gives_its_config(folder):
    for path in folder.glob("*.seed*.json"):
        result = json.loads(path.read_text())
        assert list(stale(result, find)) == [], path.name


def test_a_result_of_an_older_recipe_is_detected():
    path = RESULTS / "vit2020" / "digits-small" / "small.seed0.json"
    result = json.loads(path.read_text())
    rate = result["config"]["learning_rate"]
    result["config"] |= {"learning_rate": 0.5, "flip": True}
    assert list(stale(result, find)) == [
        "/flip is True in the result, False recomputed",
        f"/learning_rate is 0.5 in the result, {rate} recomputed",
    ]


def test_many_results_are_verified_in_their_order_by_several_processes(tmp_path, monkeypatch):
    source = RESULTS / "vit2020" / "digits-small"
    folders = [shutil.copytree(source, tmp_path / f"copy {i}" / "results") for i in range(8)]
    predictions = folders[5] / "small.seed0" / "test.predictions.txt"
    predictions.write_text(predictions.read_text().replace("3", "4", 1))
    expected = [finding for folder in folders for finding in verify_all([folder], find)]
    monkeypatch.setattr(harness_verify, "available_cores", lambda: 2)
    assert list(verify_all(folders, find)) == expected
    (wrong,) = [name for name, _, holds in expected if not holds]
    assert wrong == "copy 5/results/small.seed0"
