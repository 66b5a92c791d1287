"""Beltagy et al. 2020: a language model whose windows grow from layer to layer."""

import dataclasses
from typing import Literal

import numpy as np

from attn_research.attention import ByHead, ByLayer, Dilated, Full, Mask, Rotary, Window
from attn_research.models.gpt import GPT, GPT2_BLOCK
from experiments.harness.config import Config, OptimizerConfig, TrainConfig, setting
from experiments.harness.paper import TINY_TIME, Paper, Row, Scale
from experiments.longformer2020 import tables
from experiments.tasks.language_modeling.config import (
    LanguageModelingConfig,
    RowsConfig,
    TextConfig,
)
from experiments.tasks.language_modeling.task import LanguageModelingTask
from experiments.tasks.networks import StackConfig

_WINDOWED = {"windows": ("increasing", "decreasing", "fixed")}


@dataclasses.dataclass(frozen=True)
class LongformerConfig(StackConfig):
    """The network."""

    windows: Literal["increasing", "decreasing", "fixed", "none"] = setting(
        "increasing",
        "Windows of the layers from the first to the last: increasing or decreasing in equal "
        "ratios, all of the mean size, or none.",
    )
    smallest: int = setting(
        16, "Tokens before one that the smallest window holds.", 1, needs=_WINDOWED
    )
    largest: int = setting(
        128, "Tokens before one that the largest window holds.", 1, needs=_WINDOWED
    )
    dilated_heads: int = setting(
        0,
        "Heads with gaps of a token between keys, in the upper half of the layers.",
        0,
        needs=_WINDOWED,
    )


def window_sizes(model: LongformerConfig) -> list[int]:
    """The tokens before one that the windows of the layers hold."""
    sizes = np.geomspace(model.smallest, model.largest, model.num_layers).round().astype(int)
    if model.windows == "fixed":
        sizes[:] = round(sizes.mean())
    return sizes[:: -1 if model.windows == "decreasing" else 1].tolist()


def make_mask(model: LongformerConfig) -> Mask:
    """The mask of each layer."""
    if model.windows == "none":
        return Full()
    masks = []
    for layer, size in enumerate(window_sizes(model)):
        dilated = model.dilated_heads if layer >= model.num_layers // 2 else 0
        heads = [Dilated(size, 0, 2)] * dilated
        heads += [Window(size, 0)] * (model.num_heads - dilated)
        masks.append(ByHead(tuple(heads)) if dilated else heads[0])
    return ByLayer(tuple(masks))


def make_network(config: Config, task: LanguageModelingTask) -> GPT:
    """The network of a config; ValueError where it has fewer heads than dilated ones."""
    model = config.model
    if model.dilated_heads > model.num_heads:
        raise ValueError(
            f"--dilated_heads={model.dilated_heads} is more than --num_heads={model.num_heads}"
        )
    return GPT(
        task.vocab_size,
        **model.sizes(),
        block=dataclasses.replace(GPT2_BLOCK, dropout=model.dropout),
        rotary=Rotary(model.model_dim // model.num_heads),
        mask=make_mask(model),
        implementation=config.execution.named_implementation,
        remat=config.execution.remat,
    )


# The ablation's bits per character, of text8 after 150,000 steps (table 4).
ROWS = {
    "decreasing": Row({"windows": "decreasing"}, {"bits_per_character": 1.24}),
    "fixed": Row({"windows": "fixed"}, {"bits_per_character": 1.23}),
    "increasing": Row({}, {"bits_per_character": 1.21}),
    "increasing-dilated": Row({"dilated_heads": 2}, {"bits_per_character": 1.20}),
    "full": Row({"windows": "none"}),
}
_BOOK = dict(data="warandpeace", vocab_size=110, tokenizer="characters")
SCALES = {
    "tiny": Scale(dict(
        data="grammar", tokenizer="characters", sentences=300, num_layers=2, model_dim=16,
        mlp_dim=32, num_heads=2, smallest=4, largest=8, context=32, batch_size=8, num_steps=12,
        eval_every=6, save_every=6, warmup_steps=2, sample_length=20,
    ), time=TINY_TIME),
    "small": Scale(_BOOK),
    # The small model of section 4.2 in its first phase; text8 and enwik8 are files of one's own.
    "paper": Scale(dict(
        data="text", tokenizer="characters", num_layers=12, model_dim=512, mlp_dim=2048,
        num_heads=8, smallest=32, largest=8192, context=2048, batch_size=32, num_steps=430_000,
        learning_rate=2.5e-4, warmup_steps=10_000, weight_decay=0.01, dropout=0.2,
        eval_every=10_000, save_every=5000,
    )),
}  # fmt: skip


TITLE = "Beltagy et al. 2020: should windows grow from layer to layer?"
CONFIG = Config(
    train=TrainConfig(num_steps=2000, eval_every=250, save_every=500),
    optimizer=OptimizerConfig(optimizer="muon", learning_rate=3e-3, warmup_steps=100),
    task=LanguageModelingConfig(
        text=TextConfig(**_BOOK), rows=RowsConfig(context=512, batch_size=8)
    ),
    model=LongformerConfig(),
)
PAPER = Paper(
    name="longformer2020", title=TITLE, config=CONFIG, rows=ROWS, default_row="increasing",
    scales=SCALES, task=LanguageModelingTask, network=make_network, report=tables.report,
)  # fmt: skip
