"""The golden arrays of published architectures, as tests/golden/make_pretrained.py wrote them."""

import functools
import json
import pathlib
from typing import NamedTuple

import numpy as np

from attn_research.pretrained import Checkpoint, from_checkpoint

FOLDER = pathlib.Path(__file__).parents[1] / "golden" / "pretrained"
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("*.npz")))


class Golden(NamedTuple):
    """A checkpoint, with the arrays that the original library makes of it."""

    checkpoint: Checkpoint
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    prompts: list[tuple[int, np.ndarray]]  # the length of each, and with its continuation


@functools.cache
def load(name: str) -> Golden:
    """The golden arrays of that name."""
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}

    def named(start):
        return {k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)}

    about = json.loads(str(arrays["about"]))
    lengths = named("greedy_length.")
    prompts = [(int(lengths[number]), ids) for number, ids in named("greedy.").items()]
    checkpoint = Checkpoint(about["config"], named("tensor."))
    return Golden(checkpoint, named("input."), named("output."), prompts)


@functools.cache
def pretrained(name: str):
    """The network and parameters of a golden checkpoint."""
    return from_checkpoint(load(name).checkpoint)
