"""The reach of windows, by the distances from which a decoder finds a needle.

Beltagy et al. 2020, section 3.1, and Child et al. 2019 count it as layers times window; here it is
measured. With --data=distance every symbol is to be copied from one distance.
"""

import dataclasses
from typing import Literal

from attn_research.attention import ByLayer, Dilated, Full, Mask, Window
from attn_research.models.gpt import GPT
from experiments.harness.config import Config, OptimizerConfig, TrainConfig, setting
from experiments.harness.paper import TINY_TIME, Paper, Row, Scale
from experiments.longformer2020.reach import tables
from experiments.tasks.copying.config import TINY, CopyingConfig
from experiments.tasks.copying.network import make_decoder
from experiments.tasks.copying.task import CopyingTask
from experiments.tasks.networks import StackConfig

_WINDOWED = {"pattern": ("window", "dilated")}


@dataclasses.dataclass(frozen=True)
class ReachConfig(StackConfig):
    """The network."""

    pattern: Literal["window", "dilated", "full"] = setting(
        "window",
        "Attention: a window, a window that has gaps of two tokens in all layers but the first, or "
        "to all.",
    )
    window: int = setting(16, "Tokens before one that a window holds.", 1, needs=_WINDOWED)


def make_mask(model: ReachConfig) -> Mask:
    """The mask of every layer."""
    if model.pattern == "full":
        return Full()
    window = Window(model.window, 0)
    if model.pattern == "window":
        return window
    # As in Longformer, gaps are of upper layers: the window of the first fills them.
    dilated = Dilated(model.window, 0, tables.STEP)
    return ByLayer((window, *[dilated] * (model.num_layers - 1)))


def make_network(config: Config, task: CopyingTask) -> GPT:
    """The network of a config."""
    return make_decoder(config, task, "needle", "distance", mask=make_mask(config.model))


ROWS = {
    "full": Row({"pattern": "full", "num_layers": 2}),
    "1-layer": Row({"num_layers": 1}),
    "2-layers": Row({"num_layers": 2}),
    "4-layers": Row({"num_layers": 4}),
    "2-layers-dilated": Row({"pattern": "dilated", "num_layers": 2}),
}
SCALES = {
    "tiny": Scale(TINY | dict(window=2), time=TINY_TIME),
    "small": Scale(),
}


TITLE = "Longformer: is the reach of a window layers times window?"
CONFIG = Config(
    train=TrainConfig(num_steps=3000, eval_every=500, save_every=1000, best_by="+accuracy"),
    optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=200),
    task=CopyingConfig(
        data="needle", length=128, symbols=16, batch_size=64, dev_batches=4, test_batches=32
    ),
    model=ReachConfig(num_layers=2, model_dim=64, mlp_dim=128, num_heads=4),
)
PAPER = Paper(
    name="longformer2020.reach", title=TITLE, config=CONFIG, rows=ROWS, default_row="2-layers",
    scales=SCALES, task=CopyingTask, network=make_network, report=tables.report,
)  # fmt: skip
