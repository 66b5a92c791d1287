"""Marian's format; also what Whisper's shares with it, as both come from BART's."""

from collections.abc import Collection
from typing import Any

from flax import linen as nn

from attn_research.layers.embeddings import SinusoidalPositions
from attn_research.layers.feed_forward import BlockConfig
from attn_research.models.transformer import Transformer
from attn_research.pretrained.family import Family, pair
from attn_research.pretrained.names import LAYER, Name, embedding, linear, matrix, norm
from attn_research.pretrained.options import PUBLISHED_ACTIVATIONS, Options

EPSILON = 1e-5  # of every norm; no field has it


def common_network(options: Options, vocabularies: tuple[int, int], **changes: Any) -> Transformer:
    """The network of a config, of fields that Marian and Whisper name alike."""
    options.only("is_encoder_decoder", True)
    options.only("activation_dropout", 0.0, 0)
    options.without_effect("encoder_layerdrop", "decoder_layerdrop")  # of training
    options.without_effect("init_std", "num_hidden_layers", "id2label", "num_labels")
    heads, mlp_dim = options.whole("encoder_attention_heads"), options.whole("encoder_ffn_dim")
    options.only("decoder_attention_heads", heads)
    options.only("decoder_ffn_dim", mlp_dim)
    activation = options.activation("activation_function", "gelu")
    fields: dict[str, Any] = {
        "num_decoder_layers": options.whole("decoder_layers"),
        "dropout": options.number("dropout", 0.1),
        "attention_dropout": options.number("attention_dropout", 0.0),
        "attention_bias": True,
        "block": BlockConfig(norm_epsilon=EPSILON, activation=activation),
    }
    return Transformer(
        *vocabularies,
        options.whole("encoder_layers"),
        options.whole("d_model"),
        mlp_dim,
        num_heads=heads,
        **fields | changes,
    )


def common_config(network: nn.Module, architecture: str) -> dict[str, Any]:
    """The config of a network, of fields that Marian and Whisper name alike."""
    if not isinstance(network, Transformer):
        raise ValueError(f"{type(network).__name__} is no Transformer")
    return {
        "architectures": [architecture],
        "is_encoder_decoder": True,
        "d_model": network.model_dim,
        "encoder_layers": network.num_layers,
        "decoder_layers": network.num_decoder_layers or network.num_layers,
        "encoder_attention_heads": network.num_heads,
        "decoder_attention_heads": network.num_heads,
        "encoder_ffn_dim": network.mlp_dim,
        "decoder_ffn_dim": network.mlp_dim,
        "activation_function": PUBLISHED_ACTIVATIONS[network.block.activation],
        "dropout": network.dropout,
        "attention_dropout": network.attention_dropout,
    }


def block_names() -> tuple[Name, ...]:
    """The blocks of both stacks."""
    names: tuple[Name, ...] = ()
    for stack in ("encoder", "decoder"):
        start = f"model.{stack}.layers.{LAYER}"
        layers = {"attention": "self_attn"}
        if stack == "decoder":
            layers["cross"] = "encoder_attn"
        for part, layer in layers.items():
            for theirs, ours in (("q", "query"), ("k", "key"), ("v", "value"), ("out", "output")):
                names += linear(f"{start}.{layer}.{theirs}_proj", f"{stack}/{part}/{ours}")
            names += norm(f"{start}.{layer}_layer_norm", f"{stack}/around_{part}/norm")
        names += linear(f"{start}.fc1", f"{stack}/mlp/input")
        names += linear(f"{start}.fc2", f"{stack}/mlp/output")
        names += norm(f"{start}.final_layer_norm", f"{stack}/around_mlp/norm")
    return names


def _network(options: Options, tensors: Collection[str]) -> Transformer:
    for name in ("normalize_before", "normalize_embedding", "add_final_layer_norm"):
        options.only(name, False)
    options.only("add_bias_logits", False)
    options.only("static_position_embeddings", True)
    options.without_effect("classifier_dropout", "classif_dropout", "extra_pos_embeddings")
    options.without_effect("save_step", "force_bos_token_to_be_generated")
    options.without_effect("max_position_embeddings")  # sinusoids have no table that could end
    vocab_size = options.whole("vocab_size")
    decoder_vocab = options.value("decoder_vocab_size", None)
    vocabularies = vocab_size, vocab_size
    if decoder_vocab is not None:
        vocabularies = vocab_size, options.whole("decoder_vocab_size")
    return common_network(
        options,
        vocabularies,
        tied=options.flag("share_encoder_decoder_embeddings", True),
        positions=SinusoidalPositions("halves"),
        embedding_scale=None if options.flag("scale_embedding", False) else 1.0,
        own_head=not options.flag("tie_word_embeddings", True),
        output_bias=True,
    )


def _config(network: nn.Module) -> dict[str, Any]:
    config = common_config(network, "MarianMTModel")
    if not isinstance(network.positions, SinusoidalPositions):
        raise ValueError("positions are not sinusoidal")
    return config | {
        "vocab_size": network.source_vocab,
        "decoder_vocab_size": network.target_vocab,
        "share_encoder_decoder_embeddings": network.tied,
        "scale_embedding": network.embedding_scale is None,
        "tie_word_embeddings": not network.own_head,
        "max_position_embeddings": 1024,
        "pad_token_id": network.target_vocab - 1,
        "decoder_start_token_id": network.target_vocab - 1,
        "eos_token_id": 0,
    }


def _names(network: nn.Module) -> tuple[Name, ...]:
    source = "model.shared" if network.tied else "model.encoder.embed_tokens"
    return (
        *embedding(source, "source_embedding/embedding"),
        *embedding("model.decoder.embed_tokens", "target_embedding/embedding"),
        *block_names(),
        *matrix("lm_head", "head"),
        Name("final_logits_bias", ("bias",), axes="1 v -> v"),
    )


def _tied(network: nn.Module) -> dict[str, str]:
    words = "model.shared.weight" if network.tied else "model.decoder.embed_tokens.weight"
    repeats = ["model.encoder.embed_tokens", "model.decoder.embed_tokens"] if network.tied else []
    repeats += [] if network.own_head else ["lm_head"]
    return {f"{name}.weight": words for name in repeats}


def _ignored(network: nn.Module) -> tuple[str, ...]:
    """Tables of sinusoids, which old versions of the original library wrote."""
    return tuple(f"model.{stack}.embed_positions.weight" for stack in ("encoder", "decoder"))


FAMILY = Family("marian", "", _network, _config, _names, tied=_tied, ignored=_ignored, inputs=pair)
