"""RoBERTa's format, in which positions begin after the id of padding."""

from collections.abc import Collection
from typing import Any

from flax import linen as nn

from attn_research.models.bert import Bert
from attn_research.pretrained import bert
from attn_research.pretrained.family import Family
from attn_research.pretrained.names import Name, linear
from attn_research.pretrained.options import Options


def _network(options: Options, tensors: Collection[str]) -> Bert:
    pooled = {"classifier.dense.weight", "roberta.pooler.dense.weight"} & set(tensors)
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
        classifier_dropout=bert.classifier_dropout(options),
    )


def _config(network: nn.Module) -> dict[str, Any]:
    return bert.common_config(network) | {
        "architectures": [bert.architecture("Roberta", network)],
        "classifier_dropout": network.classifier_dropout,
        "pad_token_id": network.first_position - 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
    }


def _names(network: nn.Module) -> tuple[Name, ...]:
    # A classifier of texts has the layers of BERT's pooler and classifier, under other names.
    pooler = "classifier.dense" if "classifier" in network.heads else "roberta.pooler.dense"
    return (
        *bert.encoder_names("roberta."),
        *linear(pooler, "pooler/dense"),
        *bert.masked_lm_names("lm_head", "dense", "layer_norm"),
        *linear("classifier.out_proj", "classifier"),
        *linear("classifier", "token_classifier"),
    )


def _tied(network: nn.Module) -> dict[str, str]:
    return bert.tied_words("roberta.", "lm_head")


def _ignored(network: nn.Module) -> tuple[str, ...]:
    """Buffers, and the pooler of pre-training, which published classifiers keep and do not use."""
    pooler = tuple(f"roberta.pooler.dense.{kind}" for kind in ("weight", "bias"))
    return bert.buffers("roberta.") + (pooler if "classifier" in network.heads else ())


FAMILY = Family("roberta", "roberta.", _network, _config, _names, tied=_tied, ignored=_ignored)
