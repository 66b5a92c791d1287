"""Measurements of published checkpoints: their flags, batches of texts, and what is printed."""

import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from attn_research.data.files import user_path, write_whole
from attn_research.types import Bool, Int
from experiments.harness.machine import cache_programs
from experiments.harness.path_flags import define_path
from experiments.harness.results import command_line, environment
from experiments.published.model import Published, load_published, pad_rows


class Rows(NamedTuple):
    """Some texts as rows of ids, which are true in `valid`, and where the texts stand in a list."""

    indices: Int[np.ndarray, "B"]
    ids: Int[np.ndarray, "rows T"]
    valid: Bool[np.ndarray, "rows T"]


def rows_of(texts: Sequence[Sequence[int]], batch_size: int) -> Iterator[Rows]:
    """Texts as batches of `batch_size` rows, from long to short; the last may have empty rows."""
    lengths = np.array([len(ids) for ids in texts])
    order = np.argsort(-lengths, kind="stable")
    for begin in range(0, len(order), batch_size):
        indices = order[begin : begin + batch_size]
        yield Rows(indices, *pad_rows([texts[index] for index in indices], batch_size))


def define_measuring() -> None:
    """Defines the flags that all measurements have."""
    define_path("checkpoint", "", "Folder of a published checkpoint, or a GGUF file.")
    define_path("data_dir", "", "Folder of data sets; unset, ATTN_DATA_DIR.")
    define_path("output", "", "JSON file for the result.")
    flags.DEFINE_bool("debug", False, "Show where an error came from.")


def load_able(*abilities: str) -> Published:
    """The checkpoint of --checkpoint; ValueError where there is none, or with no such ability."""
    name, wanted = flags.FLAGS.checkpoint, " or ".join(abilities)
    if not name:
        raise ValueError(f"--checkpoint is missing: the folder of a published model to {wanted}")
    cache_programs()
    model = load_published(name)
    if not set(abilities) & set(model.abilities):
        raise ValueError(
            f"--checkpoint={name}: this {type(model.network).__name__} does "
            f"{' and '.join(model.abilities)}, not {wanted}"
        )
    return model


def report(module: str, rows: Sequence[dict[str, Any]]) -> None:
    """Prints the rows of a result, and writes them to --output with the command and the machine."""
    for row in rows:
        cells = (f"{k} {v:.5g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
        print("  ".join(cells))
    if output := flags.FLAGS.output:
        result = {
            "command": command_line(module, sys.argv[1:]),
            "environment": environment(),
            "rows": rows,
        }
        write_whole(user_path(output), (json.dumps(result, indent=1) + "\n").encode())
