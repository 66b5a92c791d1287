"""Attention maps: their content, and labels that are neither cut nor overlap."""

import itertools

import numpy as np
import pytest

from attn_research.viewing.attention_maps import Panel, attention_figure
from attn_research.viewing.plots import save


def make_panel(num_target=5, num_source=7, end=1, **kwargs):
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(num_source + end), size=num_target + end)
    source = [f"source{i}" for i in range(num_source)]
    target = [f"target{i}" for i in range(num_target)]
    return Panel(weights, source, target, **kwargs)


def labels(axis):
    return [tick.get_text() for tick in axis.get_ticklabels()]


def test_words_and_end_label_rows_and_columns():
    panel = make_panel(title="(a)")
    (axes,) = attention_figure([panel]).axes
    assert labels(axes.xaxis) == [*panel.source, "<end>"]
    assert labels(axes.yaxis) == [*panel.target, "<end>"]
    assert axes.xaxis.get_ticklabels()[0].get_rotation() == 90
    assert axes.get_xlabel() == "(a)"
    (image,) = axes.images
    np.testing.assert_array_equal(image.get_array(), panel.weights)
    assert image.get_clim() == (0, 1)
    assert image.cmap(0.0)[:3] == (0, 0, 0)
    assert image.cmap(1.0)[:3] == (1, 1, 1)
    # Row 0 is the first generated word and stands on top.
    assert axes.get_ylim() == (5.5, -0.5)


def test_panels_without_end_symbols():
    panel = make_panel(end=0)
    (axes,) = attention_figure([panel]).axes
    assert labels(axes.xaxis) == panel.source
    assert labels(axes.yaxis) == panel.target


def test_gold_links_are_outlined():
    panel = make_panel(sure={(6, 2), (0, 1)}, possible={(0, 1), (3, 4)})
    (axes,) = attention_figure([panel]).axes
    centers = [tuple(patch.get_center()) for patch in axes.patches]
    assert centers == [pytest.approx((3, 4)), pytest.approx((0, 1)), pytest.approx((6, 2))]
    assert [patch.get_linestyle() for patch in axes.patches] == ["dotted", "solid", "solid"]


def test_a_grid_leaves_no_empty_axes():
    assert len(attention_figure([make_panel()] * 3, columns=2).axes) == 3


@pytest.mark.parametrize("size", [5, 20, 60])
def test_every_word_is_inside_the_figure_and_apart_from_its_neighbor(size):
    figure = attention_figure([make_panel(size, size - 1)] * 2)
    figure.draw_without_rendering()
    for axes in figure.axes:
        for axis, side in ((axes.xaxis, "x"), (axes.yaxis, "y")):
            boxes = [tick.get_window_extent() for tick in axis.get_ticklabels()]
            for box in boxes:
                assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
                assert 0 <= box.y0 < box.y1 <= figure.bbox.y1
            for one, two in itertools.pairwise(boxes):
                gap = two.x0 - one.x1 if side == "x" else one.y0 - two.y1
                assert gap > -0.5  # a text box is taller than its letters
            assert all(tick.get_fontsize() >= 6 for tick in axis.get_ticklabels())
    first, second = (axes.get_tightbbox() for axes in figure.axes)
    assert first.x1 <= second.x0


def test_dollar_signs_are_text(tmp_path):
    words = ["$\\frac$", "$_$"]  # as formulas, these raise
    panel = Panel(np.eye(2), words, words, title="$\\frac$")
    save(attention_figure([panel]), tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 0


def test_equal_panels_give_equal_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        save(attention_figure([make_panel(sure={(1, 1)}), make_panel(3, 4)]), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_invalid_panels_are_refused():
    with pytest.raises(ValueError, match=r"panel '\(b\)': 4 x 4 weights do not fit 2 target"):
        Panel(np.eye(4), ["a", "b", "c"], ["x", "y"], title="(b)")
    with pytest.raises(ValueError, match="not finite"):
        Panel(np.full((1, 1), np.inf), ["a"], ["x"])
    with pytest.raises(ValueError, match=r"gold link \(8, 0\) lies outside"):
        make_panel(sure={(8, 0)})
    with pytest.raises(ValueError, match="no panel"):
        attention_figure([])
