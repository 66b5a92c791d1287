"""Vaswani et al. 2017: networks of Tables 2 to 4, Figures 3 to 5."""

import dataclasses
from typing import Any, Literal

from flax import linen as nn

from attn_research.layers.attention import MemoryAttention
from attn_research.layers.embeddings import LearnedPositions, SinusoidalPositions
from attn_research.layers.masking import MASKS, WIDE_MASKS
from attn_research.layers.scoring import SCORINGS, make_scoring
from attn_research.models.rnn_search import RNNSearch
from attn_research.models.transformer import Transformer
from experiments.harness.config import Clause, Config, OptimizerConfig, setting
from experiments.harness.paper import Paper, config_optimizer
from experiments.tasks.networks import NormalizerConfig
from experiments.tasks.translation.config import LossConfig, SearchConfig, TranslationConfig
from experiments.tasks.translation.task import TranslationTask
from experiments.vaswani2017 import tables
from experiments.vaswani2017.rows import ROWS, SCALES

_TRANSFORMER = {"network": ("transformer",)}
_LOCAL = {"mask": WIDE_MASKS}


def _knob(default: Any, text: str, minimum: float | None = None, *needs: Clause) -> Any:
    """A value of the Transformer alone."""
    return setting(default, text, minimum, needs=[_TRANSFORMER, *needs])


@dataclasses.dataclass(frozen=True)
class TransformerConfig(NormalizerConfig):
    """The network; sizes have the letters of the paper's Table 3."""

    network: Literal["transformer", "rnnsearch"] = setting(
        "transformer", "Network: the Transformer, or the model of 2014 for comparison."
    )
    num_layers: int = _knob(3, "Layers N of the encoder, and of the decoder.", 1)
    model_dim: int = setting(96, "Width d_model of states and embeddings.", 1)
    mlp_dim: int = _knob(192, "Width d_ff of the feed-forward layers.", 1)
    num_heads: int = _knob(4, "Heads h.", 1)
    num_kv_heads: int = _knob(
        0, "Heads of keys and values, shared by groups; 0: one for each head.", 0
    )
    head_dim: int = _knob(0, "Width d_k of queries and keys; 0: d_model / h.", 0)
    value_dim: int = _knob(0, "Width d_v of values; 0: d_model / h.", 0)
    score: Literal[*SCORINGS] = _knob("scaled_dot", "Score of a query and a key, in every head.")
    mask: Literal[*MASKS] = _knob("global", "Mask of self-attention, besides that of the decoder.")
    half_width: int = _knob(10, "Positions on either side that a local mask allows.", 1, _LOCAL)
    dropout: float = _knob(
        0.1, "Dropout P_drop, of each layer's output and of the sums of embeddings.", 0.0
    )
    attention_dropout: float = _knob(0.0, "Dropout of attention weights (not 2017).", 0.0)
    pre_norm: bool = _knob(False, "Normalize before each layer instead of after it (not 2017).")
    positions: Literal["sinusoidal", "learned"] = _knob("sinusoidal", "Positional embedding.")
    max_positions: int = _knob(
        1024, "Positions of --positions=learned.", 1, {"positions": ("learned",)}
    )
    tied: bool = _knob(True, "One matrix for source embedding, target embedding and output layer.")
    hidden: int = setting(
        128,
        "Units of each recurrence of --network=rnnsearch.",
        1,
        needs={"network": ("rnnsearch",)},
    )


def make_network(config: Config, task: TranslationTask) -> nn.Module:
    """The network of a config."""
    model, execution = config.model, config.execution
    if model.network == "rnnsearch":
        # As in experiments.bahdanau2014 on the built-in corpus.
        init = nn.initializers.normal(0.01)
        attention = MemoryAttention(
            make_scoring("additive", features=model.model_dim, kernel_init=init),
            implementation=execution.named_implementation,
        )
        return RNNSearch(
            *task.vocab_sizes,
            hidden_dim=model.hidden,
            embedding_dim=model.model_dim,
            maxout_dim=model.model_dim,
            attention=attention,
            init_scale=10.0,
            remat=execution.remat,
        )
    learned = model.positions == "learned"
    mask = MASKS[model.mask](model.half_width)
    return Transformer(
        *task.vocab_sizes,
        num_layers=model.num_layers,
        model_dim=model.model_dim,
        mlp_dim=model.mlp_dim,
        num_heads=model.num_heads,
        head_dim=model.head_dim or None,
        value_dim=model.value_dim or model.model_dim // model.num_heads,
        num_kv_heads=model.num_kv_heads or None,
        mask=mask,
        decoder_mask=mask,
        dropout=model.dropout,
        attention_dropout=model.attention_dropout,
        pre_norm=model.pre_norm,
        tied=model.tied,
        positions=LearnedPositions(model.max_positions) if learned else SinusoidalPositions(),
        scoring=make_scoring(model.score, max_length=config.task.encoding.max_words + 1),
        normalizer=model.make_normalizer(),
        implementation=execution.named_implementation,
        remat=execution.remat,
    )


def peak_rate(config: Config) -> float:
    """The learning rate; 0 stands for the paper's (d_model * warmup)^-1/2, section 5.3."""
    warmup = max(1, config.optimizer.warmup_steps)
    return config.optimizer.learning_rate or (config.model.model_dim * warmup) ** -0.5


TITLE = "Vaswani et al. 2017, Tables 2-4, Figures 3-5: is attention all that a translator needs?"
CONFIG = Config(
    optimizer=OptimizerConfig(optimizer="adam_2017", schedule="inverse_sqrt", learning_rate=0.0),
    task=TranslationConfig(
        loss=LossConfig(label_smoothing=0.1),
        search=SearchConfig(
            beam_size=4, length_penalty=0.6, max_length_factor=1.0, max_length_offset=50
        ),
    ),
    model=TransformerConfig(),
)
PAPER = Paper(
    name="vaswani2017", title=TITLE, config=CONFIG, rows=ROWS, default_row="base", scales=SCALES,
    task=TranslationTask, network=make_network, report=tables.report,
    optimizer=lambda config: config_optimizer(config, peak_rate(config)),
    needs=dict.fromkeys(("normalizer", "normalizer_keys"), (_TRANSFORMER,)),
)  # fmt: skip
