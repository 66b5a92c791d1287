"""GPT by config: the values of its network, and the network."""

import dataclasses
from typing import Literal

from attn_research.attention import Rotary
from attn_research.layers.embeddings import LearnedPositions, LinearBiases
from attn_research.layers.masking import MASKS, WIDE_MASKS
from attn_research.layers.scoring import SCORINGS, make_scoring
from attn_research.models.gpt import GPT, GPT1_BLOCK, GPT2_BLOCK, LLAMA_BLOCK
from experiments.harness.config import Config, fraction, setting
from experiments.tasks.language_modeling.task import LanguageModelingTask
from experiments.tasks.networks import NormalizerConfig, StackConfig

BLOCKS = {"gpt": GPT1_BLOCK, "gpt2": GPT2_BLOCK, "llama": LLAMA_BLOCK}


@dataclasses.dataclass(frozen=True)
class GPTConfig(NormalizerConfig, StackConfig):
    """The network."""

    num_kv_heads: int = setting(
        0, "Heads of keys and values, shared by groups; 0: one for each head.", 0
    )
    block: Literal[*BLOCKS] = setting(
        "gpt2",
        "Block: norms after each layer (gpt), before it (gpt2), or RMS norms and SwiGLU (llama).",
    )
    positions: Literal["learned", "rotary", "alibi", "none"] = setting(
        "learned", "Positions: embeddings that are learned, rotations, linear biases, or none."
    )
    rotation_base: float = setting(
        10_000.0, "Base of the angles of rotations.", 1.0, needs={"positions": ("rotary",)}
    )
    norm_epsilon: float = setting(1e-5, "What norms add to a variance.", 0.0)
    biases: bool = setting(True, "Biases of matrices and norms.", needs={"block": ("gpt", "gpt2")})
    tied: bool = setting(True, "One matrix for the embedding and the output layer.")
    score: Literal[*SCORINGS] = setting("scaled_dot", "Score of a query and a key, in every head.")
    mask: Literal[*MASKS] = setting("global", "Mask of attention, besides causality.")
    half_width: int = setting(
        10, "Positions before a token that a local mask allows.", 1, needs={"mask": WIDE_MASKS}
    )
    attention_dropout: float = fraction(0.0, "Dropout of attention weights.")


def _positions(model: GPTConfig, context: int) -> dict:
    width = model.model_dim // model.num_heads
    return {
        "learned": {"positions": LearnedPositions(context)},
        "rotary": {"rotary": Rotary(width, model.rotation_base)},
        "alibi": {"position_bias": LinearBiases()},
        "none": {},
    }[model.positions]


def make_network(config: Config, task: LanguageModelingTask) -> GPT:
    """The network of a config."""
    return make_gpt(config, task.vocab_size, config.task.rows.context)


def make_gpt(config: Config, vocab_size: int, context: int) -> GPT:
    """The decoder of a config, of texts of at most `context` tokens."""
    model = config.model
    block = BLOCKS[model.block]
    biases = model.biases and block.use_bias
    options = dict(dropout=model.dropout, norm_epsilon=model.norm_epsilon, use_bias=biases)
    return GPT(
        vocab_size,
        **model.sizes(),
        block=dataclasses.replace(block, **options),
        num_kv_heads=model.num_kv_heads or None,
        attention_bias=biases,
        attention_dropout=model.attention_dropout,
        tied=model.tied,
        scoring=make_scoring(model.score, max_length=context),
        normalizer=model.make_normalizer(),
        mask=MASKS[model.mask](model.half_width),
        implementation=config.execution.named_implementation,
        remat=config.execution.remat,
        **_positions(model, context),
    )
