"""Programs called as a user calls them, in processes forked from one that has imported them."""

import multiprocessing
import os
import runpy
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

PRELOADED = ["experiments.bahdanau2014.paper", "experiments.vit2020.paper"]
UNSET = "XLA_FLAGS", "ATTN_DATA_DIR"  # as for a user on a machine of one device


class Done(NamedTuple):
    """What a program left."""

    returncode: int
    stdout: str
    stderr: str


def call(module: str, *words: str) -> Done:
    """`python -m MODULE WORDS`, without the seconds that the imports take."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with tempfile.TemporaryDirectory() as folder:
        process = context.Process(target=_run, args=(module, words, folder))
        process.start()
        process.join(120)
        assert process.exitcode is not None, f"{module} {' '.join(words)} does not end"
        said = [(Path(folder) / name).read_text() for name in ("1", "2")]
    return Done(process.exitcode, *said)


def error_of(module: str, *words: str) -> str:
    """The one line that a refused call leaves."""
    done = call(module, *words)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert done.returncode == 1 and len(lines) == 1, done.stderr
    return lines[0]


def _run(module: str, words: tuple[str, ...], folder: str) -> None:
    for descriptor in (1, 2):
        os.dup2(os.open(f"{folder}/{descriptor}", os.O_CREAT | os.O_WRONLY), descriptor)
    for name in UNSET:
        os.environ.pop(name, None)
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
