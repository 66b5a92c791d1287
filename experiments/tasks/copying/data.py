"""Sequences of symbols, and which of them are to be predicted where."""

from typing import NamedTuple

import numpy as np

from attn_research.types import Int
from experiments.tasks.copying.config import CopyingConfig

MARKER, NOTHING = 0, -1  # an id beside those of symbols, from 1 on; and no target


class Sequences(NamedTuple):
    """Ids, and the target of each place, -1 where there is none."""

    ids: Int[np.ndarray, "B T"]
    targets: Int[np.ndarray, "B T"]


def num_symbols(config: CopyingConfig) -> int:
    """The symbols that a sequence is made of."""
    return {
        "duplication": config.length // 2 - 1,
        "distance": config.length,
        "needle": config.length - 1,
    }[config.data]


def vocab_size(config: CopyingConfig) -> int:
    """The number of ids: the marker, the symbols, and each symbol as a needle."""
    return 1 + config.symbols * (2 if config.data == "needle" else 1)


def draw(config: CopyingConfig, seed: tuple[int, ...], count: int) -> Sequences:
    """Sequences of evenly distributed symbols."""
    rng = np.random.default_rng(seed)
    symbols = rng.integers(1, config.symbols + 1, (count, num_symbols(config)), np.int32)
    return make(config, symbols, rng.integers(0, symbols.shape[1], count))


def make(
    config: CopyingConfig, symbols: Int[np.ndarray, "B S"], places: Int[np.ndarray, "B"]
) -> Sequences:
    """The sequences of some symbols.

    Kitaev, Kaiser, Levskaya 2020, section 5, has the duplication 0w0w. The needles are the symbols
    in `places`, which have ids after those of all others.
    """
    count, length = len(symbols), config.length
    targets = np.full((count, length), NOTHING, np.int32)
    if config.data == "duplication":
        marker = np.full((count, 1), MARKER, np.int32)
        ids = np.concatenate([marker, symbols, marker, symbols], axis=1)
        targets[:, length // 2 : -1] = symbols
    elif config.data == "distance":
        ids = symbols
        targets[:, config.distance :] = symbols[:, : length - config.distance]
    else:
        rows = np.arange(count)
        ids = np.pad(symbols, [(0, 0), (0, 1)], constant_values=MARKER)
        ids[rows, places] += config.symbols
        targets[:, -1] = symbols[rows, places]
    return Sequences(ids, targets)


def needle_distances(sequences: Sequences, config: CopyingConfig) -> Int[np.ndarray, "B"]:
    """How far each needle is before the end, where it is predicted."""
    return config.length - 1 - (sequences.ids > config.symbols).argmax(axis=1)
