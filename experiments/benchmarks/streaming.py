"""Memory of a language model that reads a stream of tokens without an end.

python -m experiments.benchmarks.streaming --output=experiments/results/benchmarks/streaming.json

A GPT with rotary positions attends to the last `--window` tokens and to `--sinks` first ones, of
which a ring of slots holds keys and values. It reads `--tokens` tokens, drawn at random, in chunks.
After every hundredth of the stream the resident memory of the process is read, once malloc has
given back what is free. The first fifth, with compilation, is left out of its spread.
"""

import ctypes
import gc
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from attn_research.attention import Rotary, streaming
from attn_research.data.files import write_whole
from attn_research.decoding.streaming import begin_stream
from attn_research.models.gpt import GPT
from experiments.benchmarks.comparison import define_output
from experiments.harness.results import command_line, environment

VOCAB_SIZE, LAYERS, WIDTH, HEADS = 256, 2, 128, 4
PARTS = 100  # of the stream


class Part(NamedTuple):
    """The memory of the process after so many tokens."""

    tokens: int
    resident_bytes: int


def read_stream(num_tokens: int, window: int, sinks: int, chunk: int) -> Iterator[Part]:
    """Reads a stream, rounded up to whole chunks; yields after each of `PARTS` parts."""
    network = GPT(
        VOCAB_SIZE, LAYERS, WIDTH, 4 * WIDTH, HEADS,
        rotary=Rotary(WIDTH // HEADS), mask=streaming(window, sinks),
    )  # fmt: skip
    params = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))
    state = begin_stream(network, params, 1, window=window, sinks=sinks, chunk=chunk)

    @jax.jit
    def extend(params, state, chunks):
        def read(state, ids):
            found = network.apply(params, state, ids[None, None], method="extend")
            return found.state, found.states[0, 0, -1]

        return jax.lax.scan(read, state, chunks)

    rng, each = np.random.default_rng(0), -(-num_tokens // (PARTS * chunk))
    for part in range(PARTS):
        ids = rng.integers(0, VOCAB_SIZE, (each, chunk), np.int32)
        state, last = extend(params, state, ids)
        if not np.isfinite(last).all():
            raise ArithmeticError(f"a state of part {part} is not finite")
        yield Part((part + 1) * each * chunk, resident_bytes())


def resident_bytes() -> int:
    """The resident memory of this process, on Linux with glibc, without what malloc holds free."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main(argv: Sequence[str]) -> None:
    """Runs the benchmark."""
    del argv
    values = flags.FLAGS
    parts = list(read_stream(values.tokens, values.window, values.sinks, values.chunk))
    memory = [part.resident_bytes for part in parts[PARTS // 5 :]]
    growth = max(memory) / min(memory) - 1
    print(
        f"{parts[-1].tokens:,} tokens; resident memory {min(memory) / 2**20:.1f} to "
        f"{max(memory) / 2**20:.1f} MiB, {100 * growth:.2f}% apart"
    )
    result = {
        "command": command_line("experiments.benchmarks.streaming", sys.argv[1:]),
        "environment": environment(),
        "growth": growth,
        "parts": [part._asdict() for part in parts],
    }
    if values.output:
        write_whole(Path(values.output), (json.dumps(result, indent=1) + "\n").encode())


if __name__ == "__main__":
    flags.DEFINE_integer("tokens", 1_000_000, "Tokens of the stream.", lower_bound=1)
    flags.DEFINE_integer("window", 256, "Tokens that a token attends to, itself included.", 1)
    flags.DEFINE_integer("sinks", 4, "First tokens that all attend to.", 0)
    flags.DEFINE_integer("chunk", 256, "Tokens that are read at a time.", 1)
    define_output()
    app.run(main)
