"""Attention of recognised strings whose words have known times: kept, scored and drawn."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from attn_research.data.arrays import read_arrays
from attn_research.data.audio.mel import FRAME_SECONDS
from attn_research.data.audio.utterances import Utterance, Utterances
from attn_research.data.files import write_whole
from attn_research.evaluation.speech import weight_inside
from attn_research.types import Float
from attn_research.viewing import plots
from attn_research.viewing.sound_maps import SoundMap, sound_figure
from experiments.harness.config import Config
from experiments.harness.task import kept_file
from experiments.tasks.speech import batches
from experiments.tasks.speech.data import Heard, hear
from experiments.tasks.speech.inference import STEP_FRAMES

FILE, PICTURE = "attention.npz", "attention.png"
UNIT = 10_000  # weights are kept as whole numbers of this part of 1
STEP_SECONDS = STEP_FRAMES * FRAME_SECONDS
DRAWN = 4

# Features, frames and texts of a batch to the weights [L, N, words, S] of each of its strings.
Align = Callable[[batches.Batch, list[str]], Iterator[Float[np.ndarray, "L N words S"]]]


def keep(config: Config, dev: Utterances, test: Utterances, align: Align, folder: Path) -> None:
    """Writes the weights of the test strings, given their words, of the head that is best on dev.

    It is the one with most weight inside the times of the words. Also draws the first strings.
    """
    inside = [
        weight_inside(weights, heard.times, STEP_SECONDS)
        for heard, _, weights in _aligned(config, dev, align)
    ]
    scores = np.concatenate(inside, axis=-1).mean(axis=-1)
    layer, head = (int(i) for i in np.unravel_index(scores.argmax(), scores.shape))
    heads, means, drawn = [], [], []
    for heard, text, weights in _aligned(config, test, align):
        heads.append(weights[layer, head])
        means.append(weights.mean(axis=(0, 1)))
        if len(drawn) < DRAWN:
            drawn.append(_panel(heard, text, heads[-1]))
    file = io.BytesIO()
    arrays = {"head": np.concatenate(heads), "mean": np.concatenate(means)}
    rounded = {name: np.rint(each * UNIT).astype(np.uint16) for name, each in arrays.items()}
    np.savez_compressed(file, chosen=np.array([layer, head]), **rounded)
    write_whole(folder / FILE, file.getvalue())
    plots.save(sound_figure(drawn), folder / PICTURE)


def _hear(config: Config, utterance: Utterance) -> Heard:
    return hear(config.task.sound, config.task.augment, utterance)


def _aligned(
    config: Config, split: Utterances, align: Align
) -> Iterator[tuple[Heard, str, Float[np.ndarray, "L N words S"]]]:
    """What is heard of each utterance, its text, and the weights of its words."""
    for indices, batch in batches.eval_batches(config, split, lambda _: {}):
        utterances = [split[int(i)] for i in indices]
        found = align(batch, [utterance.text for utterance in utterances])
        for utterance, weights in zip(utterances, found, strict=True):
            yield _hear(config, utterance), utterance.text, weights


def _panel(heard: Heard, text: str, weights: Float[np.ndarray, "words S"]) -> SoundMap:
    count = heard.frames
    shown = weights[:, : _steps(heard)]
    features, seconds = heard.features[:count], count * FRAME_SECONDS
    return SoundMap(features, shown, text.split(), seconds, text, heard.times)


def _steps(heard: Heard) -> int:
    """The states that are attended to."""
    return -(-heard.frames // STEP_FRAMES)


def score(config: Config, test: Utterances, path: Path) -> dict[str, Any]:
    """The weight inside the times of the words, of the head, of all heads, and if it were even."""
    found = read_arrays(kept_file(path), ("head", "mean", "chosen"))
    kept = {name: found[name] / UNIT for name in ("head", "mean")}
    layer, head = map(int, found["chosen"])
    heard = [_hear(config, test[index]) for index in range(len(test))]
    times = np.concatenate([each.times for each in heard])
    steps = np.concatenate([np.full(len(each.times), _steps(each)) for each in heard])
    if any(len(weights) != len(times) for weights in kept.values()):
        raise ValueError(f"{path} has weights of {len(kept['head'])} words for {len(times)}")
    even = np.arange(kept["head"].shape[1]) < steps[:, None]
    found = {
        "inside": kept["head"],
        "inside_all_heads": kept["mean"],
        "inside_even": even.astype(float),
    }
    return {"layer": layer + 1, "head": head + 1} | {
        name: round(float(weight_inside(each, times, STEP_SECONDS).mean()), 6)
        for name, each in found.items()
    }
