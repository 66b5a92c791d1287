"""Radford et al. 2021: images and captions whose pairs are found by their embeddings."""

import dataclasses

from attn_research.data.text.tokenizers import EOS
from attn_research.layers.convolution import ResidualStem
from attn_research.layers.embeddings import LearnedPositions
from attn_research.layers.feed_forward import BlockConfig
from attn_research.layers.heads import NORMAL
from attn_research.models.clip import Clip
from attn_research.models.gpt import GPT
from attn_research.models.vit import ViT
from experiments.clip2021 import tables
from experiments.harness.config import Config, OptimizerConfig, TrainConfig, setting
from experiments.harness.paper import TINY_TIME, Paper, Row, Scale
from experiments.tasks.image_retrieval.config import ImageRetrievalConfig
from experiments.tasks.image_retrieval.task import ImageRetrievalTask
from experiments.tasks.networks import StackSizes

_STEM = {"stem_stages": ()}


@dataclasses.dataclass(frozen=True)
class ClipConfig(StackSizes):
    """Both towers; layers, width and heads are those of the one of images."""

    text_layers: int = setting(2, "Layers of the tower of texts.", 1)
    text_dim: int = setting(64, "Width of its states and embeddings.", 1)
    text_heads: int = setting(4, "Its heads.", 1)
    embedding_dim: int = setting(64, "Width of the embeddings of images and texts.", 1)
    patch: int = setting(8, "Side of a patch, in pixels, or in places of the map of a stem.", 1)
    stem_stages: int = setting(0, "Stages of a residual network before the patches; 0: none.", 0)
    stem_width: int = setting(
        16, "Channels of its first stage, twice as many in each further one.", 16, needs=_STEM
    )


def make_network(config: Config, task: ImageRetrievalTask) -> Clip:
    """The network of a config."""
    model, part, execution = config.model, config.task, config.execution
    run = dict(implementation=execution.named_implementation, remat=execution.remat)
    stem = ResidualStem(model.stem_width, model.stem_stages) if model.stem_stages else None
    vision = ViT(
        num_classes=0,
        image_size=(part.image_size, part.image_size),
        patch=model.patch,
        **model.sizes(),
        activation="quick_gelu",
        norm_epsilon=1e-5,
        embedding_norm=True,
        patch_bias=False,
        stem=stem,
        **run,
    )
    text = GPT(
        part.vocab_size,
        model.text_layers,
        model.text_dim,
        4 * model.text_dim,
        model.text_heads,
        block=BlockConfig(
            pre_norm=True, norm_epsilon=1e-5, activation="quick_gelu", kernel_init=NORMAL
        ),
        positions=LearnedPositions(part.max_words + 1),
        attention_bias=True,
        **run,
    )
    return Clip(vision, text, model.embedding_dim, eos=EOS)


ROWS = {
    "hybrid": Row({"stem_stages": 3, "patch": 1}),
    "patches": Row({}),
}
SCALES = {
    "tiny": Scale(dict(
        num_layers=1, model_dim=16, mlp_dim=16, num_heads=2, text_layers=1, text_dim=16,
        text_heads=2, embedding_dim=8, image_size=32, num_scenes=24, test_groups=2, test_size=6,
        num_groups=2, group_size=4, num_steps=4, eval_every=2, save_every=2, warmup_steps=2,
    ), time=TINY_TIME),
    "small": Scale(),
    # ViT-B/32, and as we recall it 32 epochs of 400 million pairs in batches of 32,768.
    "paper": Scale(dict(
        num_layers=12, model_dim=768, mlp_dim=3072, num_heads=12, text_layers=12, text_dim=512,
        text_heads=8, embedding_dim=512, patch=32, image_size=224, vocab_size=49_408, max_words=76,
        num_groups=1, group_size=32_768, num_steps=390_625, optimizer="adamw", learning_rate=5e-4,
        weight_decay=0.2, warmup_steps=2000, remat="all",
    )),
}  # fmt: skip


TITLE = "Radford et al. 2021: do captions teach what is in an image?"
CONFIG = Config(
    train=TrainConfig(num_steps=3000, eval_every=500, save_every=500, best_by="+recall"),
    optimizer=OptimizerConfig(
        optimizer="muon", learning_rate=3e-3, weight_decay=0.1, warmup_steps=50
    ),
    task=ImageRetrievalConfig(),
    model=ClipConfig(num_layers=2, model_dim=64, mlp_dim=256, num_heads=4),
)
PAPER = Paper(
    name="clip2021", title=TITLE, config=CONFIG, rows=ROWS, default_row="hybrid", scales=SCALES,
    task=ImageRetrievalTask, network=make_network, report=tables.report,
)  # fmt: skip
