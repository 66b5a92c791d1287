"""Line plots of results: quality against sentence length, and loss over training.

Figures are made without pyplot, so nothing global is touched and nothing needs closing.
"""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

# Bahdanau et al. 2014, Figure 2 tells its four models apart by the first four dashes alone. The
# colors (Okabe & Ito) stay apart for color-blind readers and differ in lightness.
_DASHES = (
    "solid",
    "dotted",
    "dashed",
    "dashdot",
    (0, (9, 2)),
    (0, (4, 1, 1, 1, 1, 1)),
    (0, (1, 3)),
)
_COLORS = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")


@dataclasses.dataclass(frozen=True)
class Curve:
    """A named line through the points (x, y); a y of None leaves a gap.

    `deviations`, one for each point, are drawn as bars above and below.
    """

    label: str
    x: Sequence[float | int]
    y: Sequence[float | int | None]
    deviations: Sequence[float] | None = None

    def __post_init__(self):
        if len(self.x) != len(self.y):
            raise ValueError(f"curve {self.label!r} has {len(self.x)} x but {len(self.y)} y")


def length_figure(
    curves: Sequence[Curve],
    paper: Sequence[Curve] = (),
    *,
    training_lengths: Sequence[float | int] = (30, 50),
    y_label: str = "BLEU",
    title: str = "this code",
    paper_title: str = "paper",
) -> Figure:
    """Quality against source length as in Bahdanau et al. 2014, Figure 2.

    Our curves at left, the paper's own points, where given, at right; a model of the same label
    looks the same in both. `training_lengths` are drawn as light vertical lines.
    """
    panels = [(title, curves), (paper_title, paper)] if paper else [("", curves)]
    styles = _styles([*curves, *paper])
    figure = Figure(figsize=(2.4 + 4.0 * len(panels), 4.0), layout="constrained")
    all_axes = figure.subplots(1, len(panels), sharex=True, squeeze=False)[0]
    for axes, (name, lines) in zip(all_axes, panels, strict=True):
        _draw(axes, lines, styles)
        for length in training_lengths:
            axes.axvline(length, color="0.8", linewidth=1, zorder=0, label="training length limit")
        axes.set_title(name)
        axes.set_xlabel("source length (words)")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
    all_axes[0].set_ylabel(y_label)
    _add_legend(figure)
    return figure


def learning_figure(
    curves: Sequence[Curve], *, x_label: str = "target tokens", y_label: str = "loss per token"
) -> Figure:
    """Learning curves: a loss against target tokens, seconds or another `x_label`."""
    figure, axes = _one_panel(curves, x_label, y_label)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    return figure


def sizes_figure(curves: Sequence[Curve], *, x_label: str, y_label: str) -> Figure:
    """A quality against sizes, such as numbers of examples, on a logarithmic axis of these."""
    figure, axes = _one_panel(curves, x_label, y_label)
    axes.set_xscale("log")
    sizes = sorted({size for curve in curves for size in curve.x})
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.set_xticks([], minor=True)
    return figure


def scaling_figure(panels: Mapping[str, Sequence[Curve]], *, x_label: str) -> Figure:
    """Scaling curves on logarithmic axes, with a panel for each y label."""
    styles = _styles([curve for curves in panels.values() for curve in curves])
    figure = Figure(figsize=(0.8 + 4.0 * len(panels), 4.0), layout="constrained")
    all_axes = figure.subplots(1, len(panels), sharex=True, squeeze=False)[0]
    for axes, (y_label, curves) in zip(all_axes, panels.items(), strict=True):
        _draw(axes, curves, styles)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
    _add_legend(figure)
    return figure


def save(figure: Figure, path: str | os.PathLike) -> None:
    """Writes a PNG of 150 dots per inch, whole or not at all; equal figures give equal bytes."""
    path = pathlib.Path(path)
    if path.suffix != ".png":
        raise ValueError(f"figures are written as PNG: give a name that ends in .png, not {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        # matplotlib would record its own version under "Software".
        figure.savefig(partial, format="png", dpi=150, metadata={"Software": None})
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _one_panel(curves: Sequence[Curve], x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    _draw(axes, curves, _styles(curves))
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    _add_legend(figure)
    return figure, axes


def _styles(curves: Sequence[Curve]) -> dict[str, dict]:
    labels = list(dict.fromkeys(curve.label for curve in curves))
    if not 1 <= len(labels) <= len(_DASHES):
        raise ValueError(f"want 1 to {len(_DASHES)} differently named curves; got {len(labels)}")
    return {
        label: {"linestyle": dashes, "color": color}
        for label, dashes, color in zip(labels, _DASHES, _COLORS, strict=False)
    }


def _draw(axes: Axes, curves: Sequence[Curve], styles: dict[str, dict]) -> None:
    for curve in curves:
        y = [float("nan") if value is None else value for value in curve.y]
        axes.plot(curve.x, y, label=curve.label, linewidth=1.8, **styles[curve.label])
        if curve.deviations is not None:
            color = styles[curve.label]["color"]
            axes.errorbar(curve.x, y, curve.deviations, fmt="none", ecolor=color, capsize=3)
    axes.spines[["top", "right"]].set_visible(False)


def _add_legend(figure: Figure) -> None:
    """One legend below the panels, where it hides no curve, each label once."""
    handles = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside lower center",
        ncols=3,
        handlelength=3.0,
        frameon=False,
    )
