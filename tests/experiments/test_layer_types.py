"""Table 1 as measured: exponents, loops and paths of small layers."""

import pytest

from experiments.benchmarks import layer_types


@pytest.mark.parametrize(
    ("name", "growth", "iterations", "path"),
    [
        ("self-attention", (2, 1), 1, 1),
        ("recurrent", (1, 2), 20, 20),
        ("convolutional", (1, 2), 1, 19),
        ("self-attention (restricted)", (1, 1), 1, 5),  # each position sees the four before it
    ],
)
def test_exponents_operations_and_paths_are_those_of_table_1(
    name, growth, iterations, path, monkeypatch
):
    monkeypatch.setattr(layer_types, "LENGTHS", (32, 64))
    monkeypatch.setattr(layer_types, "WIDTHS", (8, 16))
    layer = layer_types.LAYERS[name]
    assert layer_types.exponents(layer) == pytest.approx(growth, abs=1e-6)
    assert layer_types.sequential(layer, 20) == iterations
    assert layer_types.path_length(layer, 20) == path


def test_attention_and_recurrence_cost_the_same_at_n_equal_to_d():
    assert layer_types.crossover(24) == 24
