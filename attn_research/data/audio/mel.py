"""Log-mel features, as Whisper reads them."""

import functools

import numpy as np
from jaxtyping import Float

from attn_research.data.audio.files import RATE

NUM_MELS = 80
WINDOW, HOP = 400, 160  # samples of a frame, and from frame to frame: 25 and 10 milliseconds
FRAME_SECONDS = HOP / RATE
_FLOOR = 1e-10  # of a power
_RANGE = 8.0  # powers of ten below the largest that are kept
SPAN = _RANGE / 4  # from the least to the largest of features, at most
LEAST = (np.log10(_FLOOR) + 4) / 4  # of features


def log_mel(
    samples: Float[np.ndarray, "T"], num_mels: int = NUM_MELS
) -> Float[np.ndarray, "F num_mels"]:
    """Log-mel features of samples at 16 kHz, a frame for every 10 ms.

        x = log10 max(mel(|STFT|²), 1e-10)   (max(x, max x - 8) + 4) / 4

    Radford et al. 2022, section 2.2, in the authors' code: periodic Hann windows of 25 ms around
    multiples of 10 ms, with the sound reflected at both ends. ValueError where there is no frame.
    """
    from scipy.fft import rfft
    from scipy.signal import get_window

    count = len(samples) // HOP
    if not count:
        raise ValueError(f"a sound of {len(samples)} samples has no frame of {HOP}")
    padded = np.pad(samples.astype(np.float64), WINDOW // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[: count * HOP : HOP]
    spectrum = rfft(frames * get_window("hann", WINDOW))
    power = spectrum.real**2 + spectrum.imag**2
    found = np.log10(np.maximum(power @ mel_filters(num_mels), _FLOOR))
    return ((np.maximum(found, found.max() - _RANGE) + 4) / 4).astype(np.float32)


@functools.cache
def mel_filters(num_mels: int = NUM_MELS) -> Float[np.ndarray, "bins num_mels"]:
    """Triangular filters of equal area, from 0 Hz to 8 kHz, of the frequencies of a spectrum.

    Their corners are evenly spread on the mel scale of Slaney 1998, which is linear up to 1 kHz, at
    3 mels for 200 Hz, and logarithmic above, at 27 mels for a factor of 6.4.
    """
    top = 15 + 27 * np.log(RATE / 2 / 1000) / np.log(6.4)
    mels = np.linspace(0, top, num_mels + 2)
    corners = np.where(mels < 15, mels * 200 / 3, 1000 * 6.4 ** ((mels - 15) / 27))
    bins = np.arange(WINDOW // 2 + 1)[:, None] * RATE / WINDOW
    low, center, high = corners[:-2], corners[1:-1], corners[2:]
    rising, falling = (bins - low) / (center - low), (high - bins) / (high - center)
    return np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)
