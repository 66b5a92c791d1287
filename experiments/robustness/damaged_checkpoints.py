"""Checkpoints to damage, and their reading: a sound one comes back bit for bit, or none does."""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.training.checkpoints import Checkpoints
from experiments.robustness.samples import Folder, read_folder

CONFIG = {"learning_rate": 0.1, "hidden": 6, "data": "grammar"}
STEPS = (2, 4)


def make_state(step: int) -> dict[str, jax.Array]:
    """What is saved at a step."""
    return {"kernel": jnp.arange(6.0).reshape(2, 3) * step, "step": jnp.int32(step)}


def samples() -> Sequence[Folder]:
    """A folder with two checkpoints."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(folder, CONFIG)
        for step in STEPS:
            checkpoints.save(step, make_state(step), seconds=0.5 * step)
        checkpoints.close()
        return [read_folder(Path(folder))]


def is_sound(folder: Path) -> bool:
    """Whether the newest sound checkpoint comes back, to a reader and to a run that goes on."""
    logging.disable()  # a warning for each damaged one
    return all(_is_sound(folder, read_only=read_only) for read_only in (True, False))


def _is_sound(folder: Path, *, read_only: bool) -> bool:
    checkpoints = Checkpoints(folder, CONFIG, read_only=read_only)
    try:
        found = checkpoints.restore(make_state(0))
    finally:
        checkpoints.close()
    if found is None:
        return not any((folder / str(step)).is_dir() for step in STEPS)
    step, state, about = found
    leaves = zip(*map(jax.tree.leaves, (state, make_state(step))), strict=True)
    same = all(np.array_equal(one, other) for one, other in leaves)
    return step in STEPS and same and about["seconds"] == 0.5 * step
