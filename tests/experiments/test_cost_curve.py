"""The cost curve at tiny lengths: all mechanisms, exponents, and its tables."""

import numpy as np

from experiments.benchmarks import cost_curve


def test_the_curve_at_tiny_lengths(monkeypatch):
    monkeypatch.setattr(cost_curve, "BLOCK", 8)
    monkeypatch.setattr(cost_curve, "ONE_SIDE", 4)
    monkeypatch.setattr(cost_curve, "HEADS", 2)
    monkeypatch.setattr(cost_curve, "WIDTH", 4)
    monkeypatch.setattr(cost_curve, "FULL_UP_TO", 100)
    rows = cost_curve.measure([96, 192], rounds=1)
    assert [rows[0][each] for each in ("mechanism", "length", "pairs")] == ["full", 96, 96**2]
    names = ["full", "blockwise", "window", "Longformer", "BigBird", "LSH", "routing"]
    assert [row["mechanism"] for row in rows] == names + names[1:]
    assert all(row[each] > 0 for row in rows for each in cost_curve.QUANTITIES)
    text = cost_curve.render(rows, cost_curve.exponents(rows))
    assert "BigBird" in text and "9,216" in text


def test_exponents_are_slopes_of_the_greatest_lengths():
    rows = [
        {"mechanism": "square", "length": n, "seconds": s, "forward_flops": 3 * n, "peak_bytes": 7}
        for n, s in ((1, 50), (10, 100), (20, 400), (40, 1600), (80, 6400))
    ]
    found = cost_curve.exponents(rows)["square"]
    slopes = [found[each] for each in cost_curve.QUANTITIES]
    np.testing.assert_allclose(slopes, [2, 1, 0], atol=1e-3)
    assert cost_curve.exponents(rows[:1])["square"]["seconds"] is None
