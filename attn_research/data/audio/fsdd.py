"""The Free Spoken Digit Dataset: 3,000 recordings of ten digits by six speakers, at 8 kHz.

Jakobovski et al., CC BY-SA 4.0, read from fsdd/fsdd.npz in the data folder: samples of all
recordings one after the other, with offsets, labels, speakers, and the number of each recording
among the 50 of its speaker and digit.
"""

import functools
import math
from pathlib import Path

import numpy as np

from attn_research.data.arrays import cut, read_arrays
from attn_research.data.audio.files import normalize, to_rate
from attn_research.data.audio.utterances import Recordings
from attn_research.data.download import find_data_file

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_RATE = 8_000
_TEST, _DEV = range(5), range(5, 8)  # numbers of recordings: the official test, and a part of train
_OF_EACH = "labels", "speakers", "index"  # arrays with a number of each recording


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
    found = read_arrays(path, ("audio", "offsets", *_OF_EACH, "speaker_names"))
    names = found["speaker_names"]
    count, limits = len(found["offsets"]) - 1, {"labels": len(WORDS), "speakers": len(names)}
    wrong = [
        name
        for name in ("offsets", *_OF_EACH)
        if found[name].ndim != 1
        or not np.issubdtype(found[name].dtype, np.integer)
        or len(found[name]) != count + (name == "offsets")
        or found[name].min(initial=0) < 0
        or found[name].max(initial=0) >= limits.get(name, math.inf)
    ]
    wrong += ["audio"] * (found["audio"].dtype != np.int16)
    wrong += ["speaker_names"] * (names.dtype.kind != "U")
    if wrong:
        array = found[wrong[0]]
        raise ValueError(
            f"{path} is not the data set, for {wrong[0]} is {array.dtype} {array.shape}, or has "
            "other values: replace it"
        )
    pieces = list(cut(found["audio"], found["offsets"], path))
    if empty := [place for place, piece in enumerate(pieces) if not len(piece)]:
        raise ValueError(f"recording {empty[0]} of {path} is empty: replace the file")
    sounds = [normalize(to_rate(piece.astype(np.float32) / 2**15, _RATE)) for piece in pieces]
    texts = [WORDS[label] for label in found["labels"]]
    said_by = [str(names[place]) for place in found["speakers"]]
    return Recordings(sounds, texts, said_by), found["index"].tolist()
