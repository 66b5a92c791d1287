"""Training speed of the Transformer beside `torch.nn.Transformer`, on the same batches.

python -m experiments.benchmarks.transformer_training --peer_python=PATH
python -m experiments.benchmarks.transformer_training --data=multi30k --peer_python=PATH

The peers need `pip install -e .[peers]`, in this environment or in that of
`--peer_python`. They take turns as `experiments.benchmarks.race` says. The figure is non-padding
target tokens per second.
"""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import app, flags

from experiments.benchmarks import race

SIZES = {
    "tiny": {"num_layers": 4, "model_dim": 128, "mlp_dim": 256, "num_heads": 4},
    "small": {"num_layers": 3, "model_dim": 256, "mlp_dim": 1024, "num_heads": 8},
}
VOCABULARY = 10_066
SHARED = {"vocab_size": VOCABULARY, "dropout": 0.1, "label_smoothing": 0.1}


def our_step(config: dict) -> race.Run:
    """One training step of this code: Adam, the gradient's norm at most 1."""
    from experiments.harness.program import make_program
    from experiments.vaswani2017.paper import PAPER

    fixed = {"schedule": "constant", "learning_rate": 1e-3}
    return race.our_training(make_program(PAPER, PAPER.config.replace(**config, **fixed)))


RACE = race.Race(
    "experiments.benchmarks.transformer_training",
    our_step,
    {
        "torch": ("transformer_torch", {}),
        "torch-tuned": ("transformer_torch", {"tuned": True}),
    },
)


def write_task(folder: Path, size: str, data: str, data_dir: str, count: int) -> dict:
    """Batches by a budget of tokens as the base row draws them, and the sizes."""
    from experiments.harness.paper import resolve
    from experiments.tasks.translation.batches import make_batches
    from experiments.vaswani2017.paper import PAPER

    resolved = resolve(PAPER, "base", {"data": data, "data_dir": data_dir})
    batches = make_batches(resolved, PAPER.task(resolved).load().data.train)
    # The ids of a small vocabulary are ids of the large one too.
    config = SIZES[size] | SHARED
    drawn = (batches[number] for number in range(count))
    return {**race.write_work(folder, config, drawn), "data": data}


def tasks() -> Iterator[race.Task]:
    """One of each size."""
    values = flags.FLAGS
    for size in values.sizes.split(","):
        data = {"data": values.data, "data_dir": values.data_dir, "count": values.num_batches}
        yield race.Task({"size": size}, functools.partial(write_task, size=size, **data))


def _main(argv: Sequence[str]) -> None:
    del argv
    race.main(RACE, tasks)


if __name__ == "__main__":
    flags.DEFINE_string("sizes", "tiny,small", f"of {', '.join(SIZES)}")
    race.define_data_flags(num_batches=6)
    race.define_flags(RACE, peers="torch", rounds=7)
    app.run(_main)
