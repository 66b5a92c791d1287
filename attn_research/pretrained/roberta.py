"""RoBERTa's format, in which positions begin after the id of padding; also Longformer's."""

from collections.abc import Collection
from typing import Any

from flax import linen as nn

from attn_research.models.bert import Bert
from attn_research.pretrained import bert
from attn_research.pretrained.family import Family
from attn_research.pretrained.names import Name, linear
from attn_research.pretrained.options import Options


def common_network(options: Options, tensors: Collection[str], prefix: str, **changes: Any) -> Bert:
    """The encoder of a config, of fields that RoBERTa and Longformer name alike."""
    pooled = {"classifier.dense.weight", f"{prefix}pooler.dense.weight"} & set(tensors)
    heads = ("pooler",) if pooled else ()
    if "classifier.out_proj.weight" in tensors:
        heads += ("classifier",)
    tests = {"masked_lm": "lm_head.dense.weight"}
    options.only("hidden_act", "gelu")  # the original's head has it, whatever this field says
    padding = options.value("pad_token_id", 1)
    if not isinstance(padding, int) or padding < 0:
        raise ValueError(f"config field pad_token_id is {padding!r}: positions are counted from it")
    return bert.common_network(
        options,
        (*heads, *bert.find_heads(options, tensors, tests)),
        first_position=padding + 1,
        **changes,
    )


def common_config(network: nn.Module, architecture: str) -> dict[str, Any]:
    """The config of an encoder, of fields that RoBERTa and Longformer name alike."""
    return bert.common_config(network) | {
        "architectures": [bert.architecture(architecture, network)],
        "pad_token_id": network.first_position - 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
    }


def common_names(
    network: nn.Module, prefix: str, projections: tuple[str, ...] = bert.PROJECTIONS
) -> tuple[Name, ...]:
    """The tensors of RoBERTa's kind, by the name of the trunk."""
    # A classifier of texts has the layers of BERT's pooler and classifier, under other names.
    pooler = "classifier.dense" if "classifier" in network.heads else f"{prefix}pooler.dense"
    return (
        *bert.encoder_names(prefix, projections),
        *linear(pooler, "pooler/dense"),
        *bert.masked_lm_names("lm_head", "dense", "layer_norm"),
        *linear("classifier.out_proj", "classifier"),
        *linear("classifier", "token_classifier"),
    )


def _network(options: Options, tensors: Collection[str]) -> Bert:
    dropout = bert.classifier_dropout(options)
    return common_network(options, tensors, "roberta.", classifier_dropout=dropout)


def _config(network: nn.Module) -> dict[str, Any]:
    found = common_config(network, "Roberta")
    return found | {"classifier_dropout": network.classifier_dropout}


def _names(network: nn.Module) -> tuple[Name, ...]:
    return common_names(network, "roberta.")


def _tied(network: nn.Module) -> dict[str, str]:
    return bert.tied_words("roberta.", "lm_head")


def common_ignored(network: nn.Module, prefix: str) -> tuple[str, ...]:
    """Buffers, and the pooler of pre-training, which published classifiers keep and do not use."""
    pooler = tuple(f"{prefix}pooler.dense.{kind}" for kind in ("weight", "bias"))
    return bert.buffers(prefix) + (pooler if "classifier" in network.heads else ())


def _ignored(network: nn.Module) -> tuple[str, ...]:
    return common_ignored(network, "roberta.")


FAMILY = Family("roberta", "roberta.", _network, _config, _names, tied=_tied, ignored=_ignored)
