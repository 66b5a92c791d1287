"""The checkpoint of a published model, as its container holds it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A config of the original library, and tensors by the names that it gives them.

    Tensors are read once each, so that a mapping may read them from a file when asked.
    """

    config: dict[str, Any]
    tensors: Mapping[str, np.ndarray]
