"""Compares this code's tiny.en with published/whisper_speech.npz, for every sound.

python -m tests.golden.check_whisper DIR DATA      as ATTN_CHECKPOINTS and ATTN_DATA_DIR

Also prints of how many sounds the tokens are the same with less silence after them.
"""

import functools
import pathlib
import sys

import jax
import numpy as np

from attn_research.data.audio.files import read_audio
from attn_research.decoding import Beam
from experiments.published.model import Published, load_published
from experiments.published.transcription import hear, search, special_ids
from tests.golden.make_whisper_speech import FOLDER, WHISPER, digits

MOST = 40


def transcribe(model: Published, samples: np.ndarray, *, silence: float | None) -> list[int]:
    """The tokens of a sound, without their end."""
    special = special_ids(model)
    sound = hear(model, samples, "a sound", silence=silence)
    found = search(model.network, Beam(1), special, MOST, model.on_device, *sound[:2])
    tokens = np.asarray(found.tokens[0, 0])[: int(found.lengths[0, 0])].tolist()
    return [token for token in tokens if token != special.end]


def without_end(row: np.ndarray) -> list[int]:
    """The tokens of a kept row."""
    return row[row != row[-1]].tolist()


def states(model: Published, samples: np.ndarray) -> np.ndarray:
    """Every 50th state of the encoder, of a sound in its window."""
    encode = jax.jit(functools.partial(model.network.apply, method="encode"))
    sound = hear(model, samples, "a sound")
    return np.asarray(encode(model.on_device, *sound[:2]).memory.states)[0, ::50]


def main() -> None:
    checkpoints, data = map(pathlib.Path, sys.argv[1:])
    model = load_published(checkpoints / WHISPER)
    golden, sounds = np.load(FOLDER / "whisper_speech.npz"), digits(data)
    off = np.abs(states(model, sounds[0]) - golden["states"])
    print(f"states of the first sound: largest difference {off.max():.1e}, mean {off.mean():.1e}")
    rows = [*map(without_end, golden["tokens"]), without_end(golden["sentence"])]
    sounds.append(read_audio(FOLDER / "speech.flac"))
    for silence in (None, 1.0, 5.0, 10.0):
        found = [transcribe(model, samples, silence=silence) for samples in sounds]
        same = sum(one == row for one, row in zip(found, rows, strict=True))
        full = sum(len(one) == MOST - 1 for one in found)  # the last token is their end
        after = "up to 30 seconds" if silence is None else f"{silence:g} seconds of silence"
        print(f"{after}: {same} of {len(rows)} have the same tokens, {full} do not end")


if __name__ == "__main__":
    main()
