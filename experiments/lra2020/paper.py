"""Tay et al. 2020: long sequences, classified by encoders that differ in their attention alone."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

from attn_research.attention import Full, Mask, Window, big_bird, longformer
from attn_research.layers.lsh import LSHAttention
from attn_research.layers.multihead import MultiHeadAttention
from attn_research.models.bert import Bert, BertClassifier
from experiments.harness.config import Config, OptimizerConfig, TrainConfig, setting
from experiments.harness.paper import TINY_TIME, Paper, Row, Scale
from experiments.lra2020 import tables
from experiments.tasks.networks import StackConfig
from experiments.tasks.text_classification.batches import longest
from experiments.tasks.text_classification.config import (
    EXAMPLES,
    LabelledTextConfig,
    TextClassificationConfig,
)
from experiments.tasks.text_classification.task import TextClassificationTask

_NARROW = ("local", "longformer", "bigbird", "reformer")


@dataclasses.dataclass(frozen=True)
class ArenaConfig(StackConfig):
    """The network."""

    block: int = setting(
        64, "Tokens on each side of a window, of a block, or of a chunk.", 1,
        needs={"attention": _NARROW},
    )  # fmt: skip
    attention: Literal["full", *_NARROW] = setting(
        "full",
        "Attention: to all, to a window, to a window and the first token, BigBird's, or by four "
        "rounds of hashing.",
    )


class _Attention(NamedTuple):
    """A mask, and what makes the heads."""

    mask: Mask
    heads: Callable[..., MultiHeadAttention] = MultiHeadAttention


def make_attention(model: ArenaConfig, length: int) -> _Attention:
    """The attention of every layer, for texts of at most `length` tokens."""
    return {
        "full": lambda: _Attention(Full()),
        "local": lambda: _Attention(Window(model.block, model.block)),
        "longformer": lambda: _Attention(longformer(model.block)),
        "bigbird": lambda: _Attention(big_bird(length, model.num_heads, block=model.block)),
        "reformer": lambda: _Attention(Full(), functools.partial(LSHAttention, chunk=model.block)),
    }[model.attention]()


def make_network(config: Config, task: TextClassificationTask) -> BertClassifier:
    """The network of a config."""
    model, part = config.model, config.task
    length = longest(part.text) + max(16, part.batching.bucket_width)  # padding of its bucket
    attention = make_attention(model, length)
    bert = Bert(
        task.vocab_size,
        **model.sizes(),
        heads=("pooler", "classifier"),
        num_classes=task.num_outputs,
        max_length=length,
        dropout=model.dropout,
        mask=attention.mask,
        attention=attention.heads,
        implementation=config.execution.named_implementation,
        remat=config.execution.remat,
    )
    return BertClassifier(bert)


# Table 1, accuracies in percent: ListOps, Text, Retrieval, Image, Pathfinder.
_TASKS = "listops", "imdb", "halves", "pixels", "pathfinder"
ROWS = {
    name: Row({"attention": attention}, dict(zip(_TASKS, printed, strict=True)))
    for name, attention, printed in (
        ("Transformer", "full", (36.37, 64.27, 57.46, 42.44, 71.40)),
        ("local", "local", (15.82, 52.98, 53.39, 41.46, 66.63)),
        ("Longformer", "longformer", (35.63, 62.85, 56.89, 42.22, 69.71)),
        ("BigBird", "bigbird", (36.05, 64.02, 59.29, 40.83, 74.87)),
        ("Reformer", "reformer", (37.27, 56.10, 53.40, 38.07, 68.50)),
    )
}
_BYTES = dict(tokenizer="bytes", max_words=1000, bucket_width=128)
_PIXELS = dict(max_words=1024, bucket_width=1028)
_CIFAR = dict(train_examples=49_000, test_examples=10_000)
_LISTS = dict(max_words=200, bucket_width=32, train_examples=20_000, num_steps=4000)
SCALES = {
    "tiny": Scale(dict(
        num_layers=2, model_dim=16, mlp_dim=32, num_heads=2, block=8, num_steps=6, eval_every=3,
        save_every=6, warmup_steps=2, vocab_size=300, max_words=60, bucket_width=64, batch_size=8,
        train_examples=100, test_examples=20,
    ), data={"pixels": dict(max_words=1024)}, time=TINY_TIME),
    "small": Scale(data={
        "listops": _LISTS,
        "imdb": _BYTES,
        "halves": _BYTES | dict(max_words=2000),
        "pixels": _PIXELS | _CIFAR,
        "pathfinder": _PIXELS | dict(train_examples=20_000),
    }),
    # The arena's lengths and sizes of networks; its learning rates are of other schedules.
    "paper": Scale(dict(
        num_layers=6, model_dim=512, mlp_dim=2048, num_heads=8, num_steps=20_000, warmup_steps=8000,
        eval_every=1000, save_every=1000,
    ), data={
        "listops": dict(max_words=2000, train_examples=96_000, test_examples=2000, num_steps=5000),
        "imdb": _BYTES | dict(max_words=4000),
        "halves": _BYTES | dict(
            max_words=8000, num_layers=4, model_dim=128, mlp_dim=512, num_heads=4, num_steps=5000
        ),
        "pixels": _PIXELS | _CIFAR | dict(num_layers=3, model_dim=64, mlp_dim=128, num_heads=4),
        "pathfinder": _PIXELS | dict(
            num_layers=4, model_dim=128, mlp_dim=128, train_examples=160_000, test_examples=20_000
        ),
    }),
}  # fmt: skip


TITLE = "Tay et al. 2020: what do cheaper kinds of attention lose on long sequences?"
CONFIG = Config(
    train=TrainConfig(num_steps=3000, eval_every=250, save_every=500, best_by="+accuracy"),
    optimizer=OptimizerConfig(
        optimizer="adamw", learning_rate=1e-3, weight_decay=0.1, warmup_steps=200
    ),
    task=TextClassificationConfig(
        LabelledTextConfig(data="listops", class_token=True, vocab_size=300),
        dataclasses.replace(EXAMPLES, batch_size=32),
    ),
    model=ArenaConfig(num_layers=2, model_dim=64, mlp_dim=128, num_heads=2, dropout=0.1),
)
PAPER = Paper(
    name="lra2020", title=TITLE, config=CONFIG, rows=ROWS, default_row="Transformer",
    scales=SCALES, task=TextClassificationTask, network=make_network, report=tables.report,
)  # fmt: skip
