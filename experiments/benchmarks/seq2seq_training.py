"""Training speed of RNNsearch and of the same model in other libraries, on the same batches.

python -m experiments.benchmarks.seq2seq_training                      this code and plain PyTorch
python -m experiments.benchmarks.seq2seq_training --peers=torch,joeynmt --peer_python=PATH

The peers need `pip install -e .[peers]`, in this environment or in that of `--peer_python`. Speed
is in non-padding target tokens per second. See `experiments.benchmarks.comparison` for the method.
"""

import functools
from collections.abc import Iterator
from pathlib import Path

from absl import app, flags

from experiments.benchmarks import comparison


def our_step(config: dict) -> comparison.Run:
    """The training step of this code: Adam, gradients clipped to norm 1."""
    from experiments.bahdanau2014.paper import PAPER
    from experiments.harness.program import Program
    from experiments.tasks.translation.task import TranslationTask

    class Task(TranslationTask):
        vocab_sizes = config["source_vocab"], config["target_vocab"]

    names = ("hidden", "embedding", "maxout", "alignment", "attention")
    sizes = {name: config[name] for name in names}
    ours = PAPER.config.replace(**sizes, schedule="constant")
    return comparison.our_training(Program(PAPER, ours, Task(ours)))


COMPARISON = comparison.Comparison(
    "experiments.benchmarks.seq2seq_training",
    our_step,
    {
        "torch": ("seq2seq_torch_plain", {}),
        "torch-tuned": ("seq2seq_torch", {}),
        "torch-compiled": ("seq2seq_torch", {"compile": True}),
        "joeynmt": ("seq2seq_joeynmt", {}),
    },
)


def write_task(folder: Path, hidden: int, data: str, data_dir: str, count: int) -> dict:
    """Batches of 64 as the row RNNsearch-50 draws them, and the sizes."""
    from experiments.bahdanau2014.paper import PAPER
    from experiments.harness.paper import resolve
    from experiments.tasks.translation.batches import make_batches

    given = {"data": data, "data_dir": data_dir, "batching": "sorted", "batch_size": 64}
    drawn = resolve(PAPER, "RNNsearch-50", given)
    task = PAPER.task(drawn).load()
    source_vocab, target_vocab = task.vocab_sizes
    config = {
        "source_vocab": source_vocab,
        "target_vocab": target_vocab,
        "hidden": hidden,
        "embedding": hidden // 2,
        "maxout": hidden // 2,
        "alignment": hidden,
        "attention": True,
    }
    batches = make_batches(drawn, task.data.train)
    about = comparison.write_batches(folder, config, (batches[number] for number in range(count)))
    return {**about, "data": data}


def tasks() -> Iterator[comparison.Task]:
    """One task for each width."""
    values = flags.FLAGS
    for hidden in map(int, values.hidden.split(",")):
        data = {"data": values.data, "data_dir": values.data_dir, "count": values.num_batches}
        yield comparison.Task(
            {"hidden": hidden}, functools.partial(write_task, hidden=hidden, **data)
        )


if __name__ == "__main__":
    flags.DEFINE_string("hidden", "256,512", "Hidden widths, with commas.")
    comparison.define_data_flags(num_batches=10)
    comparison.define_flags(COMPARISON, peers="torch", rounds=7)
    flags.adopt_module_key_flags(comparison)
    app.run(functools.partial(comparison.main, COMPARISON, tasks))
