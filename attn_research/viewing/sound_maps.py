"""Figures of attention over sounds: spectrograms, and below each where every word attends."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from attn_research.types import Float


@dataclasses.dataclass(frozen=True, eq=False)
class SoundMap:
    """The features [F, M] of a sound of some seconds, and weights of rows over steps of its time.

    `times`, the begin and end of each row's word in seconds where they are known, are outlined.
    """

    features: Float[np.ndarray, "F M"]
    weights: Float[np.ndarray, "T S"]
    rows: Sequence[str]
    seconds: float
    title: str = ""
    times: Float[np.ndarray, "words 2"] | None = None


def sound_figure(sounds: Sequence[SoundMap], *, columns: int = 2) -> Figure:
    """A spectrogram for each sound, low frequencies below, and its weights under it, dark is high.

    Weights are on a scale of each sound, so that the highest is black.
    """
    if not sounds:
        raise ValueError("no sound to draw")
    columns = min(columns, len(sounds))
    lines = -(-len(sounds) // columns)
    most = max(len(sound.rows) for sound in sounds)
    heights = [1.2, 0.5 + 0.2 * most]
    figure = Figure(figsize=(5.2 * columns, (sum(heights) + 0.6) * lines), layout="constrained")
    grid = figure.subplots(2 * lines, columns, squeeze=False, height_ratios=heights * lines)
    for number, sound in enumerate(sounds):
        line, column = divmod(number, columns)
        _draw(grid[2 * line, column], grid[2 * line + 1, column], sound)
    for number in range(len(sounds), lines * columns):
        line, column = divmod(number, columns)
        grid[2 * line, column].remove()
        grid[2 * line + 1, column].remove()
    return figure


def _draw(above, below, sound: SoundMap) -> None:
    time = (0, sound.seconds)
    above.imshow(
        sound.features.T,
        aspect="auto",
        origin="lower",
        cmap="magma",
        extent=(*time, 0, sound.features.shape[1]),
        interpolation="nearest",
    )
    above.set_title(sound.title, size=9, parse_math=False)
    above.set_ylabel("mel", size=8)
    above.tick_params(labelsize=7, labelbottom=False)
    count = len(sound.rows)
    below.imshow(
        sound.weights,
        aspect="auto",
        cmap="Greys",
        vmin=0,
        extent=(*time, count - 0.5, -0.5),
        interpolation="nearest",
    )
    below.set_yticks(range(count), sound.rows, size=8, parse_math=False)
    below.set_xlabel("seconds", size=8)
    below.tick_params(labelsize=7)
    for row, (begin, end) in enumerate(() if sound.times is None else sound.times):
        corner, width = (float(begin), row - 0.45), float(end - begin)
        below.add_patch(Rectangle(corner, width, 0.9, fill=False, edgecolor="#D55E00"))
