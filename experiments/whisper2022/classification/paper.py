"""Spoken words, classified by patches of their spectrogram or by a recurrent network.

The encoder of Dosovitskiy et al. 2020 reads sounds as Gong, Chung, Glass 2021 have it; the other
network is a bidirectional LSTM whose states are pooled by one row of additive attention.
"""

import dataclasses
from typing import Literal

from flax import linen as nn

from attn_research.layers.audio import AudioStem
from attn_research.layers.pooling import SelfAttentionPooling
from attn_research.models.self_attentive import SelfAttentive
from attn_research.models.vit import ViT
from experiments.harness.config import Config, OptimizerConfig, TrainConfig, fraction, setting
from experiments.harness.paper import TINY_TIME, Paper, Row, Scale
from experiments.tasks.networks import StackConfig, StemConfig
from experiments.tasks.speech.classification import SpeechClassificationTask
from experiments.tasks.speech.config import SpeechClassificationConfig
from experiments.tasks.speech.data import num_frames
from experiments.tasks.speech.inference import STEP_FRAMES
from experiments.tasks.speech.networks import SpectrogramViT
from experiments.whisper2022.classification import tables

_PATCHES, _RECURRENT = {"network": ("vit",)}, {"network": ("additive",)}


@dataclasses.dataclass(frozen=True)
class WordNetworkConfig(StemConfig, StackConfig):
    """The network; layers, width of feed-forward layers and heads are those of patches."""

    network: Literal["vit", "additive"] = setting(
        "vit", "Patches through a Transformer, or an LSTM with additive attention."
    )
    patch: int = setting(
        10, "Frames, and mel bands, of a patch, or places of the feature map of a stem.", 1,
        needs=_PATCHES,
    )  # fmt: skip
    drop_path: float = fraction(
        0.0, "Stochastic depth: probability that a sound skips a layer.", needs=_PATCHES
    )
    hidden: int = setting(64, "Cells of the LSTM of each direction.", 1, needs=_RECURRENT)
    num_rows: int = setting(1, "Rows of attention.", 1, needs=_RECURRENT)


def make_network(config: Config, task: SpeechClassificationTask) -> nn.Module:
    """The network of a config."""
    model, sound = config.model, config.task.sound
    if model.network == "additive" and config.execution.remat != "none":
        raise ValueError(f"--remat={config.execution.remat}: this network has none to give")
    frames, named = num_frames(sound), config.execution.named_implementation
    if model.network == "vit":
        vit = ViT(
            num_classes=sound.num_classes,
            image_size=(frames, sound.num_mels),
            patch=model.patch,
            **model.sizes(),
            stem=model.make_stem(),
            dropout=model.dropout,
            drop_path=model.drop_path,
            implementation=named,
            remat=config.execution.remat,
        )
        return SpectrogramViT(vit)
    return SelfAttentive(
        sound.num_mels,
        sound.num_classes,
        model.model_dim,
        model.hidden,
        model.mlp_dim,
        pooling=SelfAttentionPooling(model.num_rows, model.hidden, implementation=named),
        dropout=model.dropout,
        stem=AudioStem(model.model_dim, -(-frames // STEP_FRAMES)),
    )


# A ViT-shaped model, on the official split of spoken digits.
ROWS = {
    "vit": Row({"network": "vit"}, {"fsdd": 0.97}),
    "vit-stem": Row({"network": "vit", "stem_stages": 2, "stem_width": 16, "patch": 5}),
    "additive": Row({"network": "additive"}),
    "vit-new-speaker": Row({"network": "vit", "held_out_speaker": 1}),
    "additive-new-speaker": Row({"network": "additive", "held_out_speaker": 1}),
}
_AUGMENTED = dict(speed=1.15, time_mask=15, mel_mask=15, time_shift=0.2)
SCALES = {
    "tiny": Scale(dict(
        num_layers=2, model_dim=16, mlp_dim=32, num_heads=2, hidden=8, num_steps=12, eval_every=6,
        save_every=6, warmup_steps=2, batch_size=8, train_words=40, test_words=20, seconds=0.6,
        num_mels=20,
    ), time=TINY_TIME),
    "small": Scale(data={
        "tones": dict(num_steps=300, eval_every=100, save_every=300),
        "fsdd": _AUGMENTED | dict(num_steps=1500, eval_every=100, save_every=500),
        "audio": _AUGMENTED,
    }),
}  # fmt: skip

TITLE = "Spoken words: patches of a spectrogram beside a recurrent network with attention"
CONFIG = Config(
    train=TrainConfig(num_steps=2000, eval_every=200, save_every=400),
    optimizer=OptimizerConfig(
        optimizer="adamw", learning_rate=1e-3, weight_decay=0.1, warmup_steps=100
    ),
    task=SpeechClassificationConfig(),
    model=WordNetworkConfig(num_layers=4, model_dim=96, mlp_dim=192, num_heads=4, dropout=0.1),
)
PAPER = Paper(
    name="whisper2022.classification", title=TITLE, config=CONFIG, rows=ROWS, default_row="vit",
    scales=SCALES, task=SpeechClassificationTask, network=make_network, report=tables.report,
    needs=dict.fromkeys(("num_layers", "num_heads", "stem_stages"), (_PATCHES,)),
)  # fmt: skip
