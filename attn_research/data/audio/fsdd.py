"""The Free Spoken Digit Dataset: 3,000 recordings of ten digits by six speakers, at 8 kHz.

Jakobovski et al., CC BY-SA 4.0, read from fsdd/fsdd.npz in the data folder: samples of all
recordings one after the other, with offsets, labels, speakers, and the number of each recording
among the 50 of its speaker and digit.
"""

import functools
from pathlib import Path

import numpy as np

from attn_research.data.audio.files import normalize, to_rate
from attn_research.data.audio.utterances import Recordings
from attn_research.data.download import find_data_file

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_RATE = 8_000
_TEST, _DEV = range(5), range(5, 8)  # numbers of recordings: the official test, and a part of train
_ARRAYS = ("audio", "offsets", "labels", "speakers", "index", "speaker_names")


def load_fsdd(data_dir: str | None = None) -> dict[str, Recordings]:
    """The splits train, dev and test.

    Officially test are the recordings 0 to 4 of each speaker and digit; 5 to 7 of the others are
    dev here. Each recording is resampled to 16 kHz and normalized.
    """
    every, number = _read(find_data_file("fsdd/fsdd.npz", data_dir))
    places: dict[str, list[int]] = {"train": [], "dev": [], "test": []}
    for place, index in enumerate(number):
        places["test" if index in _TEST else "dev" if index in _DEV else "train"].append(place)
    return {split: every.choose(found) for split, found in places.items()}


@functools.lru_cache(maxsize=1)
def _read(path: Path) -> tuple[Recordings, list[int]]:
    """All recordings, and the number of each; ValueError for a file that holds something else."""
    try:
        with np.load(path) as file:
            found = {name: file[name] for name in _ARRAYS}
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise ValueError(
            f"{path} does not hold {', '.join(_ARRAYS)} in NumPy's format ({error}): replace it"
        ) from None
    audio = found["audio"].astype(np.float32) / 2**15
    bounds = zip(found["offsets"][:-1], found["offsets"][1:], strict=True)
    sounds = [normalize(to_rate(audio[begin:end], _RATE)) for begin, end in bounds]
    names = [str(name) for name in found["speaker_names"]]
    texts = [WORDS[label] for label in found["labels"]]
    return Recordings(sounds, texts, [names[i] for i in found["speakers"]]), found["index"].tolist()
