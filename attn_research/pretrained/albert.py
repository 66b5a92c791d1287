"""ALBERT's format: one set of block parameters, and embeddings of a width of their own."""

from collections.abc import Collection
from typing import Any

from flax import linen as nn

from attn_research.models.bert import Bert
from attn_research.pretrained import bert
from attn_research.pretrained.family import Family
from attn_research.pretrained.names import Name, linear, norm
from attn_research.pretrained.options import Options


def _network(options: Options, tensors: Collection[str]) -> Bert:
    options.only("num_hidden_groups", 1)
    options.only("inner_group_num", 1)
    options.without_effect(
        "down_scale_factor", "gap_size", "net_structure_type", "num_memory_blocks"
    )
    tests = {
        "pooler": "albert.pooler.weight",
        "masked_lm": "predictions.dense.weight",
        "next_sentence": "sop_classifier.classifier.weight",
    }
    return bert.common_network(
        options,
        bert.find_heads(options, tensors, tests),
        embedding_dim=options.whole("embedding_size", 128),
        share_layers=True,
        activation=options.activation("hidden_act", "gelu_new"),
        dropout=options.number("hidden_dropout_prob", 0.0),
        attention_dropout=options.number("attention_probs_dropout_prob", 0.0),
        classifier_dropout=options.number("classifier_dropout_prob", 0.1),
    )


def _config(network: nn.Module) -> dict[str, Any]:
    return bert.common_config(network) | {
        "architectures": [bert.architecture("Albert", network)],
        "embedding_size": network.embedding_dim or network.model_dim,
        "num_hidden_groups": 1,
        "inner_group_num": 1,
        "classifier_dropout_prob": network.classifier_dropout,
    }


def _names(network: nn.Module) -> tuple[Name, ...]:
    layer = "albert.encoder.albert_layer_groups.0.albert_layers.0"
    names = bert.embedding_names("albert.")
    for part in ("query", "key", "value"):
        names += linear(f"{layer}.attention.{part}", f"blocks/attention/{part}")
    return (
        *names,
        *linear("albert.encoder.embedding_hidden_mapping_in", "project"),
        *linear(f"{layer}.attention.dense", "blocks/attention/output"),
        *norm(f"{layer}.attention.LayerNorm", "blocks/around_attention/norm"),
        *linear(f"{layer}.ffn", "blocks/mlp/input"),
        *linear(f"{layer}.ffn_output", "blocks/mlp/output"),
        *norm(f"{layer}.full_layer_layer_norm", "blocks/around_mlp/norm"),
        *linear("albert.pooler", "pooler/dense"),
        *bert.masked_lm_names("predictions", "dense", "LayerNorm"),
        *linear("sop_classifier.classifier", "next_sentence"),
        *linear("classifier", "classifier"),
        *linear("classifier", "token_classifier"),
    )


def _tied(network: nn.Module) -> dict[str, str]:
    return bert.tied_words("albert.", "predictions")


def _ignored(network: nn.Module) -> tuple[str, ...]:
    return bert.buffers("albert.")


FAMILY = Family("albert", "albert.", _network, _config, _names, tied=_tied, ignored=_ignored)
