"""Whisper's format: an encoder of log-mel features, and keys without a bias."""

from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from attn_research.layers.audio import AudioStem
from attn_research.layers.embeddings import LearnedPositions
from attn_research.models.transformer import Transformer
from attn_research.pretrained import marian
from attn_research.pretrained.family import Family
from attn_research.pretrained.names import Name, embedding, norm
from attn_research.pretrained.options import Options

BIASES = "query", "value", "output"  # keys have none, which would change no weight
# Of training, of alignment, and of other heads.
_WITHOUT_EFFECT = """
    alignment_heads apply_spec_augment classifier_proj_size forced_decoder_ids is_multilingual
    lang_ids mask_feature_length mask_feature_min_masks mask_feature_prob mask_time_length
    mask_time_min_masks mask_time_prob max_source_positions median_filter_width suppress_ids
    suppress_ids_begin
"""


def _network(options: Options, tensors: Collection[str]) -> Transformer:
    options.only("scale_embedding", False)
    options.only("use_weighted_layer_sum", False)
    options.only("tie_word_embeddings", True)
    options.without_effect(*_WITHOUT_EFFECT.split())
    num_mels, width = options.whole("num_mel_bins", 80), options.whole("d_model")
    return marian.common_network(
        options,
        (num_mels, options.whole("vocab_size")),
        stem=AudioStem(width, options.whole("max_source_positions", 1500)),
        positions=LearnedPositions(options.whole("max_target_positions", 448)),
        dropout=options.number("dropout", 0.0),
        attention_bias=BIASES,
        embedding_scale=1.0,
        pre_norm=True,
        tied=False,
    )


def _config(network: nn.Module) -> dict[str, Any]:
    config = marian.common_config(network, "WhisperForConditionalGeneration")
    stem, positions = network.stem, network.positions
    if not isinstance(stem, AudioStem) or not isinstance(positions, LearnedPositions):
        raise ValueError("there is no stem for sounds, or no learned positions")
    last = network.target_vocab - 1
    return config | {
        "vocab_size": network.target_vocab,
        "num_mel_bins": network.source_vocab,
        "max_source_positions": stem.max_length,
        "max_target_positions": positions.max_length,
        "pad_token_id": min(50256, last),
        "bos_token_id": min(50256, last),
        "eos_token_id": min(50256, last),
        "decoder_start_token_id": min(50257, last),
        "begin_suppress_tokens": None,
    }


def _names(network: nn.Module) -> tuple[Name, ...]:
    names: tuple[Name, ...] = ()
    for number, part in ((1, "first"), (2, "second")):
        start, leaf = f"model.encoder.conv{number}", f"stem/{part}"
        names += (Name(f"{start}.weight", (f"{leaf}/kernel",), axes="o i k -> k i o"),)
        names += (Name(f"{start}.bias", (f"{leaf}/bias",)),)
    return (
        *names,
        *embedding("model.encoder.embed_positions", "stem/positions"),
        *embedding("model.decoder.embed_tokens", "target_embedding/embedding"),
        *embedding("model.decoder.embed_positions", "positions/table"),
        *marian.block_names(),
        *norm("model.encoder.layer_norm", "encoder_norm"),
        *norm("model.decoder.layer_norm", "decoder_norm"),
    )


def _tied(network: nn.Module) -> dict[str, str]:
    return {"proj_out.weight": "model.decoder.embed_tokens.weight"}


def _ignored(network: nn.Module) -> tuple[str, ...]:
    return ()


def _inputs(network: nn.Module) -> tuple[jax.ShapeDtypeStruct, ...]:
    return (
        jax.ShapeDtypeStruct((1, 2, network.source_vocab), jnp.float32),
        jax.ShapeDtypeStruct((1, 2), jnp.bool_),
        jax.ShapeDtypeStruct((1, 1), jnp.int32),
    )


FAMILY = Family(
    "whisper", "model.", _network, _config, _names, tied=_tied, ignored=_ignored, inputs=_inputs
)
