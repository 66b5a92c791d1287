"""Figures of attention over sounds."""

import numpy as np
import pytest

from attn_research.viewing.sound_maps import SoundMap, sound_figure


def test_each_sound_has_a_spectrogram_and_its_weights_below():
    times = np.array([[0.1, 0.2], [0.25, 0.3]])
    sounds = [
        SoundMap(np.zeros((40, 8)), np.eye(2, 20), ["$a", "b$"], 0.4, f"sound {i}", times)
        for i in range(3)
    ]
    figure = sound_figure(sounds)
    above, below = figure.axes[::2], figure.axes[1::2]
    assert len(figure.axes) == 6
    drawn = [axes for axes in figure.axes if axes.get_xlabel() == "seconds"]
    assert len(drawn) == 3
    for axes in drawn:
        assert [label.get_text() for label in axes.get_yticklabels()] == ["$a", "b$"]
        assert len(axes.patches) == 2 and axes.patches[0].get_x() == pytest.approx(0.1)
        (image,) = axes.images
        assert tuple(image.get_extent()) == (0, 0.4, 1.5, -0.5)
    assert {axes.get_title() for axes in [*above, *below]} >= {f"sound {i}" for i in range(3)}
    with pytest.raises(ValueError, match="no sound to draw"):
        sound_figure([])
