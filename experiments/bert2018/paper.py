"""Devlin et al. 2018: an encoder pre-trained on masked words, beside the same on next words."""

import dataclasses
from typing import Literal

from attn_research.attention import Causal, Full
from attn_research.layers.feed_forward import GLOROT
from attn_research.layers.heads import NORMAL
from attn_research.models.bert import SIZES, Bert
from experiments.bert2018 import tables
from experiments.harness.config import Config, OptimizerConfig, fraction, setting
from experiments.harness.paper import TINY_TIME, Paper, Row, Scale
from experiments.tasks.language_modeling.config import MaskedLanguageModelingConfig
from experiments.tasks.language_modeling.masked import MaskedLanguageModelingTask
from experiments.tasks.networks import StackConfig

KERNEL_INITS = {"normal": NORMAL, "glorot": GLOROT}


@dataclasses.dataclass(frozen=True)
class BertConfig(StackConfig):
    """The network; one that predicts next words attends to those before alone."""

    max_length: int = setting(128, "Positions with an embedding.", 2)
    attention_dropout: float = fraction(0.1, "Dropout of attention weights.")
    kernel_init: Literal["normal", "glorot"] = setting(
        "normal",
        "Initial kernels: normal with deviation 0.02, as published, or as large as their width "
        "asks for, by Glorot and Bengio.",
    )


def make_network(config: Config, task: MaskedLanguageModelingTask) -> Bert:
    """The network of a config; ValueError where rows are longer than its positions."""
    model, context = config.model, config.task.rows.context
    if context > model.max_length:
        raise ValueError(
            f"--context={context} is more than --max_length={model.max_length} positions"
        )
    return Bert(
        task.vocab_size,
        **model.sizes(),
        heads=("masked_lm",),
        max_length=model.max_length,
        dropout=model.dropout,
        attention_dropout=model.attention_dropout,
        mask=Full() if config.task.masking.objective == "masked" else Causal(),
        kernel_init=KERNEL_INITS[model.kernel_init],
        implementation=config.execution.named_implementation,
        remat=config.execution.remat,
    )


def _sized(size: str, **printed: float) -> Row:
    """A model of published size; at scale tiny a tiny one of its kind."""
    layers, width, mlp, heads = SIZES[size]
    whole = dict(num_layers=layers, model_dim=width, mlp_dim=mlp, num_heads=heads, max_length=512)
    tiny = dict(num_layers=1, model_dim=2 * heads, mlp_dim=8 * heads, num_heads=heads)
    paper = whole | dict(vocab_size=30_521, context=512)
    return Row({}, printed, scales={"tiny": tiny, "small": whole, "paper": paper})


# The paper's comparison at one size, then its table of sizes (section 5.2).
ROWS = {
    "masked": Row(),
    "causal": Row({"objective": "next"}),
    "BERT-base": _sized("base", params=110e6, perplexity=3.99),
    "BERT-large": _sized("large", params=340e6, perplexity=3.23),
}
# Masked words of a real text are learned within minutes from short rows, each of whose positions is
# then seen often, and with large steps; in rows of 128 it takes far longer.
_TEXT = dict(
    kernel_init="glorot",
    optimizer="muon",
    learning_rate=5e-3,
    masking=0.3,
    dropout=0.0,
    attention_dropout=0.0,
    context=48,
    max_length=48,
    batch_size=64,
    num_steps=2500,
    eval_every=250,
    save_every=500,
)
_PIECES = dict(tokenizer="subwords", vocab_size=4000, document="paragraph", pairs=20)
SCALES = {
    "tiny": Scale(dict(
        num_layers=2, model_dim=16, mlp_dim=32, num_heads=2, context=24, max_length=48,
        batch_size=8, num_steps=12, eval_every=6, save_every=6, warmup_steps=2, sentences=300,
        vocab_size=500, blanks=50,
    ), time=TINY_TIME),
    "small": Scale(data={
        "grammar": dict(
            vocab_size=1200, sentences=50_000, context=64, batch_size=32, num_steps=4000,
            eval_every=500, save_every=1000,
        ),
        "ptb": _TEXT,
        "wikitext2": _TEXT | _PIECES | dict(vocab_size=8000),
        "warandpeace": _TEXT | _PIECES,
    }),
    # Appendix A.2, but for the text, which is not public, and next sentences.
    "paper": Scale(dict(
        data="text", tokenizer="subwords", vocab_size=30_521, context=512, batch_size=256,
        num_layers=12, model_dim=768, mlp_dim=3072, num_heads=12, max_length=512,
        num_steps=1_000_000, learning_rate=1e-4, warmup_steps=10_000, eval_every=10_000,
        save_every=5000, document="paragraph",
    )),
}  # fmt: skip


TITLE = "Devlin et al. 2018: what does an encoder learn that reads in both directions?"
CONFIG = Config(
    optimizer=OptimizerConfig(optimizer="adamw", weight_decay=0.01, learning_rate=1e-3),
    task=MaskedLanguageModelingConfig(),
    model=BertConfig(num_layers=2, num_heads=2, dropout=0.1),
)
PAPER = Paper(
    name="bert2018", title=TITLE, config=CONFIG, rows=ROWS, default_row="masked", scales=SCALES,
    task=MaskedLanguageModelingTask, network=make_network, report=tables.report,
)  # fmt: skip
