"""Writes mel.npz: log-mel features of a sound by transformers' WhisperFeatureExtractor.

python tests/golden/make_mel.py      needs transformers

`alone` are those of the sound by itself, `padded` the first of it with silence up to 30 seconds.
"""

import pathlib

import numpy as np

FOLDER = pathlib.Path(__file__).parent
KEPT = 120  # frames


def samples() -> np.ndarray:
    """A rising tone with overtones and some noise, a little more than a second."""
    time = np.arange(17_333) / 16_000
    phase = 2 * np.pi * (150 * time + 900 * time**2)
    tone = sum(np.sin(number * phase) / number for number in (1, 2, 3))
    noise = np.random.default_rng(0).normal(scale=0.01, size=len(time))
    return (0.2 * tone + noise).astype(np.float32)


def main() -> None:
    from transformers import WhisperFeatureExtractor

    extractor, sound = WhisperFeatureExtractor(), samples()
    found = {}
    for name, padding in (("alone", False), ("padded", "max_length")):
        features = extractor(
            sound, sampling_rate=16_000, padding=padding, return_tensors="np"
        ).input_features
        found[name] = features[0].T[:KEPT]
    np.savez_compressed(FOLDER / "mel.npz", filters=extractor.mel_filters, **found)


if __name__ == "__main__":
    main()
