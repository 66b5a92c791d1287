"""Xu et al. 2015: soft and hard attention over the regions of an image, and none."""

import dataclasses
from fractions import Fraction
from typing import Literal

import optax

from attn_research.layers.attention import MemoryAttention
from attn_research.layers.convolution import CellStem, ResidualStem
from attn_research.layers.regions import HardRegions, MeanRegions, SoftRegions
from attn_research.layers.scoring import make_scoring
from attn_research.models.captioner import Captioner
from attn_research.training.reinforce import moving_average
from experiments.harness.config import Config, OptimizerConfig, TrainConfig, fraction, setting
from experiments.harness.paper import TINY_TIME, Paper, Row, Scale, config_optimizer
from experiments.tasks.captioning.config import CaptioningConfig
from experiments.tasks.captioning.task import CaptioningTask
from experiments.xu2015 import tables

_ATTENDS, _HARD = {"regions": ("soft", "hard")}, {"regions": ("hard",)}


@dataclasses.dataclass(frozen=True)
class CaptionerConfig:
    """The network."""

    regions: Literal["soft", "hard", "mean"] = setting(
        "soft", "What a word reads of the regions: their mean by weights, one of them, or the mean."
    )
    hidden_dim: int = setting(128, "Width of the LSTM.", 1)
    embedding_dim: int = setting(64, "Width of embeddings of words, and of the output layer.", 1)
    attention_dim: int = setting(64, "Width of the hidden layer of a score.", 1, needs=_ATTENDS)
    drawn: float = fraction(
        0.5, "Probability that hard attention takes one region, not the mean, in training.", _HARD
    )
    encoder: Literal["cells", "residual"] = setting(
        "residual",
        "Encoder of the regions: convolutions by which each sees no more than its neighbours, or a "
        "residual network.",
    )
    stem_width: int = setting(
        16, "Channels of the first stage of the encoder, twice as many in each further one.", 16
    )
    stem_blocks: int = setting(
        1, "Residual blocks, of two convolutions, of each stage.", 1,
        needs={"encoder": ("residual",)},
    )  # fmt: skip
    dropout: float = fraction(0.0, "Dropout of the output layer.")


def make_network(config: Config, task: CaptioningTask) -> Captioner:
    """The network of a config; ValueError where halvings do not make the regions of the pixels."""
    model, images = config.model, config.task.images
    stages = (images.image_size // images.grid).bit_length() - 1
    if images.grid * 2**stages != images.image_size or not stages:
        raise ValueError(
            f"--grid={images.grid}: the encoder halves --image_size={images.image_size} to it; "
            f"give {images.grid} times 2, 4, 8 or 16 pixels"
        )
    attention = MemoryAttention(
        make_scoring("additive", features=model.attention_dim),
        implementation=config.execution.named_implementation,
    )
    return Captioner(
        task.vocab_size,
        {
            "cells": lambda: CellStem(model.stem_width, stages),
            "residual": lambda: ResidualStem(model.stem_width, stages, model.stem_blocks),
        }[model.encoder](),
        {
            "soft": lambda: SoftRegions(attention),
            "hard": lambda: HardRegions(attention, model.drawn),
            "mean": MeanRegions,
        }[model.regions](),
        model.hidden_dim,
        model.embedding_dim,
        dropout=model.dropout,
        remat=config.execution.remat,
    )


def make_optimizer(config: Config) -> optax.GradientTransformation:
    """The optimizer of a config; the baseline of hard attention is a moving average."""
    return moving_average(config_optimizer(config))


# Table 1, Flickr8k.
_BLEU = "bleu_1", "bleu_2", "bleu_3", "bleu_4"
ROWS = {
    "soft": Row({"regions": "soft"}, dict(zip(_BLEU, (67, 44.8, 29.9, 19.5), strict=True))),
    "hard": Row(
        {"regions": "hard"}, dict(zip(_BLEU, (67, 45.7, 31.4, 21.3), strict=True)),
        times={"num_steps": Fraction(2)},  # gradients through draws are noisy
    ),
    "none": Row({"regions": "mean"}),
}  # fmt: skip
_PHOTOGRAPHS = dict(
    image_size=112, grid=7, max_words=20, bucket_width=10, batch_size=64, dropout=0.5,
    num_steps=1500, eval_every=100, save_every=500,
)  # fmt: skip
SCALES = {
    "tiny": Scale(dict(
        hidden_dim=16, embedding_dim=8, attention_dim=8, num_steps=8, eval_every=4, save_every=8,
        warmup_steps=2, batch_size=8, train_examples=40, test_examples=10, beam_size=2,
    ), data={
        name: dict(image_size=16, grid=2, max_words=20, vocab_size=200)
        for name in ("flickr8k", "captions")
    }, time=TINY_TIME),
    "small": Scale(data={
        # What a region's weight says is where words are read only if it does not see the rest.
        "scenes": dict(encoder="cells", num_steps=2000, eval_every=250, save_every=1000),
        "flickr8k": _PHOTOGRAPHS, "captions": _PHOTOGRAPHS,
    }),
    # The widths are those of the authors' script for COCO, its λ too; a convolutional network of
    # our own, trained here, stands where the paper has one that was trained on ImageNet.
    "paper": Scale(dict(
        data="captions", image_size=224, grid=14, stem_width=64, hidden_dim=1800,
        embedding_dim=512, attention_dim=512, max_words=40, bucket_width=5, penalty=1.0,
        dropout=0.5, num_steps=50_000, eval_every=1000, save_every=1000,
    )),
}  # fmt: skip


TITLE = "Xu et al. 2015: does a captioner look at what it names?"
CONFIG = Config(
    train=TrainConfig(num_steps=500, eval_every=100, save_every=250),
    optimizer=OptimizerConfig(optimizer="muon", learning_rate=5e-3, warmup_steps=50),
    task=CaptioningConfig(),
    model=CaptionerConfig(),
)
PAPER = Paper(
    name="xu2015", title=TITLE, config=CONFIG, rows=ROWS, default_row="soft", scales=SCALES,
    task=CaptioningTask, network=make_network, report=tables.report, optimizer=make_optimizer,
    needs={"penalty": (_ATTENDS,), "reward": (_HARD,), "entropy": (_HARD,)},
)  # fmt: skip
