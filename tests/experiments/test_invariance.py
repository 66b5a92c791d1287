"""Equality of parameters across placements, in four of the setups of the benchmark."""

import pytest

from experiments.benchmarks import invariance


@pytest.fixture(scope="module")
def on_one_device():
    return {
        model: invariance.train(model, {}, invariance.MODELS[model][3])
        for model in ("RNNsearch", "Transformer", "ViT")
    }


@pytest.mark.parametrize(
    ("model", "setup"),
    [
        ("RNNsearch", "pmap 4, 2 microbatches"),
        ("Transformer", "data=2,fsdp=2,tensor=2"),
        ("ViT", "data=4,fsdp=2, 2 microbatches, remat all"),
        ("ViT", "data=3, empty rows"),
    ],
)
def test_setups_give_the_parameters_of_one_device(model, setup, on_one_device):
    start, expected = on_one_device[model]
    _, found = invariance.train(model, invariance.SETUPS[setup][0], invariance.MODELS[model][3])
    assert invariance.distance(found, expected, start) < invariance.TOLERANCE


def test_mean_of_means_gives_other_parameters(on_one_device):
    start, expected = on_one_device["RNNsearch"]
    setup = {"placement": "pmap", "mesh": "data=8"}
    _, found = invariance.train("RNNsearch", setup, invariance.MODELS["RNNsearch"][3], wrong=True)
    assert invariance.distance(found, expected, start) > 10 * invariance.TOLERANCE
