"""Zaheer et al. 2020: masked words, with the parts of the sparse pattern and with all of it."""

import dataclasses
from typing import Literal

from attn_research.attention import Full, Mask, big_bird
from attn_research.models.bert import Bert
from experiments.bigbird2020 import tables
from experiments.harness.config import Config, OptimizerConfig, TrainConfig, fraction, setting
from experiments.harness.paper import TINY_TIME, Paper, Row, Scale
from experiments.tasks.language_modeling.config import MaskedLanguageModelingConfig, RowsConfig
from experiments.tasks.language_modeling.masked import MaskedLanguageModelingTask
from experiments.tasks.networks import StackConfig

# The parts of each pattern: random blocks, and global ones beside the window's.
_SPARSE = ("random", "window", "random_window", "bigbird")


@dataclasses.dataclass(frozen=True)
class BigBirdConfig(StackConfig):
    """The network."""

    pattern: Literal["full", *_SPARSE] = setting(
        "bigbird",
        "Attention: to all, to random blocks, to those of a window, to both, or to the first and "
        "last block too, which attend to all.",
    )
    block: int = setting(16, "Tokens of a block.", 1, needs={"pattern": _SPARSE})
    window_blocks: int = setting(
        3, "Blocks of the window.", 1, needs={"pattern": ("window", "random_window", "bigbird")}
    )
    random_blocks: int = setting(
        3, "Random blocks of each block.", 1,
        needs={"pattern": ("random", "random_window", "bigbird")},
    )  # fmt: skip
    attention_dropout: float = fraction(0.1, "Dropout of attention weights.")


def make_mask(model: BigBirdConfig, length: int) -> Mask:
    """The mask of every layer, for rows of a length."""
    if model.pattern == "full":
        return Full()
    # Without a window a block attends to itself at least.
    return big_bird(
        length,
        model.num_heads,
        block=model.block,
        window_blocks=1 if model.pattern == "random" else model.window_blocks,
        global_blocks=2 if model.pattern == "bigbird" else 0,
        random_blocks=0 if model.pattern == "window" else model.random_blocks,
    )


def make_network(config: Config, task: MaskedLanguageModelingTask) -> Bert:
    """The network of a config."""
    model, context = config.model, config.task.rows.context
    return Bert(
        task.vocab_size,
        **model.sizes(),
        heads=("masked_lm",),
        max_length=context,
        dropout=model.dropout,
        attention_dropout=model.attention_dropout,
        mask=make_mask(model, context),
        implementation=config.execution.named_implementation,
        remat=config.execution.remat,
    )


# Table 1: accuracy of masked words in percent, of rows of 512 tokens.
ROWS = {
    "full": Row({"pattern": "full"}, {"accuracy": 64.2}),
    "random": Row({"pattern": "random"}, {"accuracy": 60.1}),
    "window": Row({"pattern": "window"}, {"accuracy": 58.3}),
    "random-window": Row({"pattern": "random_window"}, {"accuracy": 62.7}),
    "bigbird": Row(),
}
SCALES = {
    "tiny": Scale(dict(
        data="grammar", tokenizer="words", num_layers=2, model_dim=16, mlp_dim=32, num_heads=2,
        block=4, context=48, batch_size=8, num_steps=12, eval_every=6, save_every=6,
        warmup_steps=2, sentences=300, vocab_size=500, blanks=50,
    ), time=TINY_TIME),
    "small": Scale(dict(data="wikitext2", tokenizer="subwords", vocab_size=8000)),
    # Table 8, BigBird-ITC-base; the text is not public as a whole.
    "paper": Scale(dict(
        data="text", tokenizer="subwords", vocab_size=50_358, context=4096, batch_size=256,
        num_layers=12, model_dim=768, mlp_dim=3072, num_heads=12, block=64, num_steps=500_000,
        learning_rate=1e-4, warmup_steps=10_000, eval_every=10_000, save_every=5000,
    )),
}  # fmt: skip


TITLE = "Zaheer et al. 2020: which parts of a sparse pattern does a masked word need?"
CONFIG = Config(
    train=TrainConfig(num_steps=4000, eval_every=500, save_every=1000),
    optimizer=OptimizerConfig(optimizer="adamw", weight_decay=0.01, learning_rate=1e-3),
    task=MaskedLanguageModelingConfig(
        rows=RowsConfig(rows="packed", document="text", context=256, batch_size=16)
    ),
    model=BigBirdConfig(num_layers=2, num_heads=2, dropout=0.1),
)
PAPER = Paper(
    name="bigbird2020", title=TITLE, config=CONFIG, rows=ROWS, default_row="bigbird",
    scales=SCALES, task=MaskedLanguageModelingTask, network=make_network, report=tables.report,
)  # fmt: skip
