"""Speed of masked attention on a GPU, relative to unmasked cuDNN, per useful FLOP.

python -m experiments.benchmarks.attention_gpu --output=PATH

A useful FLOP belongs to a query-key pair that the mask allows: 4 H per pair forward (two products),
14 H with backward (five more). Results are medians over interleaved rounds: TFLOP/s, and its ratio
to that of unmasked cuDNN in the same round. Each timing covers `--calls` calls in one program.
Exits with status 2 without a GPU.
"""

import concurrent.futures
import itertools
import json
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from absl import app, flags
from tqdm import tqdm

from attn_research.attention import (
    BlockWindow,
    Causal,
    Full,
    Global,
    Mask,
    Segments,
    Window,
    longformer,
)
from attn_research.attention.positions import grid
from attn_research.data.files import write_whole
from experiments.benchmarks import comparison
from experiments.benchmarks.timing import compile_run, in_turn, ours
from experiments.harness.results import command_line, environment

TOKENS, MODEL_DIM = 16384, 2048  # of a batch, and of all heads
IMPLEMENTATIONS = "hopper", "pallas"
BASE = "cudnn full"
WINDOW, DOCUMENTS = 1024, 8
# Of sparse masks: tokens on each side of a window, or of a block, and the least length.
ONE_SIDE, BLOCK, SPARSE_FROM = 256, 256, 4096


def masks(batch: int, length: int) -> dict[str, Mask]:
    """Masks by name. Documents have equal lengths and are causal; long texts have sparse ones."""
    ids = jnp.broadcast_to(jnp.arange(length) * DOCUMENTS // length, (batch, length))
    sparse = {
        "Longformer": longformer(ONE_SIDE),
        "blocks": BlockWindow(BLOCK, 1, 1) | Global(0, BLOCK),
    }
    return {
        "full": Full(),
        "causal": Causal(),
        "window": Causal() & Window(min(WINDOW, length // 4) - 1, 0),
        "documents": Causal() & Segments(ids, ids),
    } | (sparse if length >= SPARSE_FROM else {})


def visible(mask: Mask, batch: int, length: int) -> int:
    """Number of query-key pairs that the mask allows in a batch."""
    count, size = 0, min(1024, length)
    for start in range(0, length, size):
        positions = grid(start + jnp.arange(size), jnp.arange(length), rank=4)
        allowed = jnp.broadcast_to(mask(*positions), (batch, 1, size, length))
        count += int(allowed.sum())
    return count


def measure(
    length: int,
    width: int,
    *,
    implementations: Sequence[str],
    gradient: bool,
    rounds: int,
    calls: int,
) -> Iterator[dict[str, Any]]:
    """Yields a row for each implementation and each mask that it supports."""
    batch, heads = max(1, TOKENS // length), MODEL_DIM // width
    shape = batch, length, heads, width
    of_mask = masks(batch, length)
    pairs = {name: visible(mask, batch, length) * heads * width for name, mask in of_mask.items()}

    def prepare(system: tuple[str, str]) -> tuple[Callable[[], float], int] | None:
        implementation, of = system
        attention = ours(implementation, mask=of_mask[of])
        try:
            return compile_run(attention, shape, gradient, jnp.bfloat16, calls)
        except NotImplementedError:
            return None  # such as cuDNN with documents, or kernels for another GPU

    systems = list(itertools.product(dict.fromkeys(["cudnn", *implementations]), of_mask))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        prepared = dict(zip(systems, pool.map(prepare, systems), strict=True))
    prepared = {" ".join(names): found for names, found in prepared.items() if found}
    runs = {name: run for name, (run, _) in prepared.items()}
    flops = {name: pairs[name.split()[1]] * (14 if gradient else 4) for name in runs}
    seconds = in_turn(runs, rounds)
    for name, found in seconds.items():
        ratios = [
            (flops[name] / mine) / (flops[BASE] / base)
            for mine, base in zip(found, seconds[BASE], strict=True)
        ]
        implementation, of = name.split()
        yield {
            "implementation": implementation,
            "mask": of,
            "length": length,
            "width": width,
            "batch": batch,
            "heads": heads,
            "gradient": gradient,
            "teraflops": flops[name] / statistics.median(found) / 1e12,
            "of_unmasked_cudnn": round(statistics.median(ratios), 3),
            "seconds": statistics.median(found),
            "temporary_bytes": prepared[name][1],
            "all_seconds": found,
        }


def main(argv: Sequence[str]) -> None:
    del argv
    if jax.default_backend() != "gpu":
        print(f"error: this measures on a GPU, here is {jax.default_backend()}", file=sys.stderr)
        sys.exit(2)
    values = flags.FLAGS
    cases = [
        (int(length), int(width), gradient)
        for width in values.widths
        for length in values.lengths
        for gradient in (False, True)
    ]
    found: dict[str, Any] = {
        "command": command_line(__spec__.name, sys.argv[1:]),
        "environment": environment(),
        "rows": [],
    }
    for length, width, gradient in tqdm(cases, mininterval=5):
        options = {"gradient": gradient, "rounds": values.rounds, "calls": values.calls}
        for row in measure(length, width, implementations=values.implementations, **options):
            found["rows"].append(row)
            tqdm.write(
                f"{length:>6} x {width:<4}{'forward+backward' if gradient else 'forward':<17}"
                f"{row['implementation']:<7}{row['mask']:<10}{row['teraflops']:7.1f} TFLOP/s  "
                f"{row['of_unmasked_cudnn']:6.2f} of cuDNN without a mask"
            )
        if values.output:  # after every case, so that an interruption loses one case at most
            write_whole(Path(values.output), (json.dumps(found, indent=1) + "\n").encode())


if __name__ == "__main__":
    lengths = ["1024", "2048", "4096", "8192", "16384"]
    flags.DEFINE_list("lengths", lengths, "Lengths T = S, with commas.")
    flags.DEFINE_list("widths", ["64", "128"], "Head widths, with commas.")
    flags.DEFINE_list(
        "implementations", list(IMPLEMENTATIONS), "Implementations to measure besides cuDNN."
    )
    flags.register_validator(
        "implementations",
        lambda chosen: set(chosen) <= set(IMPLEMENTATIONS),
        message=f"choose from {', '.join(IMPLEMENTATIONS)}",
    )
    flags.DEFINE_integer("rounds", 9, "Number of rounds.", 1)
    flags.DEFINE_integer("calls", 20, "Calls of one program.", 1)
    comparison.define_output()
    flags.adopt_module_key_flags(comparison)
    app.run(main)
