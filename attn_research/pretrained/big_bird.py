"""BigBird's format: BERT's, with block sparse attention for long rows.

Random blocks are those of `RandomBlocks`, which differ from the original's: it draws them anew by a
seed of its own in training, and in evaluation none, where it counts the keys of the first block
again for each block that it would draw. Full attention, and what is given as the `mask` of a call,
equal the original. In training it drops embeddings before their norm, not after.
"""

from collections.abc import Collection
from typing import Any

from flax import linen as nn

from attn_research.attention import BigBird, Full, Mask
from attn_research.models.bert import Bert
from attn_research.pretrained import bert
from attn_research.pretrained.family import Family
from attn_research.pretrained.names import Name
from attn_research.pretrained.options import Options

POOLER = "bert.pooler"
# The original's classes whose heads are those of `Bert`.
HEADS = "Model", "ForMaskedLM", "ForPreTraining", "ForTokenClassification"


def _network(options: Options, tensors: Collection[str]) -> Bert:
    options.only("use_bias", True)
    options.only("rescale_embeddings", False)
    options.only("attention_type", "block_sparse", "original_full")
    block, count = options.whole("block_size", 64), options.whole("num_random_blocks", 3)
    mask: Mask = BigBird(block, count, options.whole("num_attention_heads"))
    if options.value("attention_type", "block_sparse") == "original_full":
        mask = Full()
    return bert.common_network(
        options,
        bert.pretraining_heads(options, tensors, POOLER),
        activation=options.activation("hidden_act", "gelu_new"),
        max_length=options.whole("max_position_embeddings", 4096),
        classifier_dropout=bert.classifier_dropout(options),
        mask=mask,
    )


def _config(network: nn.Module) -> dict[str, Any]:
    found = bert.common_config(network) | {
        "architectures": [bert.architecture("BigBird", network)],
        "classifier_dropout": network.classifier_dropout,
    }
    (name,) = found["architectures"]
    if name.removeprefix("BigBird") not in HEADS:
        raise ValueError(f"{name} is not there, or has other layers in its head")
    if not isinstance(network.mask, BigBird):
        return found | {"attention_type": "original_full"}
    return found | {
        "attention_type": "block_sparse",
        "block_size": network.mask.block,
        "num_random_blocks": network.mask.random_blocks,
    }


def _names(network: nn.Module) -> tuple[Name, ...]:
    return bert.pretraining_names(POOLER)


def _tied(network: nn.Module) -> dict[str, str]:
    return bert.tied_words("bert.", "cls.predictions")


def _ignored(network: nn.Module) -> tuple[str, ...]:
    return bert.buffers("bert.")


FAMILY = Family("big_bird", "bert.", _network, _config, _names, tied=_tied, ignored=_ignored)
