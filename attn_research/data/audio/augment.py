"""Augmentation of sounds and their features; what is drawn comes from the caller's generator."""

import numpy as np
from jaxtyping import Float


def change_speed(samples: Float[np.ndarray, "T"], factor: float) -> Float[np.ndarray, "T2"]:
    """The sound played `factor` times as fast, which raises its pitch too. Ko et al. 2015."""
    count = max(1, round(len(samples) / factor))
    places = np.arange(count, dtype=np.float64) * factor
    return np.interp(places, np.arange(len(samples)), samples).astype(np.float32)


def spec_augment(
    features: Float[np.ndarray, "F M"], rng: np.random.Generator, num_frames: int, num_mels: int
) -> Float[np.ndarray, "F M"]:
    """SpecAugment: a band of up to `num_mels` mels and one of up to `num_frames` frames are masked.

    Park et al. 2019, section 2, without time warping; what is masked has the mean of the features.
    """
    found = features.copy()
    for axis, widest in ((0, num_frames), (1, num_mels)):
        width = int(rng.integers(0, min(widest, features.shape[axis]) + 1))
        start = int(rng.integers(0, features.shape[axis] - width + 1))
        band = slice(start, start + width)
        found[band if axis == 0 else (slice(None), band)] = features.mean()
    return found
