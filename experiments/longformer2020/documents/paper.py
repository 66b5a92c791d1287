"""Beltagy et al. 2020, section 5: a pre-trained encoder carried to documents longer than its table.

Its positions are copied until the table is long enough, and the projections of global tokens begin
as copies of the others. Then it is fine-tuned, as the same encoder is on what fits its own table.
"""

import dataclasses
from typing import Literal

import numpy as np

from attn_research.attention import longformer
from attn_research.layers.longformer import LongformerAttention, copy_to_global
from attn_research.models.bert import BertClassifier
from attn_research.types import PyTree
from experiments.harness.config import Config, OptimizerConfig, TrainConfig, setting
from experiments.harness.paper import TINY_TIME, Paper, Row, Scale
from experiments.longformer2020.documents import tables
from experiments.tasks.text_classification import encoder
from experiments.tasks.text_classification.batches import check_unpacked
from experiments.tasks.text_classification.config import (
    EXAMPLES,
    LabelledTextConfig,
    TextClassificationConfig,
)
from experiments.tasks.text_classification.task import TextClassificationTask


@dataclasses.dataclass(frozen=True)
class DocumentConfig(encoder.EncoderConfig):
    """The network. Sizes that are 0 are those of --init_from."""

    attention: Literal["full", "longformer"] = setting(
        "full", "Attention: to all, or to a window and the first token, which attends to all."
    )
    one_side: int = setting(
        128, "Tokens on each side of a window.", 1, needs={"attention": ("longformer",)}
    )


def make_network(config: Config, task: TextClassificationTask) -> BertClassifier:
    """The network of a config; ValueError for a window beside texts that share rows."""
    model, options = config.model, {}
    if model.attention == "longformer":
        check_unpacked(config)
        options = dict(attention=LongformerAttention, mask=longformer(model.one_side))
    return encoder.make_encoder(config, task, **options)


def carry(config: Config, params: PyTree) -> PyTree:
    """Parameters of a published encoder with as many positions as a config asks for."""
    tree = dict(params["params"])
    table = tree["positions"]["table"]
    missing = config.model.max_length - len(table)
    if missing > 0:
        copies = np.resize(table, (config.model.max_length, table.shape[1]))
        tree["positions"] = {**tree["positions"], "table": copies}
    return {"params": copy_to_global(tree) if config.model.attention == "longformer" else tree}


ROWS = {
    "full-512": Row(
        scales={"tiny": dict(max_words=24), "small": dict(max_words=510, bucket_width=512)}
    ),
    "longformer-2048": Row(
        {"attention": "longformer"},
        scales={"tiny": dict(one_side=4), "small": dict(max_length=2048, max_words=2046)},
    ),
}
SCALES = {
    "tiny": Scale(encoder.TINY | dict(
        batching="sorted", batch_size=8, max_length=64, max_words=60
    ), time=TINY_TIME),
    # Reviews that mostly have more pieces of words than the published table has positions.
    "small": Scale(dict(
        data="imdb", min_words=400, num_labelled=1000, num_steps=250, eval_every=50,
        save_every=50, warmup_steps=25, bucket_width=256,
    )),
}  # fmt: skip


TITLE = "Beltagy et al. 2020: is a document's end worth reading?"
CONFIG = Config(
    train=TrainConfig(best_by="+accuracy"),
    optimizer=OptimizerConfig(optimizer="adamw", weight_decay=0.01, learning_rate=1e-4),
    task=TextClassificationConfig(
        LabelledTextConfig(tokenizer="given", class_token=True),
        dataclasses.replace(EXAMPLES, batch_size=8),
    ),
    model=DocumentConfig(),
)
PAPER = Paper(
    name="longformer2020.documents", title=TITLE, config=CONFIG, rows=ROWS,
    default_row="longformer-2048", scales=SCALES, task=TextClassificationTask,
    network=make_network, report=tables.report, fresh=encoder.is_head,
    complete=encoder.complete, adapt=carry,
)  # fmt: skip
