"""Committed results and the commands that made them."""

import json

import pytest

from experiments.harness.paper import RESULTS
from experiments.harness.verify import result_folders, stale
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
