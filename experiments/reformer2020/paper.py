"""Kitaev et al. 2020: one layer that repeats a word, trained and read with numbers of hashes."""

import dataclasses
import functools

from flax import linen as nn

from attn_research.layers.lsh import LSHAttention
from attn_research.models.gpt import GPT
from experiments.harness.config import Config, OptimizerConfig, TrainConfig, setting
from experiments.harness.paper import TINY_TIME, Paper, Row, Scale
from experiments.reformer2020 import tables
from experiments.reformer2020.tables import READERS
from experiments.tasks.copying.config import TINY, CopyingConfig
from experiments.tasks.copying.network import make_decoder
from experiments.tasks.copying.task import CopyingTask
from experiments.tasks.networks import StackConfig


@dataclasses.dataclass(frozen=True)
class ReformerConfig(StackConfig):
    """The network."""

    rounds: int = setting(4, "Rounds of hashing in training; 0: attention to all.", 0)
    chunk: int = setting(
        16, "Positions of a chunk, which attends to itself and to the one before.", 1
    )


class DuplicationTask(CopyingTask):
    """Copying, whose test set is read with every number of hashes."""

    def readers(self, network: GPT) -> dict[str, nn.Module]:
        return {name: _with_rounds(network, rounds) for name, rounds in READERS.items()}


def make_network(config: Config, task: CopyingTask) -> GPT:
    """The network of a config."""
    heads = _heads(config.model.rounds, config.model.chunk)
    return make_decoder(config, task, "duplication", attention=heads, tied=False)


@functools.cache
def _heads(rounds: int, chunk: int) -> functools.partial:
    """The heads; the same object for the same numbers, so that programs are compiled once."""
    return functools.partial(LSHAttention, num_rounds=rounds, chunk=chunk)


def _with_rounds(network: GPT, rounds: int) -> GPT:
    return network.clone(attention=_heads(rounds, network.attention.keywords["chunk"]))


# The table prints the accuracy in percent, by what read: full, LSH-8, LSH-4, LSH-2, LSH-1.
ROWS = {
    name: Row({"rounds": READERS[name]}, dict(zip(READERS, printed, strict=True)))
    for name, printed in {
        "full": (100, 94.8, 92.5, 76.9, 52.5),
        "LSH-4": (0.8, 100, 99.9, 99.4, 91.9),
        "LSH-2": (0.8, 100, 99.9, 98.1, 86.8),
        "LSH-1": (0.8, 99.9, 99.6, 94.8, 77.9),
    }.items()
}
SCALES = {
    "tiny": Scale(TINY | dict(chunk=4), time=TINY_TIME),
    "small": Scale(),
    # Section 5, "Effect of sharing QK" and "Effect of LSH": sequences of 1,024 tokens; as we recall
    # it, 127 symbols and a width of 256. What is not known is as in the scale small.
    "paper": Scale(dict(
        length=1024, model_dim=256, mlp_dim=256, chunk=64, num_steps=150_000,
        eval_every=5000, save_every=5000, test_batches=32,
    )),
}  # fmt: skip


TITLE = "Kitaev et al. 2020: how many hashes find what attention to all finds?"
CONFIG = Config(
    train=TrainConfig(num_steps=1000, eval_every=200, save_every=200, best_by="+accuracy"),
    optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=200),
    task=CopyingConfig(),
    model=ReformerConfig(num_layers=1, model_dim=128, mlp_dim=128, num_heads=4),
)
PAPER = Paper(
    name="reformer2020", title=TITLE, config=CONFIG, rows=ROWS, default_row="LSH-4",
    scales=SCALES, task=DuplicationTask, network=make_network, report=tables.report,
)  # fmt: skip
