"""BERT's format; also what those of RoBERTa, ALBERT, Longformer and BigBird share with it."""

from collections.abc import Collection
from typing import Any

from flax import linen as nn

from attn_research.models.bert import Bert
from attn_research.pretrained.family import Family
from attn_research.pretrained.names import Name, embedding, linear, norm
from attn_research.pretrained.options import PUBLISHED_ACTIVATIONS, Options, num_classes

# The head of a model, by the end of the original class's name.
CLASSIFIERS = {
    "ForSequenceClassification": "classifier",
    "ForTokenClassification": "token_classifier",
}
# The sizes of a network by the fields of a config, for both directions.
SIZES = {
    "vocab_size": "vocab_size",
    "num_hidden_layers": "num_layers",
    "hidden_size": "model_dim",
    "intermediate_size": "mlp_dim",
    "num_attention_heads": "num_heads",
}


def common_network(options: Options, heads: tuple[str, ...], **changes: Any) -> Bert:
    """The encoder of a config, of fields that BERT and its like name alike."""
    options.only("position_embedding_type", "absolute", None)
    options.only("tie_word_embeddings", True)
    options.without_effect(
        "directionality",
        "pooler_fc_size",
        "pooler_num_attention_heads",
        "pooler_num_fc_layers",
        "pooler_size_per_head",
        "pooler_type",
    )
    fields: dict[str, Any] = {
        "heads": heads,
        "activation": options.activation("hidden_act", "gelu"),
        "num_classes": num_classes(options),
        "max_length": options.whole("max_position_embeddings", 512),
        "num_types": options.whole("type_vocab_size", 2),
        "norm_epsilon": options.number("layer_norm_eps", 1e-12),
        "dropout": options.number("hidden_dropout_prob", 0.1),
        "attention_dropout": options.number("attention_probs_dropout_prob", 0.1),
    }
    sizes = {ours: options.whole(theirs) for theirs, ours in SIZES.items()}
    return Bert(**sizes, **fields | changes)


def classifier_dropout(options: Options) -> float:
    """The dropout before a classifier, by default that of the states."""
    rate = options.value("classifier_dropout", None)
    dropout = options.number("hidden_dropout_prob", 0.1)
    return dropout if rate is None else options.number("classifier_dropout")


def common_config(network: nn.Module) -> dict[str, Any]:
    """The config of an encoder, of fields that all name alike."""
    if not isinstance(network, Bert):
        raise ValueError(f"{type(network).__name__} is no Bert")
    return {theirs: getattr(network, ours) for theirs, ours in SIZES.items()} | {
        "hidden_act": PUBLISHED_ACTIVATIONS[network.activation],
        "hidden_dropout_prob": network.dropout,
        "attention_probs_dropout_prob": network.attention_dropout,
        "max_position_embeddings": network.max_length,
        "type_vocab_size": network.num_types,
        "layer_norm_eps": network.norm_epsilon,
        "id2label": {str(i): f"LABEL_{i}" for i in range(network.num_classes)},
        "label2id": {f"LABEL_{i}": i for i in range(network.num_classes)},
    }


def architecture(start: str, network: Bert) -> str:
    """The original class that has the heads of a network."""
    for end, head in CLASSIFIERS.items():
        if head in network.heads:
            return start + end
    masked_lm, next_sentence = (head in network.heads for head in ("masked_lm", "next_sentence"))
    if masked_lm:
        return start + ("ForPreTraining" if next_sentence else "ForMaskedLM")
    return start + ("ForNextSentencePrediction" if next_sentence else "Model")


def pretraining_heads(options: Options, tensors: Collection[str], pooler: str) -> tuple[str, ...]:
    """The heads of BERT's kind, by a tensor of each; `pooler` is the pooler's layer."""
    tests = {
        "pooler": f"{pooler}.weight",
        "masked_lm": "cls.predictions.transform.dense.weight",
        "next_sentence": "cls.seq_relationship.weight",
    }
    return find_heads(options, tensors, tests)


def find_heads(
    options: Options, tensors: Collection[str], tests: dict[str, str]
) -> tuple[str, ...]:
    """The heads whose tensor, by name of the head, is there; a classifier's kind by the config."""
    heads = [head for head, tensor in tests.items() if tensor in tensors]
    if "classifier.weight" not in tensors:
        return tuple(heads)
    named = options.value("architectures", None) or []
    for end, head in CLASSIFIERS.items():
        if any(str(each).endswith(end) for each in named):
            return (*heads, head)
    if any(not str(each).endswith("Model") for each in named):
        raise ValueError(f"config field architectures is {named!r}, whose head is not supported")
    return (*heads, "classifier" if "pooler" in heads else "token_classifier")


PROJECTIONS = "query", "key", "value"


def encoder_names(prefix: str, projections: tuple[str, ...] = PROJECTIONS) -> tuple[Name, ...]:
    """Embeddings and blocks, as all but ALBERT name them."""
    layer = f"{prefix}encoder.layer.{{layer}}"
    names = embedding_names(prefix)
    for part in projections:
        names += linear(f"{layer}.attention.self.{part}", f"blocks/attention/{part}")
    return (
        *names,
        *linear(f"{layer}.attention.output.dense", "blocks/attention/output"),
        *norm(f"{layer}.attention.output.LayerNorm", "blocks/around_attention/norm"),
        *linear(f"{layer}.intermediate.dense", "blocks/mlp/input"),
        *linear(f"{layer}.output.dense", "blocks/mlp/output"),
        *norm(f"{layer}.output.LayerNorm", "blocks/around_mlp/norm"),
    )


def embedding_names(prefix: str) -> tuple[Name, ...]:
    """Embeddings of words, positions and types, as all name them."""
    start = f"{prefix}embeddings."
    return (
        *embedding(f"{start}word_embeddings", "words/embedding"),
        *embedding(f"{start}position_embeddings", "positions/table"),
        *embedding(f"{start}token_type_embeddings", "types/embedding"),
        *norm(f"{start}LayerNorm", "norm"),
    )


def buffers(prefix: str) -> tuple[str, ...]:
    """Buffers of embeddings that older versions of the original library wrote."""
    return f"{prefix}embeddings.position_ids", f"{prefix}embeddings.token_type_ids"


def tied_words(prefix: str, head: str) -> dict[str, str]:
    """The matrix and bias of a masked language model, which repeat those of the embeddings."""
    words = f"{prefix}embeddings.word_embeddings.weight"
    return {f"{head}.decoder.weight": words, f"{head}.decoder.bias": f"{head}.bias"}


def masked_lm_names(head: str, transform: str, layer_norm: str) -> tuple[Name, ...]:
    """The head of a masked language model, by the names of its parts."""
    return (
        *linear(f"{head}.{transform}", "masked_lm/transform"),
        *norm(f"{head}.{layer_norm}", "masked_lm/norm"),
        Name(f"{head}.bias", ("masked_lm/bias",)),
    )


def _network(options: Options, tensors: Collection[str]) -> Bert:
    heads = pretraining_heads(options, tensors, "bert.pooler.dense")
    return common_network(options, heads, classifier_dropout=classifier_dropout(options))


def _config(network: nn.Module) -> dict[str, Any]:
    return common_config(network) | {
        "architectures": [architecture("Bert", network)],
        "classifier_dropout": network.classifier_dropout,
    }


def _names(network: nn.Module) -> tuple[Name, ...]:
    return pretraining_names("bert.pooler.dense")


def pretraining_names(pooler: str) -> tuple[Name, ...]:
    """The tensors of BERT's kind, by the name of the pooler's layer."""
    return (
        *encoder_names("bert."),
        *linear(pooler, "pooler/dense"),
        *masked_lm_names("cls.predictions", "transform.dense", "transform.LayerNorm"),
        *linear("cls.seq_relationship", "next_sentence"),
        *linear("classifier", "classifier"),
        *linear("classifier", "token_classifier"),
    )


def _tied(network: nn.Module) -> dict[str, str]:
    return tied_words("bert.", "cls.predictions")


def _ignored(network: nn.Module) -> tuple[str, ...]:
    return buffers("bert.")


FAMILY = Family("bert", "bert.", _network, _config, _names, tied=_tied, ignored=_ignored)
