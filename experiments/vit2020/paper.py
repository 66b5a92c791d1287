"""Dosovitskiy et al. 2020: networks of Tables 1 and 5."""

import dataclasses
from typing import Literal

from attn_research.layers.masking import MASKS, WIDE_MASKS
from attn_research.layers.scoring import SCORINGS, make_scoring
from attn_research.models.vit import ViT
from experiments.harness.config import Config, OptimizerConfig, fraction, setting
from experiments.harness.paper import Paper
from experiments.tasks.image_classification.config import ImageClassificationConfig
from experiments.tasks.image_classification.task import ImageClassificationTask
from experiments.tasks.networks import NormalizerConfig, StackConfig, StemConfig
from experiments.vit2020 import tables
from experiments.vit2020.rows import ROWS, SCALES


@dataclasses.dataclass(frozen=True)
class ViTConfig(NormalizerConfig, StemConfig, StackConfig):
    """The network; sizes as in the paper's Table 1."""

    patch: int = setting(
        2, "Side of a patch, in pixels, or in places of the feature map of a stem.", 1
    )
    score: Literal[*SCORINGS] = setting("scaled_dot", "Score of a query and a key, in every head.")
    mask: Literal[*MASKS] = setting(
        "global", "Mask of self-attention over the sequence of patches."
    )
    half_width: int = setting(
        10, "Patches on either side that a local mask allows.", 1, needs={"mask": WIDE_MASKS}
    )
    pooling: Literal["class", "mean"] = setting(
        "class", "State that is classified: a class token's, or the mean of the patches'."
    )
    drop_path: float = fraction(
        0.0, "Stochastic depth: probability that a training image skips a layer."
    )


def make_network(config: Config, task: ImageClassificationTask) -> ViT:
    """The network of a config."""
    model, images = config.model, config.task.images
    size = images.image_size, images.image_size
    return ViT(
        num_classes=images.num_classes,
        image_size=size,
        patch=model.patch,
        **model.sizes(),
        stem=model.make_stem(),
        scoring=make_scoring(model.score, max_length=(size[0] // model.patch) ** 2 + 1),
        normalizer=model.make_normalizer(),
        mask=MASKS[model.mask](model.half_width),
        dropout=model.dropout,
        drop_path=model.drop_path,
        pooling=model.pooling,
        implementation=config.execution.named_implementation,
        remat=config.execution.remat,
    )


TITLE = "Dosovitskiy et al. 2020, Tables 1 and 5: is an image a sentence of patches?"
CONFIG = Config(
    optimizer=OptimizerConfig(optimizer="adamw"),
    task=ImageClassificationConfig(),
    model=ViTConfig(model_dim=64, mlp_dim=128, dropout=0.1),
)
PAPER = Paper(
    name="vit2020", title=TITLE, config=CONFIG, rows=ROWS, default_row="small", scales=SCALES,
    task=ImageClassificationTask, network=make_network, report=tables.report,
)  # fmt: skip
