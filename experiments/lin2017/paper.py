"""Lin et al. 2017: networks, rows and scales of what pools the states of a sentence."""

import dataclasses
from collections.abc import Callable
from typing import Literal

from attn_research.layers.pooling import (
    Pooled,
    SelfAttentionPooling,
    each_state,
    last_states,
    max_pooling,
    mean_pooling,
)
from attn_research.models.self_attentive import SelfAttentive
from experiments.harness.config import Config, OptimizerConfig, TrainConfig, fraction, setting
from experiments.harness.paper import TINY_TIME, Paper, Row, Scale
from experiments.lin2017 import tables
from experiments.tasks.text_classification.config import TextClassificationConfig
from experiments.tasks.text_classification.task import TextClassificationTask

POOLINGS = {"last": last_states, "mean": mean_pooling, "max": max_pooling, "each": each_state}
_ATTENDS = {"pooling": ("attention",)}


@dataclasses.dataclass(frozen=True)
class SelfAttentiveConfig:
    """The network."""

    pooling: Literal["attention", *POOLINGS] = setting(
        "attention",
        "What is made of the states of a sentence: rows of self-attention, the last state, the "
        "mean, the maximum, or each state by itself, for tags of words.",
    )
    num_rows: int = setting(8, "Rows r of attention.", 1, needs=_ATTENDS)
    attention_dim: int = setting(64, "Width d_a of its hidden layer.", 1, needs=_ATTENDS)
    penalty: float = setting(
        0.1, "Coefficient of the redundancy of the rows in the loss.", 0.0, needs=_ATTENDS
    )
    hidden: int = setting(64, "Cells u of the LSTM of each direction.", 1)
    embedding: int = setting(64, "Width of word embeddings.", 1)
    mlp_dim: int = setting(64, "Width of the hidden layer after pooling.", 1)
    dropout: float = fraction(
        0.4, "Dropout of embeddings, of the pooled vector and of the hidden layer."
    )
    word_dropout: float = fraction(0.3, "Dropout of whole words.")
    init_limit: float = setting(
        0.1, "Initial weights of words and LSTM are uniform between minus and plus this.", 0.0
    )


# What the paper compares: pooling by attention with others, one row with several, and several with
# and without the penalty.
ROWS = {
    "last": Row({"pooling": "last"}),
    "mean": Row({"pooling": "mean"}),
    "max": Row({"pooling": "max"}),
    "one-row": Row({"num_rows": 1, "penalty": 0.0}),
    "rows": Row({"penalty": 0.0}),
    "rows-penalty": Row(),
}

# A few epochs: with so few sentences a network then knows them by heart.
_SHORT = dict(num_steps=400, eval_every=50, save_every=400, warmup_steps=30, bucket_width=16)
# Text as it was written, not cut into words.
_RAW = _SHORT | dict(tokenizer="moses", lowercase=True)
SCALES = {
    "tiny": Scale(dict(
        embedding=12, hidden=8, mlp_dim=10, num_rows=3, attention_dim=6, num_steps=12,
        eval_every=6, save_every=6, warmup_steps=2, batch_size=16, bucket_width=20,
        train_examples=200, test_examples=40, vocab_size=500,
    ), data={"stsb": dict(best_by="+pearson")}, time=TINY_TIME),
    "small": Scale(data={
        "grammar": _SHORT,
        "sst2": _SHORT,
        "sst2_phrases": dict(num_steps=4000, eval_every=400, save_every=2000, bucket_width=16),
        "trec": _SHORT | dict(
            num_steps=600, save_every=600, learning_rate=3e-3, word_dropout=0.2, lowercase=True
        ),
        **dict.fromkeys(("cola", "mrpc", "rte"), _RAW),
        "stsb": _RAW | dict(best_by="+pearson"),
        "wnut17": _SHORT,
    }),
    # The sizes are the paper's; what is not known of it is as in the scale small.
    "paper": Scale(dict(
        data="text", hidden=300, attention_dim=350, num_rows=30, penalty=1.0, embedding=300,
        mlp_dim=300, vocab_size=50_000, num_steps=20_000, eval_every=1000, save_every=1000,
    )),
}  # fmt: skip


def make_network(config: Config, task: TextClassificationTask) -> SelfAttentive:
    """The network of a config; ValueError where its pooling does not fit the labels."""
    model = config.model
    if (task.labels == "tags") != (model.pooling == "each"):
        way = "give" if task.labels == "tags" else "leave out"
        raise ValueError(
            f"--data={config.data} has {task.labels} for labels: {way} --pooling=each, which "
            "labels each word"
        )
    if config.execution.remat != "none":
        raise ValueError(f"--remat={config.execution.remat}: this network has none to give")
    return SelfAttentive(
        task.vocab_size,
        task.num_outputs,
        model.embedding,
        model.hidden,
        model.mlp_dim,
        pooling=_make_pooling(config),
        penalty=model.penalty,
        dropout=model.dropout,
        word_dropout=model.word_dropout,
        init_limit=model.init_limit,
    )


def _make_pooling(config: Config) -> Callable[..., Pooled]:
    model = config.model
    if model.pooling != "attention":
        return POOLINGS[model.pooling]
    implementation = config.execution.named_implementation
    return SelfAttentionPooling(model.num_rows, model.attention_dim, implementation=implementation)


TITLE = "Lin et al. 2017: which words does a sentence's vector read, and in how many rows?"
CONFIG = Config(
    train=TrainConfig(best_by="+accuracy"),
    optimizer=OptimizerConfig(learning_rate=2e-3),
    task=TextClassificationConfig(),
    model=SelfAttentiveConfig(),
)
PAPER = Paper(
    name="lin2017", title=TITLE, config=CONFIG, rows=ROWS, default_row="rows-penalty",
    scales=SCALES, task=TextClassificationTask, network=make_network, report=tables.report,
)  # fmt: skip
