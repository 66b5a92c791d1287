"""T5's format: relative position buckets, RMSNorm, and scores that are not scaled."""

from collections.abc import Collection
from typing import Any

from flax import linen as nn

from attn_research.layers.embeddings import BucketedBiases
from attn_research.layers.feed_forward import BlockConfig
from attn_research.layers.scoring import make_scoring
from attn_research.models.transformer import Transformer
from attn_research.pretrained.family import Family, pair
from attn_research.pretrained.names import LAYER, Name, embedding, matrix, norm
from attn_research.pretrained.options import PUBLISHED_ACTIVATIONS, Options

# The layers of a block, by our names, in both stacks.
ENCODER = {"attention": "SelfAttention", "mlp": "DenseReluDense"}
DECODER = {"attention": "SelfAttention", "cross": "EncDecAttention", "mlp": "DenseReluDense"}
GATED = "gated-"


def _network(options: Options, tensors: Collection[str]) -> Transformer:
    options.only("is_encoder_decoder", True)
    options.without_effect("n_positions", "classifier_dropout", "id2label", "num_labels")
    # The first two repeat feed_forward_proj.
    options.without_effect("dense_act_fn", "is_gated_act")
    scaled, tied = _head(options, tensors)
    num_layers = options.whole("num_layers", 6)
    decoder_layers = options.value("num_decoder_layers", None)
    dropout = options.number("dropout_rate", 0.1)
    vocab_size, model_dim = options.whole("vocab_size"), options.whole("d_model", 512)
    buckets = (
        options.whole("relative_attention_num_buckets", 32),
        options.whole("relative_attention_max_distance", 128),
    )
    return Transformer(
        vocab_size,
        vocab_size,
        num_layers,
        model_dim,
        options.whole("d_ff", 2048),
        num_heads=options.whole("num_heads", 8),
        head_dim=options.whole("d_kv", 64),
        dropout=dropout,
        attention_dropout=dropout,
        pre_norm=True,
        block=_block(options),
        num_decoder_layers=num_layers
        if decoder_layers is None
        else options.whole("num_decoder_layers"),
        positions=None,
        position_bias=BucketedBiases(*buckets, bidirectional=True),
        decoder_position_bias=BucketedBiases(*buckets, bidirectional=False),
        embedding_scale=1.0,
        logit_scale=model_dim**-0.5 if scaled else 1.0,
        own_head=not tied,
        scoring=make_scoring("dot"),
    )


def _head(options: Options, tensors: Collection[str]) -> tuple[bool, bool]:
    """Whether states are scaled before they make logits, and whether the embedding makes them.

    Versions of the original library from 5 on write models that are not tied as tied ones whose
    states are not scaled.
    """
    tied = options.flag("tie_word_embeddings", True)
    scaled = options.flag("scale_decoder_outputs", tied)
    return scaled, tied and (scaled or "lm_head.weight" not in tensors)


def _block(options: Options) -> BlockConfig:
    kind = options.value("feed_forward_proj", "relu")
    if not isinstance(kind, str):
        raise ValueError(f"config field feed_forward_proj is {kind!r}: a name is needed")
    activation = kind.removeprefix(GATED)
    # The original's gated GELU is the approximation by tanh, and its plain one is not.
    published = "gelu_new" if kind == "gated-gelu" else activation
    return BlockConfig(
        norm="rms_norm",
        norm_epsilon=options.number("layer_norm_epsilon", 1e-6),
        activation=Options({"feed_forward_proj": published}).activation("feed_forward_proj"),
        gated=kind.startswith(GATED),
        use_bias=False,
    )


def _config(network: nn.Module) -> dict[str, Any]:
    if not isinstance(network, Transformer) or network.position_bias is None:
        raise ValueError(f"{type(network).__name__} has no relative positions")
    block, buckets = network.block, network.position_bias
    activation = PUBLISHED_ACTIVATIONS[block.activation]
    if block.gated:
        activation = GATED + ("gelu" if activation == "gelu_new" else activation)
    return {
        "architectures": ["T5ForConditionalGeneration"],
        "is_encoder_decoder": True,
        "vocab_size": network.target_vocab,
        "d_model": network.model_dim,
        "d_ff": network.mlp_dim,
        "d_kv": network.head_dim or network.model_dim // network.num_heads,
        "num_heads": network.num_heads,
        "num_layers": network.num_layers,
        "num_decoder_layers": network.num_decoder_layers or network.num_layers,
        "relative_attention_num_buckets": buckets.num_buckets,
        "relative_attention_max_distance": buckets.max_distance,
        "feed_forward_proj": activation,
        "layer_norm_epsilon": block.norm_epsilon,
        "dropout_rate": network.dropout,
        "tie_word_embeddings": not network.own_head,
        "pad_token_id": 0,
        "decoder_start_token_id": 0,
        "eos_token_id": 1,
    }


def _names(network: nn.Module) -> tuple[Name, ...]:
    names = (*embedding("shared", "source_embedding/embedding"), *matrix("lm_head", "head"))
    for stack, layers in (("encoder", ENCODER), ("decoder", DECODER)):
        bias = "position_bias" if stack == "encoder" else "decoder_position_bias"
        first = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias"
        names += embedding(first, f"{bias}/table")
        names += norm(f"{stack}.final_layer_norm", f"{stack}_norm")
        for number, (part, layer) in enumerate(layers.items()):
            start = f"{stack}.block.{LAYER}.layer.{number}"
            names += norm(f"{start}.layer_norm", f"{stack}/around_{part}/norm")
            for theirs, ours in _matrices(part, network.block.gated).items():
                names += matrix(f"{start}.{layer}.{theirs}", f"{stack}/{part}/{ours}")
    return names


def _matrices(part: str, gated: bool) -> dict[str, str]:
    """Our names of the matrices of a layer, by those of the format."""
    if part != "mlp":
        return {"q": "query", "k": "key", "v": "value", "o": "output"}
    return {"wi_0": "gate", "wi_1": "input", "wo": "output"} if gated else {
        "wi": "input", "wo": "output",
    }  # fmt: skip


def _tied(network: nn.Module) -> dict[str, str]:
    repeats = ["encoder.embed_tokens", "decoder.embed_tokens"]
    repeats += [] if network.own_head else ["lm_head"]
    return {f"{name}.weight": "shared.weight" for name in repeats}


def _ignored(network: nn.Module) -> tuple[str, ...]:
    """A bias of cross-attention that old checkpoints have, and the original does not use."""
    return ("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",)


# No prefix: "" begins every name.
FAMILY = Family("t5", "", _network, _config, _names, tied=_tied, ignored=_ignored, inputs=pair)
