"""Cost of each attention mechanism: seconds of a training step, and local attention by length.

python -m experiments.benchmarks.mechanisms --output=experiments/results/benchmarks

Steps: rows of `experiments.luong2015` on one batch of the built-in corpus, in interleaved rounds;
medians of the seconds and of the ratio to the row additive in the same round. Lengths: forward and
backward of local-m and local-p attention with D = 10 at several T = S, with the gathered
implementation, and of local-p with the dense one; seconds and temporary bytes.
"""

import functools
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
from absl import app, flags

from attn_research.attention import Around, Gaussian, General, Window, attend, softmax
from attn_research.data.batching import all_rows
from attn_research.data.files import write_whole
from attn_research.training.step import make_train_step
from attn_research.viewing import plots
from experiments.benchmarks.timing import in_turn, medians, time_call
from experiments.harness import results
from experiments.harness.paper import resolve
from experiments.harness.path_flags import define_path
from experiments.harness.program import make_program
from experiments.luong2015.paper import PAPER

ROWS = (
    "additive", "dot", "general", "concat", "location", "local-m-general", "local-p-general",
    "dropout",
)  # fmt: skip
LENGTHS = (64, 128, 256, 512, 1024, 2048, 4096, 8192)
DENSE_UP_TO = 2048
WIDTH, HALF_WIDTH = 128, 10


def step_of(row: str, hidden: int) -> Callable[[], None]:
    """The training step of a row on one batch, compiled and run once."""
    given = {"data": "grammar", "hidden": hidden, "embedding": hidden, "train_pairs": 5000}
    config, key = resolve(PAPER, row, given), jax.random.key(0)
    program = make_program(PAPER, config, PAPER.task(config).load())
    state = jax.jit(program.initial_state)(key)
    step = make_train_step(program.loss, program.optimizer, key)
    batches = program.task.train_batches(0, all_rows)
    # The longest of the first batches; it is the same for every row.
    batch = max((next(batches) for _ in range(20)), key=lambda one: one["target"].shape[1])

    def run():
        nonlocal state
        state, metrics = step(state, batch)
        jax.block_until_ready(metrics)

    run()
    return run


def time_steps(hidden: int, rounds: int) -> dict[str, dict[str, float]]:
    """Median seconds of a step of each row, and the median ratio to the row additive."""
    steps = {row: step_of(row, hidden) for row in ROWS}
    runs = {row: functools.partial(time_call, step, ()) for row, step in steps.items()}
    found = medians(in_turn(runs, rounds), "additive")
    return {
        row: {"seconds": each["seconds"], "ratio_to_additive": each["times_as_long"]}
        for row, each in found.items()
    }


def local_by_length(
    locality: str, implementation: str, lengths: Sequence[int], rounds: int
) -> list[dict]:
    """Seconds and temporary bytes of local-m or local-p, forward and backward, at each length."""
    points = []
    for length in lengths:
        keys = jax.random.split(jax.random.key(0), 4)
        query, key, value = (jax.random.normal(k, (1, length, 1, WIDTH)) for k in keys[:3])
        center = length * jax.random.uniform(keys[3], (1, length))
        weight = jnp.eye(WIDTH)

        def total(query, key, value, center, weight):
            predicted = locality == "local-p"
            context, _ = attend(
                query, key, value, score=General(weight),
                mask=Around(center, HALF_WIDTH) if predicted else Window(HALF_WIDTH, HALF_WIDTH),
                normalizer=Gaussian(center, HALF_WIDTH / 2) if predicted else softmax,
                implementation=implementation,
            )  # fmt: skip
            return jnp.sum(context**2)

        arrays = query, key, value, center, weight
        compiled = jax.jit(jax.grad(total, argnums=(0, 1, 2, 3, 4))).lower(*arrays).compile()
        time_call(compiled, arrays)
        points.append(
            {
                "length": length,
                "seconds": statistics.median(time_call(compiled, arrays) for _ in range(rounds)),
                "temporary_bytes": compiled.memory_analysis().temp_size_in_bytes,
            }
        )
    return points


def draw(curves: dict[str, list[dict]], path: Path) -> None:
    """Draws seconds and bytes against length, on logarithmic axes."""
    panels = {"seconds": "forward and backward (s)", "temporary_bytes": "temporary memory (bytes)"}
    figure = plots.scaling_figure(
        {
            label: [
                plots.Curve(name, [p["length"] for p in points], [p[key] for p in points])
                for name, points in curves.items()
            ]
            for key, label in panels.items()
        },
        x_label="length T = S",
    )
    plots.save(figure, path)


def main(argv: Sequence[str]) -> None:
    del argv
    values = flags.FLAGS
    curves = {
        f"{locality}, {implementation}": local_by_length(
            locality, implementation, [n for n in LENGTHS if n <= most], values.rounds
        )
        for locality, implementation, most in (
            ("local-m", "gathered", max(LENGTHS)),
            ("local-p", "gathered", max(LENGTHS)),
            ("local-p", "reference", DENSE_UP_TO),
        )
    }
    found = {
        "command": results.command_line(__spec__.name, sys.argv[1:]),
        "hidden": values.hidden,
        "rounds": values.rounds,
        "steps": time_steps(values.hidden, values.rounds),
        "local": {"width": WIDTH, "half_width": HALF_WIDTH, "curves": curves},
        "environment": results.environment(),
    }
    text = json.dumps(found, indent=1)
    print(text)
    if values.output:
        folder = Path(values.output)
        write_whole(folder / "mechanisms.json", text.encode())
        draw(curves, folder / "local_attention.png")


if __name__ == "__main__":
    flags.DEFINE_integer("hidden", 256, "Cells of a layer.", 1)
    flags.DEFINE_integer("rounds", 7, "Number of rounds.", 1)
    define_path("output", "", "Folder for mechanisms.json and local_attention.png.")
    app.run(main)
