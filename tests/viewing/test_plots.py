"""Plots: their content, and equal files of equal figures."""

import math

import matplotlib
import pytest

from attn_research.viewing.plots import (
    Curve,
    learning_figure,
    length_figure,
    save,
    sizes_figure,
)

NAMES = ("RNNsearch-50", "RNNsearch-30", "RNNenc-50", "RNNenc-30")
OURS = [Curve(name, range(0, 60, 5), [30.0 - i] * 11 + [None]) for i, name in enumerate(NAMES)]
PAPER = [Curve(name, [0, 30, 59], [12.6, 27.5, 26 - i]) for i, name in enumerate(NAMES)]


def lines_of(axes):
    return {line.get_label(): line for line in axes.lines if line.get_label() in NAMES}


def test_length_figure_shows_both_panels_in_the_same_styles():
    left, right = length_figure(OURS, reversed_order := PAPER[::-1]).axes
    assert list(lines_of(left)) == list(NAMES)
    assert list(lines_of(right)) == [curve.label for curve in reversed_order]
    styles = [line.get_linestyle() for line in lines_of(left).values()]
    assert styles == ["-", ":", "--", "-."]
    for name in NAMES:
        assert lines_of(left)[name].get_linestyle() == lines_of(right)[name].get_linestyle()
        assert lines_of(left)[name].get_color() == lines_of(right)[name].get_color()
    y = lines_of(left)["RNNenc-50"].get_ydata()
    assert list(y[:11]) == [28.0] * 11
    assert math.isnan(y[11])
    assert list(lines_of(right)["RNNenc-50"].get_ydata()) == [12.6, 27.5, 24]


def test_length_figure_labels_and_marks():
    figure = length_figure(OURS, PAPER, training_lengths=(17, 50), y_label="BLEU (%)")
    left, right = figure.axes
    assert (left.get_title(), right.get_title()) == ("this code", "paper")
    assert left.get_ylabel() == "BLEU (%)"
    assert right.get_xlabel() == "source length (words)"
    # Scores on different corpora do not compare, so each panel has its own scale, from 0.
    assert left.get_ylim()[0] == right.get_ylim()[0] == 0
    assert left.get_ylim()[1] != right.get_ylim()[1]
    marks = [line.get_xdata()[0] for line in right.lines if line.get_label() not in NAMES]
    assert marks == [17, 50]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == [*NAMES, "training length limit"]


def test_length_figure_without_the_paper_has_one_panel():
    assert len(length_figure(OURS).axes) == 1


def test_learning_figure():
    figure = learning_figure([Curve("tiny", [0, 2_000_000], [6.0, 2.5])], x_label="target tokens")
    (axes,) = figure.axes
    assert list(axes.lines[0].get_ydata()) == [6.0, 2.5]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("target tokens", "loss per token")
    assert axes.xaxis.get_major_formatter()(2_000_000) == "2M"


def test_sizes_are_marked_where_there_are_points():
    curve = Curve("full", [100, 2000], [0.7, 0.8], [0.02, 0.01])
    (axes,) = sizes_figure([curve], x_label="sentences", y_label="accuracy").axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["100", "2,000"]
    (bars,) = axes.collections
    ends = [segment[:, 1].tolist() for segment in bars.get_segments()]
    assert ends == [[pytest.approx(0.68), pytest.approx(0.72)], [0.79, 0.81]]


def test_equal_figures_give_equal_bytes(tmp_path):
    save(length_figure(OURS, PAPER), tmp_path / "new" / "a.png")
    figure = length_figure(OURS, PAPER)
    save(figure, tmp_path / "b.png")
    save(figure, tmp_path / "c.png")
    first = (tmp_path / "new" / "a.png").read_bytes()
    assert first == (tmp_path / "b.png").read_bytes() == (tmp_path / "c.png").read_bytes()
    assert first.startswith(b"\x89PNG")
    assert matplotlib.__version__.encode() not in first
    save(length_figure(PAPER, OURS), tmp_path / "b.png")
    assert first != (tmp_path / "b.png").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.png", "c.png", "new"]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    figure = learning_figure([Curve("a", [0, 1], [1.0, 2.0])])
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def fail(partial, **_):
        partial.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        save(figure, path)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.png", b"old")]


def test_invalid_figures_are_refused(tmp_path):
    with pytest.raises(ValueError, match="curve 'a' has 2 x but 1 y"):
        Curve("a", [1, 2], [3.0])
    with pytest.raises(ValueError, match="1 to 7 differently named curves; got 8"):
        length_figure([Curve(str(i), [0], [1.0]) for i in range(8)])
    with pytest.raises(ValueError, match="got 0"):
        learning_figure([])
    with pytest.raises(ValueError, match=r"ends in \.png"):
        save(learning_figure([Curve("a", [0], [1.0])]), tmp_path / "a.pdf")
