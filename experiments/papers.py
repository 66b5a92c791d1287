"""The papers: every folder under experiments/ that holds a paper.py.

A paper with a second network or task has a folder in its own, and that name after a point.
"""

import functools
import importlib
import re
from pathlib import Path

from experiments.harness import flags
from experiments.harness.paper import Paper, nearest


def names() -> list[str]:
    """The names of the papers, which are those of their folders, oldest first."""
    root = Path(__file__).parent
    found = {".".join(path.relative_to(root).parent.parts) for path in root.rglob("paper.py")}
    found.discard("harness")
    return sorted(found, key=lambda name: (re.findall(r"\d{4}", name), name))


@functools.cache
def find(name: str) -> Paper:
    """A paper by its name; ValueError where there is none."""
    if name not in names():
        raise ValueError(
            f"no paper {name!r}: there are {', '.join(names())}{nearest(name, names())}"
        )
    return importlib.import_module(f"experiments.{name}.paper").PAPER


def main(paper: Paper) -> None:
    """The command line of a paper."""
    flags.main(paper, find)
