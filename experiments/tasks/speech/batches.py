"""Batches of sounds: those of training, a function of (seed, step), and every sound once."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from attn_research.data.audio.utterances import Corpus, Utterance, Utterances
from attn_research.data.batching import Rows
from attn_research.data.prefetch import prefetch
from attn_research.types import PyTree
from experiments.harness.config import Config, padded_rows
from experiments.tasks.speech.data import hear, num_frames

Batch = dict[str, np.ndarray]
# The arrays of what is said in an utterance; None for those of an empty row.
Target = Callable[[str | None], Batch]
EVAL_BATCH = 50  # sounds of a batch of evaluation


def batch_spec(config: Config, target: Target) -> PyTree:
    """The shapes of a training batch."""
    arrays = _empty(config, target)
    rows = padded_rows(config, config.task.batch_size)
    return {
        name: jax.ShapeDtypeStruct((rows, *each.shape), each.dtype) for name, each in arrays.items()
    }


def train_batches(
    config: Config, train: Utterances, target: Target, start: int, rows: Rows
) -> Iterator[Batch]:
    """Batches from number `start` on, some rows of each; empty rows fill them up for devices.

    Sound and augmentation of a row depend on the seed and on its number in the run alone.
    """
    count, seed = config.task.batch_size, config.train.seed
    total = padded_rows(config, count)

    def make(number: int) -> Batch:
        found = []
        for row in range(total)[rows(total)]:
            if row >= count:
                found.append(_empty(config, target))
                continue
            place = int(number) * count + row
            rng = np.random.default_rng((seed, 2, place))
            found.append(_arrays(config, train.draw(seed, place), target, rng))
        return _stack(found)

    return prefetch(make, start)


def eval_batches(
    config: Config, split: Utterances, target: Target, every: int = 1
) -> Iterator[tuple[np.ndarray, Batch]]:
    """(indices, batch) with each utterance once, or each `every`th; the last has empty rows."""
    chosen = np.arange(0, len(split), every)
    for begin in range(0, len(chosen), EVAL_BATCH):
        members = chosen[begin : begin + EVAL_BATCH]
        found = [_arrays(config, split[int(i)], target) for i in members]
        found += [_empty(config, target)] * (EVAL_BATCH - len(members))
        yield members, _stack(found)


def eval_split(config: Config, corpus: Corpus, split: str, target: Target) -> Iterator[Batch]:
    """Batches of every utterance of "dev", or of as many of "train", evenly spread over it."""
    every = max(1, len(corpus.train) // len(corpus.dev)) if split == "train" else 1
    return (batch for _, batch in eval_batches(config, getattr(corpus, split), target, every))


def one(config: Config, utterance: Utterance) -> Batch:
    """A batch of one sound without what is said in it."""
    return _stack([_arrays(config, utterance, lambda _: {})])


def _arrays(config: Config, utterance: Utterance, target: Target, rng: Any = None) -> Batch:
    heard = hear(config.task.sound, config.task.augment, utterance, rng)
    arrays = {"features": heard.features, "frames": np.array(heard.frames, np.int32)}
    return arrays | target(utterance.text)


def _empty(config: Config, target: Target) -> Batch:
    sound = config.task.sound
    features = np.zeros((num_frames(sound), sound.num_mels), np.float32)
    return {"features": features, "frames": np.array(0, np.int32)} | target(None)


def _stack(found: list[Batch]) -> Batch:
    return {name: np.stack([each[name] for each in found]) for name in found[0]}
