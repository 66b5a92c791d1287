"""Cost of attention against length: seconds, FLOPs and peak bytes, with their growth exponents.

python -m experiments.benchmarks.cost_curve --output=experiments/results/benchmarks

Forward and backward of self-attention of four heads of width 64, of one text: full attention with
its matrix of scores and blockwise, a window of 256 keys, Longformer, BigBird, LSH attention with
two rounds, and routing with √T clusters. Lengths are taken in interleaved rounds, seconds are
medians, and peak bytes those of the compiled program: arguments, results and temporaries. FLOPs are
those of one forward pass: XLA's count, in which each round of LSH after its hash counts as the
first, and for blockwise attention that of `explain`. An exponent is the slope of a line through the
logarithms of the four greatest lengths. Pairs are those of a query and a key, each a score of full
attention, which comes first: 1,000 tokens have a million.
"""

import functools
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from attn_research.attention import (
    Full,
    Mask,
    Window,
    attend,
    big_bird,
    bucket_attend,
    bucket_counts,
    explain,
    longformer,
    lsh_buckets,
    routing_attend,
)
from attn_research.data.files import write_whole
from attn_research.viewing import plots
from attn_research.viewing.tables import Column, Table, to_markdown
from experiments.benchmarks.idle import exit_if_busy
from experiments.benchmarks.timing import time_call, with_gradient
from experiments.harness.path_flags import define_path
from experiments.harness.results import command_line, environment

HEADS, WIDTH, ONE_SIDE, BLOCK, ROUNDS_OF_LSH = 4, 64, 128, 64, 2
FULL_UP_TO = 8192
QUANTITIES = "seconds", "forward_flops", "peak_bytes"


class Mechanism(NamedTuple):
    """A kind of attention: a function of query, key and value, and the FLOPs of one call."""

    run: Callable[..., jax.Array]
    flops: Callable[[tuple[int, ...]], float]


def by_mask(mask: Mask, implementation: str) -> Mechanism:
    """Attention under a mask, whose FLOPs `explain` counts."""

    def run(*arrays: jax.Array) -> jax.Array:
        return attend(*arrays, mask=mask, implementation=implementation).context

    def flops(shape: tuple[int, ...]) -> float:
        shapes = [jax.ShapeDtypeStruct(shape, jnp.float32)] * 3
        rows = explain(*shapes, mask=mask, implementation=implementation)
        return next(row.flops for row in rows if row.verdict == "chosen")

    return Mechanism(run, flops)


def counted(run: Callable[..., jax.Array], shape: tuple[int, ...]) -> float:
    """The FLOPs of a function of query, key and value, in which XLA counts a loop's body once."""
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32)] * 3
    return jax.jit(run).lower(*shapes).compile().cost_analysis()["flops"]


def mechanisms(length: int) -> dict[str, Mechanism]:
    """All of them, for texts of that length; each is called by its name in the table."""

    def hashed(query: jax.Array, *_: jax.Array) -> jax.Array:
        counts = bucket_counts(length, 2 * BLOCK)
        return lsh_buckets(query, jax.random.key(0), num_buckets=counts, num_rounds=ROUNDS_OF_LSH)

    def lsh(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
        return bucket_attend(query, value, hashed(query), chunk=2 * BLOCK).context

    def lsh_flops(shape: tuple[int, ...]) -> float:
        of_hash = counted(hashed, shape)
        return of_hash + ROUNDS_OF_LSH * (counted(lsh, shape) - of_hash)

    clusters = max(1, round(length**0.5))
    centroids = jax.random.normal(jax.random.key(1), (HEADS, clusters, WIDTH))

    def routing(*arrays: jax.Array) -> jax.Array:
        return routing_attend(*arrays, centroids, size=-(-length // clusters)).context

    found = {
        "full": by_mask(Full(), "reference"),
        "blockwise": by_mask(Full(), "tiled"),
        "window": by_mask(Window(ONE_SIDE, ONE_SIDE), "tiled"),
        "Longformer": by_mask(longformer(ONE_SIDE), "tiled"),
        "BigBird": by_mask(big_bird(length, HEADS, block=BLOCK), "tiled"),
        "LSH": Mechanism(lsh, lsh_flops),
        "routing": Mechanism(routing, functools.partial(counted, routing)),
    }
    if length > FULL_UP_TO:
        del found["full"]
    return found


def measure(lengths: Sequence[int], rounds: int) -> list[dict[str, Any]]:
    """A row for each mechanism and length."""
    rows, runs = [], []
    for length in lengths:
        shape = 1, length, HEADS, WIDTH
        keys = jax.random.split(jax.random.key(0), 4)
        arrays = [jax.random.normal(key, shape) for key in keys]
        for name, mechanism in mechanisms(length).items():
            compiled = jax.jit(with_gradient(mechanism.run)).lower(*arrays).compile()
            memory = compiled.memory_analysis()
            peak = memory.argument_size_in_bytes + memory.output_size_in_bytes
            rows.append(
                {
                    "mechanism": name,
                    "length": length,
                    "pairs": length**2,
                    "forward_flops": round(mechanism.flops(shape)),
                    "peak_bytes": peak + memory.temp_size_in_bytes,
                }
            )
            runs.append(functools.partial(time_call, compiled, arrays))
            runs[-1]()
    seconds = [[run() for run in runs] for _ in range(rounds)]
    for row, found in zip(rows, zip(*seconds, strict=True), strict=True):
        row["seconds"] = statistics.median(found)
    return rows


def exponents(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """The growth exponents of each mechanism, None where it has fewer than two lengths."""
    found: dict[str, dict[str, float | None]] = {}
    for name in dict.fromkeys(row["mechanism"] for row in rows):
        own = sorted((row for row in rows if row["mechanism"] == name), key=lambda r: r["length"])
        last = own[-4:]
        found[name] = dict.fromkeys(QUANTITIES)
        if len(last) > 1:
            lengths = np.log([row["length"] for row in last])
            for quantity in QUANTITIES:
                values = np.log([row[quantity] for row in last])
                found[name][quantity] = round(float(np.polyfit(lengths, values, 1)[0]), 3)
    return found


def render(rows: Sequence[dict[str, Any]], fitted: dict[str, dict[str, Any]]) -> str:
    """Both tables in Markdown."""
    columns = [Column("mechanism", ""), Column("length", ",d"), Column("pairs", ",d")]
    columns += [
        Column("seconds", ".3g"),
        Column("forward_flops", ".3g"),
        Column("peak_bytes", ",d"),
    ]
    growth = [{"mechanism": name, **each} for name, each in fitted.items()]
    titles = [Column("mechanism", ""), *(Column(quantity, ".2f") for quantity in QUANTITIES)]
    return f"{to_markdown(Table(columns, rows))}\n{to_markdown(Table(titles, growth))}"


def main(argv: Sequence[str]) -> None:
    del argv
    values = flags.FLAGS
    idle = exit_if_busy()
    rows = measure([int(each) for each in values.lengths], values.rounds)
    fitted = exponents(rows)
    print(render(rows, fitted))
    if not values.output:
        return
    record = {
        "command": command_line("experiments.benchmarks.cost_curve", sys.argv[1:]),
        "environment": environment(),
        "idle": idle,
        "rows": rows,
        "exponents": fitted,
    }
    folder = Path(values.output)
    write_whole(folder / "cost_curve.json", (json.dumps(record, indent=1) + "\n").encode())
    panels = {
        quantity.replace("_", " "): [
            plots.Curve(
                name,
                [row["length"] for row in rows if row["mechanism"] == name],
                [row[quantity] for row in rows if row["mechanism"] == name],
            )
            for name in fitted
        ]
        for quantity in QUANTITIES
    }
    plots.save(plots.scaling_figure(panels, x_label="length"), folder / "cost_curve.png")


if __name__ == "__main__":
    flags.DEFINE_list(
        "lengths", ["1000", "2048", "4096", "8192", "16384", "32768"], "Lengths, with commas."
    )
    flags.DEFINE_integer("rounds", 5, "Interleaved rounds.", 1)
    define_path("output", "", "Folder for cost_curve.json and cost_curve.png.")
    app.run(main)
