"""Seconds to trace and compile the first training step of the base Transformer.

python -m experiments.benchmarks.first_step

The peer is the same Transformer in Flax Linen, one module per layer. Each time is that of a fresh
process without a compilation cache. Parameter initialization and execution are excluded.
"""

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from absl import app, flags

from experiments.benchmarks import comparison

SIZE = {
    "vocab_size": 37_000, "num_layers": 6, "model_dim": 512, "mlp_dim": 2048, "num_heads": 8,
    "dropout": 0.1, "label_smoothing": 0.1,
}  # fmt: skip


def our_step(config: dict) -> comparison.Run:
    """Tracing and compilation of this code's training step, for a batch."""
    import jax

    from attn_research.training.step import make_train_step
    from experiments.harness.program import make_program
    from experiments.vaswani2017.paper import PAPER

    fixed = {"schedule": "constant", "learning_rate": 1e-3}
    program, key = make_program(PAPER, PAPER.config.replace(**config, **fixed)), jax.random.key(0)
    # Zeros in the shapes of the parameters, so that initialization is not timed.
    state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), program.state_shapes())
    train_step = make_train_step(program.loss, program.optimizer, key)

    def step(batch):
        inputs = {name: batch[name] for name in ("source", "target")}
        return train_step.lower(state, inputs).compile()

    return step


COMPARISON = comparison.Comparison(
    "experiments.benchmarks.first_step",
    our_step,
    {"linen": ("transformer_linen", {})},
    fresh=True,
)


def write_task(folder: Path, rows: int, length: int) -> dict:
    """A batch of random words."""
    rng = np.random.default_rng(0)
    names = ("source", "target")
    batch = {n: rng.integers(4, 1000, (rows, length), dtype=np.int32) for n in names}
    about = comparison.write_batches(folder, SIZE, [batch])
    return {**about, "target_tokens": 0}


def tasks() -> Iterator[comparison.Task]:
    """One task."""
    values = flags.FLAGS
    shape = {"rows": values.rows, "length": values.length}
    yield comparison.Task(shape, functools.partial(write_task, **shape))


if __name__ == "__main__":
    flags.DEFINE_integer("rows", 8, "Sentences of the batch.", lower_bound=1)
    flags.DEFINE_integer("length", 32, "Words of a sentence.", lower_bound=1)
    comparison.define_flags(COMPARISON, peers="linen", rounds=3)
    flags.adopt_module_key_flags(comparison)
    app.run(functools.partial(comparison.main, COMPARISON, tasks))
