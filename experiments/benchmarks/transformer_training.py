"""Training speed of the Transformer and of `torch.nn.Transformer`, on the same batches.

python -m experiments.benchmarks.transformer_training --peer_python=PATH
python -m experiments.benchmarks.transformer_training --data=multi30k --peer_python=PATH

The peers need `pip install -e .[peers]`, in this environment or in that of `--peer_python`. Speed
is in non-padding target tokens per second. See `experiments.benchmarks.comparison` for the method.
"""

import functools
from collections.abc import Iterator
from pathlib import Path

from absl import app, flags

from experiments.benchmarks import comparison

SIZES = {
    "tiny": {"num_layers": 4, "model_dim": 128, "mlp_dim": 256, "num_heads": 4},
    "small": {"num_layers": 3, "model_dim": 256, "mlp_dim": 1024, "num_heads": 8},
}
VOCABULARY = 10_066
SHARED = {"vocab_size": VOCABULARY, "dropout": 0.1, "label_smoothing": 0.1}


COMPARISON = comparison.Comparison(
    "experiments.benchmarks.transformer_training",
    comparison.our_step("vaswani2017"),
    {
        "torch": ("transformer_torch", {}),
        "torch-tuned": ("transformer_torch", {"tuned": True}),
    },
)


def write_task(folder: Path, size: str, data: str, data_dir: str, count: int) -> dict:
    """Batches of a token budget as the row base draws them, and the sizes."""
    from experiments.harness.paper import resolve
    from experiments.tasks.translation.batches import make_batches
    from experiments.vaswani2017.paper import PAPER

    resolved = resolve(PAPER, "base", {"data": data, "data_dir": data_dir})
    batches = make_batches(resolved, PAPER.task(resolved).load().data.train)
    # The ids of a small vocabulary are ids of the large one too.
    config = SIZES[size] | SHARED
    drawn = (batches[number] for number in range(count))
    return {**comparison.write_batches(folder, config, drawn), "data": data}


def tasks() -> Iterator[comparison.Task]:
    """One task for each size."""
    values = flags.FLAGS
    for size in values.sizes.split(","):
        data = {"data": values.data, "data_dir": values.data_dir, "count": values.num_batches}
        yield comparison.Task({"size": size}, functools.partial(write_task, size=size, **data))


if __name__ == "__main__":
    flags.DEFINE_string("sizes", "tiny,small", f"Sizes, with commas, of {', '.join(SIZES)}.")
    comparison.define_data_flags(num_batches=6)
    comparison.define_flags(COMPARISON, peers="torch", rounds=7)
    flags.adopt_module_key_flags(comparison)
    app.run(functools.partial(comparison.main, COMPARISON, tasks))
