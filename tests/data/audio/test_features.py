"""Log-mel features equal to the original recipe, and augmentation as a function of its draws."""

from pathlib import Path

import numpy as np
import pytest

from attn_research.data.audio.augment import change_speed, spec_augment
from attn_research.data.audio.files import RATE
from attn_research.data.audio.mel import FRAME_SECONDS, log_mel, mel_filters
from tests.golden.make_mel import KEPT, samples

GOLDEN = Path(__file__).parents[2] / "golden" / "mel.npz"


def test_features_are_those_of_the_original_recipe():
    golden, sound = np.load(GOLDEN), samples()
    np.testing.assert_allclose(log_mel(sound), golden["alone"], atol=1e-5)
    padded = np.pad(sound, (0, 30 * RATE - len(sound)))
    np.testing.assert_allclose(log_mel(padded)[:KEPT], golden["padded"], atol=1e-5)
    np.testing.assert_allclose(mel_filters(), golden["filters"], atol=1e-8)


def test_a_tone_is_where_its_frequency_is():
    time = np.arange(RATE) / RATE
    for frequency in (200.0, 1000.0, 4000.0):
        features = log_mel(np.sin(2 * np.pi * frequency * time).astype(np.float32))
        assert features.shape == (round(1 / FRAME_SECONDS), 80)
        best = int(features[50].argmax())
        assert (
            abs(mel_filters()[:, best].argmax() * RATE / 400 - frequency) <= 0.03 * frequency + 40
        )
    with pytest.raises(ValueError, match="159 samples has no frame"):
        log_mel(np.zeros(159, np.float32))


def test_speed_changes_length_and_pitch():
    time = np.arange(RATE) / RATE
    sound = np.sin(2 * np.pi * 300 * time).astype(np.float32)
    faster = change_speed(sound, 1.25)
    assert len(faster) == round(RATE / 1.25)
    peak = np.abs(np.fft.rfft(faster)).argmax() * RATE / len(faster)
    assert abs(peak - 375) < 2
    np.testing.assert_array_equal(change_speed(sound, 1.0), sound)


def test_spec_augment_masks_one_band_of_each_kind():
    features = np.random.default_rng(0).normal(size=(40, 12)).astype(np.float32)
    found = spec_augment(features, np.random.default_rng(5), 9, 4)
    again = spec_augment(features, np.random.default_rng(5), 9, 4)
    np.testing.assert_array_equal(found, again)
    sizes = set()
    for seed in range(9):
        masked = spec_augment(features, np.random.default_rng(seed), 9, 4) != features
        rows, columns = masked.all(axis=1), masked.all(axis=0)
        np.testing.assert_array_equal(masked, rows[:, None] | columns[None])
        assert rows.sum() <= 9 and columns.sum() <= 4
        sizes.add((int(rows.sum()), int(columns.sum())))
    assert len(sizes) > 4
    np.testing.assert_array_equal(spec_augment(features, np.random.default_rng(0), 0, 0), features)
