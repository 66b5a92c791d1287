"""Sound files as samples: which are read, and what they are converted to.

WAV, FLAC and OGG files are read by their content, whatever their suffix, and become one channel of
float32 samples at 16 kHz:

- Integers of 8 to 32 bits, A-law and μ-law are scaled to -1 to 1; floats stay as they are.
- Several channels become their mean.
- Rates from 8 to 48 kHz are converted by a polyphase filter; nothing is added above the half of a
  lower rate.

`read_audio` raises an error of one line, with the name of the file, for whatever is damaged, of
another format or rate, empty, cut off, longer than MAX_SECONDS, or holds what is no number.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np
from jaxtyping import Float

from attn_research.data.files import one_line

RATE = 16_000  # samples a second of every sound in this package
MIN_RATE, MAX_RATE = 8_000, 48_000
MAX_SECONDS = 3600
MAX_BYTES = 1 << 30  # of a file, and of its samples when decoded
FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG")
SUFFIXES = (".wav", ".flac", ".ogg")


def read_audio(path: Path) -> Float[np.ndarray, "T"]:
    """The samples of a sound file, as this module says; FileNotFoundError or ValueError."""
    import soundfile  # slow to import, and most data is no sound

    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    if (size := path.stat().st_size) > MAX_BYTES:
        raise ValueError(f"{path} has {size:,} bytes, more than {MAX_BYTES:,}: cut it into pieces")
    try:
        with soundfile.SoundFile(path) as file:
            rate, count = file.samplerate, file.frames
            if problem := _problem(file):
                raise ValueError(f"{path} {problem}")
            samples = file.read(dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(
            f"{path} is no sound file that can be read ({one_line(error)}): convert it to WAV, "
            "replace it or remove it"
        ) from None
    if len(samples) < count:
        raise ValueError(f"{path} ends after {len(samples):,} of {count:,} samples: replace it")
    if not np.isfinite(samples).all():
        raise ValueError(f"{path} holds samples that are no numbers (NaN or infinite): replace it")
    return to_rate(samples.mean(axis=1), rate)


def _problem(file) -> str:
    """What the header tells of a file that is not read; empty where it is."""
    if file.format not in FORMATS:
        return f"is a {file.format} file, and WAV, FLAC and OGG are read: convert it"
    if not MIN_RATE <= file.samplerate <= MAX_RATE:
        return (
            f"has {file.samplerate:,} samples a second, and {MIN_RATE:,} to {MAX_RATE:,} are read: "
            "convert it"
        )
    if not file.frames:
        return "is empty: it has no samples; remove it"
    if file.frames > MAX_SECONDS * file.samplerate:
        seconds = file.frames / file.samplerate
        return f"lasts {seconds:,.0f} seconds, more than {MAX_SECONDS:,}: cut it into pieces"
    if (size := 4 * file.frames * file.channels) > MAX_BYTES:
        return (
            f"has {size:,} bytes of samples in {file.channels} channels, more than {MAX_BYTES:,}: "
            "cut it into pieces, or mix its channels"
        )
    if "(should be " in file.extra_info:
        return (
            "is cut off: its header announces more samples than there are; replace it, or where a "
            "program wrote it to a pipe, have it write a file"
        )
    return ""


def to_rate(samples: Float[np.ndarray, "T"], rate: int) -> Float[np.ndarray, "T2"]:
    """Samples at `rate` a second as such at 16 kHz, by a polyphase filter."""
    if rate == RATE:
        return samples
    from scipy.signal import resample_poly

    common = math.gcd(rate, RATE)
    return resample_poly(samples, RATE // common, rate // common).astype(np.float32)


def normalize(samples: Float[np.ndarray, "T"]) -> Float[np.ndarray, "T"]:
    """The samples divided by the largest of them, without regard to sign; silence stays silent."""
    peak = float(np.abs(samples).max(initial=0.0))
    return samples / np.float32(peak) if peak else samples


class AudioFiles(Sequence):
    """The normalized samples of sound files, each read when it is asked for."""

    def __init__(self, paths: Sequence[Path]):
        self.paths = tuple(paths)

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...
    def __getitem__(self, index):
        if isinstance(index, slice):
            return [normalize(read_audio(path)) for path in self.paths[index]]
        return normalize(read_audio(self.paths[index]))
