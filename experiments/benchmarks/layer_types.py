"""Table 1 of Vaswani et al. 2017, measured: complexity, sequential operations, path length.

python -m experiments.benchmarks.layer_types --output=experiments/results/benchmarks

FLOPs of matrix products are counted in the traced program at several n and d, and exponents are
fitted. Sequential operations are loop iterations. Path length is the number of layers, or of loop
iterations, until the last output depends on the first input; it is read from Jacobians of small
layers.
"""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from attn_research.attention import Window, attend
from attn_research.data.files import write_whole
from attn_research.training.cost import matmul_flops
from attn_research.viewing.tables import Cell, Column, Table, to_dict, to_markdown
from experiments.harness import results
from experiments.harness.path_flags import define_path

KERNEL, NEIGHBORHOOD = 3, 8
LENGTHS, WIDTHS = (64, 128, 256, 512), (32, 64, 128, 256)


def self_attention(x):
    """Self-attention of one head, without projections."""
    return attend(x[:, None], x[:, None], x[:, None], implementation="reference").context[:, 0]


def restricted(x):
    """Self-attention restricted to `NEIGHBORHOOD` positions around each position."""
    mask = Window(NEIGHBORHOOD // 2, NEIGHBORHOOD - 1 - NEIGHBORHOOD // 2)
    heads = x[:, None]
    return attend(heads, heads, heads, mask=mask, implementation="gathered").context[:, 0]


def recurrent(x):
    """A recurrent layer, h_t = tanh(W x_t + U h_{t-1})."""
    w = u = jnp.eye(x.shape[-1]) / 2

    def step(h, now):
        h = jnp.tanh(now @ w + h @ u)
        return h, h

    return jax.lax.scan(step, jnp.zeros(x.shape[-1]), x)[1]


def convolutional(x):
    """A convolution with a kernel of `KERNEL` positions, as a sum of matrix products."""
    padded = jnp.pad(x, [(KERNEL // 2, KERNEL // 2), (0, 0)])
    w = jnp.eye(x.shape[-1]) / 2
    return sum(padded[k : k + len(x)] @ w for k in range(KERNEL))


class Layer(NamedTuple):
    """A type of layer: its function, and the paper's three columns."""

    apply: Callable
    complexity: str
    flops: Callable[[int, int], float]  # the paper's complexity at n and d, without its constant
    operations: str
    path: str


LAYERS = {
    "self-attention": Layer(self_attention, "O(n²·d)", lambda n, d: n * n * d, "O(1)", "O(1)"),
    "recurrent": Layer(recurrent, "O(n·d²)", lambda n, d: n * d * d, "O(n)", "O(n)"),
    "convolutional": Layer(
        convolutional, "O(k·n·d²)", lambda n, d: KERNEL * n * d * d, "O(1)", "O(n/k), contiguous"
    ),
    "self-attention (restricted)": Layer(
        restricted, "O(r·n·d)", lambda n, d: NEIGHBORHOOD * n * d, "O(1)", "O(n/r)"
    ),
}


def count(layer: Layer, n: int, d: int) -> int:
    """FLOPs of the matrix products of one layer."""
    return matmul_flops(layer.apply, jax.ShapeDtypeStruct((n, d), jnp.float32))


def exponents(layer: Layer) -> tuple[float, float]:
    """Fitted exponents of n and d."""
    rows = [(n, d, count(layer, n, d)) for n in LENGTHS for d in WIDTHS]
    axes = np.array([[math.log(n), math.log(d), 1.0] for n, d, _ in rows])
    logs = np.array([math.log(flops) for *_, flops in rows])
    slope_n, slope_d, _ = np.linalg.lstsq(axes, logs, rcond=None)[0]
    return float(slope_n), float(slope_d)


def sequential(layer: Layer, n: int, d: int = 32) -> int:
    """Number of loop iterations, 1 without a loop."""
    jaxpr = jax.make_jaxpr(layer.apply)(jnp.zeros((n, d))).jaxpr
    iterations = [eqn.params["length"] for eqn in jaxpr.eqns if eqn.primitive.name == "scan"]
    return sum(iterations) or 1


def path_length(layer: Layer, n: int, d: int = 4) -> int:
    """Layers, or loop iterations, between the first input and the last output."""
    if sequential(layer, n, d) > 1:
        return sequential(layer, n, d)  # each iteration reads the state of the one before
    x = jax.random.normal(jax.random.key(0), (n, d))
    # Entry (i, j) is True if output i of one layer depends on input j, in any feature.
    depends = np.abs(jax.jacrev(layer.apply)(x)).max(axis=(1, 3)) > 0
    reached, layers = depends, 1
    while not reached[-1, 0]:
        reached, layers = (reached.astype(int) @ depends.astype(int)) > 0, layers + 1
    return layers


def crossover(d: int) -> int:
    """The least length at which self-attention costs as much as recurrence."""
    attention, recurrence = LAYERS["self-attention"], LAYERS["recurrent"]
    lengths = range(2, 8 * d)
    return next(n for n in lengths if count(attention, n, d) >= count(recurrence, n, d))


def measure() -> tuple[Table, Table]:
    """Table 1, and the lengths at which self-attention costs as much as recurrence."""
    columns = [Column("layer", ""), Column("complexity", ""), Column("exponent of n")]
    columns += [Column("exponent of d"), Column("FLOPs / order", ".1f")]
    columns += [Column("sequential, n = 64, 128", ""), Column("paper: sequential", "")]
    columns += [Column("path, n = 16, 32, 64", ""), Column("paper: path", "")]
    rows = []
    for name, layer in LAYERS.items():
        of_n, of_d = exponents(layer)
        rows.append(
            {
                "layer": name,
                "complexity": layer.complexity,
                "exponent of n": of_n,
                "exponent of d": of_d,
                "FLOPs / order": Cell(count(layer, 256, 128) / layer.flops(256, 128)),
                "sequential, n = 64, 128": _list(sequential(layer, n) for n in (64, 128)),
                "paper: sequential": layer.operations,
                "path, n = 16, 32, 64": _list(path_length(layer, n) for n in (16, 32, 64)),
                "paper: path": layer.path,
            }
        )
    lines = [{"d": d, "n": crossover(d)} for d in (32, 64, 128)]
    return Table(columns, rows), Table([Column("d", "d"), Column("n", "d")], lines)


def _list(numbers) -> str:
    return ", ".join(map(str, numbers))


def main(argv: Sequence[str]) -> None:
    del argv
    table, crossovers = measure()
    text = (
        "# Vaswani et al. 2017, Table 1, measured\n\n"
        f"`python -m experiments.benchmarks.layer_types`; kernel k = {KERNEL}, neighborhood "
        f"r = {NEIGHBORHOOD}\n\n{to_markdown(table)}\nSelf-attention costs as much as recurrence "
        f"from n on, with width d (the paper: n = d):\n\n{to_markdown(crossovers)}"
    )
    print(text)
    folder = flags.FLAGS.output
    if folder:
        found = {
            "command": "python -m experiments.benchmarks.layer_types",
            "table": to_dict(table),
            "crossover": to_dict(crossovers),
            "environment": results.environment(),
        }
        write_whole(Path(folder) / "layer_types.md", text.encode())
        write_whole(Path(folder) / "layer_types.json", json.dumps(found, indent=1).encode())


if __name__ == "__main__":
    define_path("output", "", "Folder for layer_types.md and layer_types.json.")
    app.run(main)
