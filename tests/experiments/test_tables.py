"""Results that are kept are those of the commands beside them."""

import json

import pytest

from experiments import tables
from experiments.paper import RESULTS


@pytest.mark.parametrize(
    "folder", tables.result_folders(RESULTS), ids=lambda path: f"{path.parent.name}-{path.name}"
)
def test_the_command_of_a_committed_result_gives_its_run(folder):
    for path in folder.glob("*.seed*.json"):
        result = json.loads(path.read_text())
        assert list(tables.stale(result)) == [], path.name


def test_a_result_of_an_older_recipe_is_named():
    path = RESULTS / "vit2020" / "digits-small" / "small.seed0.json"
    result = json.loads(path.read_text())
    rate = result["config"]["learning_rate"]
    result["config"] |= {"learning_rate": 0.5, "flip": True}
    assert list(tables.stale(result)) == [
        "/flip is True in the result, False recomputed",
        f"/learning_rate is 0.5 in the result, {rate} recomputed",
    ]
