"""The parameters of 20 steps do not depend on where the steps were taken."""

import pytest

from experiments.benchmarks import invariance


@pytest.fixture(scope="module")
def on_one_device():
    return {
        model: invariance.train(model, {}, invariance.MODELS[model][3])
        for model in ("RNNsearch", "Transformer", "ViT")
    }


@pytest.mark.parametrize(
    ("model", "way"),
    [
        ("RNNsearch", "pmap 4, 2 microbatches"),
        ("RNNsearch", "fsdp=4"),
        ("Transformer", "8 microbatches"),
        ("Transformer", "data=2,fsdp=2,tensor=2"),
        ("ViT", "data=4,fsdp=2, 2 microbatches, remat all"),
    ],
)
def test_a_way_gives_the_parameters_of_one_device(model, way, on_one_device):
    start, expected = on_one_device[model]
    _, found = invariance.train(model, invariance.WAYS[way][0], invariance.MODELS[model][3])
    assert invariance.distance(found, expected, start) < invariance.TOLERANCE


def test_a_mean_of_means_is_found_out(on_one_device):
    start, expected = on_one_device["RNNsearch"]
    ways = {"placement": "pmap", "mesh": "data=8"}
    _, found = invariance.train("RNNsearch", ways, invariance.MODELS["RNNsearch"][3], wrong=True)
    assert invariance.distance(found, expected, start) > 10 * invariance.TOLERANCE
