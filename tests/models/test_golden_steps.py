"""Golden steps of every model: losses, gradient norms and beam searches, kept in steps.json."""

import importlib.util
import json
import pathlib

import numpy as np
import pytest

SCRIPT = pathlib.Path(__file__).parents[1] / "golden" / "make_steps.py"


def load_script():
    spec = importlib.util.spec_from_file_location("make_steps", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make_steps = load_script()
GOLDEN = json.loads(make_steps.PATH.read_text())
CHANGED = (
    "The {} of this network have changed. That is right only if the model, its initialization, the "
    "loss, the optimizer, the search or the use of random keys was meant to change: then run "
    "tests/golden/make_steps.py and say in the commit why."
)


def test_every_network_has_golden_steps():
    assert set(GOLDEN) == set(make_steps.NETWORKS)


@pytest.mark.parametrize("name", make_steps.NETWORKS)
def test_golden_steps(name):
    found = make_steps.run(make_steps.NETWORKS[name])
    assert set(found) == set(GOLDEN[name])
    for what, values in GOLDEN[name].items():
        message = CHANGED.format(what.replace("_", " "))
        np.testing.assert_allclose(found[what], values, rtol=1e-5, err_msg=message)
