"""A reader that does all that no reader may do, by the size of the file that it is given."""

import os
import time
from pathlib import Path

import numpy as np

from experiments.robustness.readers import MIB, Reader, WrongRead

FAILURES = (
    "KeyError: 'another kind'", "ValueError that names no file", "ValueError of more than a line",
    "ValueError of more than a line", "read damage", "took ", "took more than 2.0 seconds",
    "ended its process with the status -6",
)  # fmt: skip


def make() -> list[dict[str, bytes]]:
    """Valid files."""
    return [{"a": b"valid"}]


def read(folder: Path) -> None:
    """Reads a valid file, refuses some as it may, and fails at the others."""
    content = (folder / "a").read_bytes()
    if content == b"valid":
        return
    match len(content) % 9:
        case 0:
            raise KeyError("another kind")
        case 1:
            raise ValueError("it is damaged")
        case 2:
            raise ValueError(f"{folder} is\ndamaged")
        case 3:
            raise ValueError(f"{folder} is damaged: {'!' * 3000}")
        case 4:
            raise WrongRead("damage")
        case 5:
            np.ones(100 * MIB, np.uint8)
        case 6:
            time.sleep(60)
        case 7:
            os.abort()
    raise FileNotFoundError(f"{folder} is damaged")


READER = Reader(make, read, 50 * MIB)
