"""Tay et al. 2020: long sequences, classified by encoders that differ in their attention alone."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

from flax import linen as nn

from attn_research.attention import BigBird, Full, Mask, Window, longformer
from attn_research.layers.feed_forward import GLOROT
from attn_research.layers.lsh import LSHAttention
from attn_research.layers.multihead import MultiHeadAttention
from attn_research.layers.routing import RoutingAttention
from attn_research.models.bert import Bert, BertClassifier
from experiments.harness.config import Config, OptimizerConfig, TrainConfig, setting
from experiments.harness.paper import Paper
from experiments.lra2020 import tables
from experiments.lra2020.rows import ROWS, SCALES
from experiments.tasks.networks import StackConfig
from experiments.tasks.text_classification.batches import check_unpacked, longest
from experiments.tasks.text_classification.config import (
    EXAMPLES,
    LabelledTextConfig,
    TextClassificationConfig,
)
from experiments.tasks.text_classification.task import TextClassificationTask

_NARROW = ("local", "longformer", "bigbird", "reformer", "routing")


@dataclasses.dataclass(frozen=True)
class ArenaConfig(StackConfig):
    """The network."""

    block: int = setting(
        64, "Tokens on each side of a window, of a block, of a chunk, or of a cluster.", 1,
        needs={"attention": _NARROW},
    )  # fmt: skip
    attention: Literal["full", *_NARROW] = setting(
        "full",
        "Attention: to all, to a window, to a window and the first token, BigBird's, by four "
        "rounds of hashing, or within clusters of a k-means.",
    )


class _Attention(NamedTuple):
    """A mask, and what makes the heads."""

    mask: Mask
    heads: Callable[..., MultiHeadAttention] = MultiHeadAttention


def make_attention(model: ArenaConfig, length: int) -> _Attention:
    """The attention of every layer, for texts of at most `length` tokens."""
    clusters = functools.partial(RoutingAttention, num_clusters=-(-length // model.block))
    return {
        "full": lambda: _Attention(Full()),
        "local": lambda: _Attention(Window(model.block, model.block)),
        "longformer": lambda: _Attention(longformer(model.block)),
        "bigbird": lambda: _Attention(BigBird(model.block, num_heads=model.num_heads)),
        "reformer": lambda: _Attention(Full(), functools.partial(LSHAttention, chunk=model.block)),
        "routing": lambda: _Attention(Full(), clusters),
    }[model.attention]()


def make_network(config: Config, task: TextClassificationTask) -> BertClassifier:
    """The network of a config; ValueError for texts that it does not class by their first token."""
    model, part = config.model, config.task
    if task.labels == "tags" or not part.text.class_token:
        raise ValueError(
            f"--data={part.text.data}, --class_token={part.text.class_token}: the arena has "
            "classes of whole texts, read at a first token"
        )
    check_unpacked(config)
    attention = make_attention(model, longest(part.text))
    bert = Bert(
        task.vocab_size,
        **model.sizes(),
        heads=("pooler", "classifier"),
        num_classes=task.num_outputs,
        dropout=model.dropout,
        mask=attention.mask,
        # As in the arena, whose networks learn no positions.
        sinusoidal=True,
        embedding_init=nn.initializers.normal(1.0),
        kernel_init=GLOROT,
        attention=attention.heads,
        implementation=config.execution.named_implementation,
        remat=config.execution.remat,
    )
    return BertClassifier(bert)


TITLE = "Tay et al. 2020: what do cheaper kinds of attention lose on long sequences?"
CONFIG = Config(
    train=TrainConfig(num_steps=3000, eval_every=250, save_every=500, best_by="+accuracy"),
    # It needs fewer steps on bytes than AdamW.
    optimizer=OptimizerConfig(
        optimizer="muon", learning_rate=3e-3, weight_decay=0.1, warmup_steps=200
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
