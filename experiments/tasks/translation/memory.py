"""Attention of recurrent translators over the source, by flag."""

import dataclasses
from typing import Literal

from flax import linen as nn

from attn_research.layers.attention import MemoryAttention
from attn_research.layers.masking import LOCALITIES, WIDE_LOCALITIES, make_locality
from attn_research.layers.scoring import SCORINGS, make_scoring
from experiments.harness.config import Config, setting
from experiments.tasks.networks import NormalizerConfig

ATTENTION = {"attention": (True,)}
# What needs attention besides the values of `MemoryConfig`.
NEEDS = dict.fromkeys(
    (
        *("implementation", "normalizer", "normalizer_keys"),
        *("replace_unknown", "dictionary_pairs", "soft_links"),
    ),
    (ATTENTION,),
)


@dataclasses.dataclass(frozen=True)
class MemoryConfig(NormalizerConfig):
    """Attention of a recurrent decoder over the source, where the network has any."""

    score: Literal[*SCORINGS] = setting(
        "additive", "Score of a decoder state and an annotation.", needs=ATTENTION
    )
    locality: Literal[*LOCALITIES] = setting(
        "global",
        "Words attended to: all, those around the same position, or around a predicted one.",
        needs=ATTENTION,
    )
    half_width: int = setting(
        10,
        "Words on either side of the center of local attention.",
        1,
        needs=[ATTENTION, {"locality": WIDE_LOCALITIES}],
    )


MEMORY = MemoryConfig()


def make_attention(
    config: Config, features: int, kernel_init: nn.initializers.Initializer | None = None
) -> MemoryAttention:
    """The attention that a config names, its matrices drawn by `kernel_init`, or as usual."""
    part, max_length = config.model.memory, config.task.encoding.max_words + 1
    return MemoryAttention(
        make_scoring(part.score, features=features, max_length=max_length, kernel_init=kernel_init),
        make_locality(part.locality, part.half_width, kernel_init=kernel_init),
        part.make_normalizer(),
        implementation=config.execution.named_implementation,
    )
