"""Figures of attention maps with row and column labels, and of numbers by layer and head."""

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from attn_research.types import Float

END = "<end>"
_SURE_COLOR, _POSSIBLE_COLOR = "#E69F00", "#56B4E9"


@dataclasses.dataclass(frozen=True, eq=False)
class Panel:
    """One attention map [target words, source words] with its words and a title.

    Columns are labeled with source words, rows with target words. An axis with one more entry than
    words ends with the end symbol, labeled `<end>`. Gold links (source word, target word), counted
    from 0, are outlined: sure links solid, possible links dotted.
    """

    weights: Float[np.ndarray, "T S"]
    source: Sequence[str]
    target: Sequence[str]
    title: str = ""
    sure: Collection[tuple[int, int]] = ()
    possible: Collection[tuple[int, int]] = ()

    def __post_init__(self):
        name = f"panel {self.title!r}" if self.title else "panel"
        rows, columns = self.weights.shape
        if not (0 <= rows - len(self.target) <= 1 and 0 <= columns - len(self.source) <= 1):
            raise ValueError(
                f"{name}: {rows} x {columns} weights do not fit {len(self.target)} target and "
                f"{len(self.source)} source words, with or without {END}"
            )
        if not np.isfinite(self.weights).all():
            raise ValueError(f"{name}: weights are not finite")
        for source, target in [*self.sure, *self.possible]:
            if not (0 <= source < columns and 0 <= target < rows):
                raise ValueError(f"{name}: gold link {(source, target)} lies outside the weights")


def attention_figure(panels: Sequence[Panel], *, columns: int = 2) -> Figure:
    """A grid of attention maps as in Bahdanau et al. 2014, Figure 3: black is 0, white is 1."""
    if not panels:
        raise ValueError("no panel to draw")
    columns = min(columns, len(panels))
    rows = math.ceil(len(panels) / columns)
    longest = max(max(panel.weights.shape) for panel in panels)
    # Inches a word and points of type: 20 words are roomy, 60 still legible at 150 dots per inch.
    cell = float(np.interp(longest, [20, 60], [0.25, 0.13]))
    font = float(np.interp(longest, [20, 60], [10, 6.5]))
    margin = 0.35 + font / 72 * 0.65 * max(
        len(word) for panel in panels for word in (*panel.source, *panel.target, END)
    )
    heights = [
        cell * max(panel.weights.shape[0] for panel in panels[i * columns : (i + 1) * columns])
        for i in range(rows)
    ]
    widths = [cell * max(p.weights.shape[1] for p in panels[i::columns]) for i in range(columns)]
    figure = Figure(
        figsize=(sum(widths) + columns * margin, sum(heights) + rows * (margin + 0.2)),
        layout="constrained",
    )
    grid = figure.subplots(
        rows, columns, squeeze=False, width_ratios=widths, height_ratios=heights
    ).ravel()
    for axes, panel in zip(grid, panels, strict=False):
        _draw_panel(axes, panel, font)
    for axes in grid[len(panels) :]:
        axes.remove()
    return figure


def heads_figure(panels: Mapping[str, Float[np.ndarray, "L N"]], *, label: str) -> Figure:
    """Heat maps of a number for each layer and head: one panel for each model, on one scale."""
    if not panels:
        raise ValueError("no panel to draw")
    most = max(float(values.max()) for values in panels.values())
    width = sum(0.9 + 0.5 * values.shape[1] for values in panels.values())
    height = max(2.8, *(1.2 + 0.4 * values.shape[0] for values in panels.values()))
    figure = Figure(figsize=(width + 1.0, height), layout="constrained")
    all_axes = figure.subplots(
        1, len(panels), squeeze=False, width_ratios=[v.shape[1] + 1 for v in panels.values()]
    )[0]
    for axes, (title, values) in zip(all_axes, panels.items(), strict=True):
        image = axes.imshow(values, cmap="Greys", vmin=0, vmax=most)
        for (layer, head), value in np.ndenumerate(values):
            color = "white" if value > most / 2 else "black"
            axes.text(head, layer, f"{value:.2f}", ha="center", va="center", color=color, size=7)
        layers, heads = values.shape
        axes.set_xticks(range(heads), [str(head + 1) for head in range(heads)])
        axes.set_yticks(range(layers), [str(layer + 1) for layer in range(layers)])
        axes.set_xlabel("head")
        axes.set_ylabel("layer")
        axes.set_title("\n".join(title.split(", ")), size=9)
    figure.colorbar(image, ax=list(all_axes), label=label)
    return figure


def _draw_panel(axes: Axes, panel: Panel, font: float) -> None:
    axes.set_anchor("N")
    axes.imshow(panel.weights, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    source, target = (
        [*words, END][:size]
        for words, size in zip((panel.source, panel.target), panel.weights.shape[::-1], strict=True)
    )
    # Words are text, never formulas: two dollar signs in one would else start one.
    axes.set_xticks(range(len(source)), source, rotation=90, fontsize=font, parse_math=False)
    axes.set_yticks(range(len(target)), target, fontsize=font, parse_math=False)
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    axes.set_xlabel(panel.title, fontsize=font + 1, parse_math=False)
    for links, color, dashes in (
        (set(panel.possible) - set(panel.sure), _POSSIBLE_COLOR, "dotted"),
        (panel.sure, _SURE_COLOR, "solid"),
    ):
        for column, row in sorted(links):
            corner = (column - 0.42, row - 0.42)
            axes.add_patch(
                Rectangle(corner, 0.84, 0.84, fill=False, edgecolor=color, linestyle=dashes)
            )
