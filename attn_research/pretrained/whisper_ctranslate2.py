"""Whisper's weights in CTranslate2's container, under the names of the published format."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from attn_research.pretrained.checkpoint import Checkpoint
from attn_research.pretrained.tensors import Renamed

GELU = 3  # exact GELU among the container's activations
# Scalars of the container that say how it is computed, with the values that Whisper has.
_SETTINGS = {
    "activation": GELU,
    "alibi": 0,
    "pre_norm": 1,
    "scale_embeddings": 0,
    "start_from_zero_embedding": 0,
    "alignment_heads": None,
    "alignment_layer": None,
    "num_heads": None,
}
_KINDS = {"gamma": "weight", "beta": "bias", "weight": "weight", "bias": "bias"}
_OUTSIDE = {
    "encoder/conv1": "model.encoder.conv1",
    "encoder/conv2": "model.encoder.conv2",
    "encoder/layer_norm": "model.encoder.layer_norm",
    "decoder/layer_norm": "model.decoder.layer_norm",
    "decoder/embeddings": "model.decoder.embed_tokens",
    "decoder/projection": "proj_out",
}
_POSITIONS = "position_encodings/encodings"
_BLOCK = {
    "self_attention/layer_norm": ("self_attn_layer_norm",),
    "self_attention/linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attention/linear_1": ("self_attn.out_proj",),
    "attention/layer_norm": ("encoder_attn_layer_norm",),
    "attention/linear_0": ("encoder_attn.q_proj",),
    "attention/linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "attention/linear_2": ("encoder_attn.out_proj",),
    "ffn/layer_norm": ("final_layer_norm",),
    "ffn/linear_0": ("fc1",),
    "ffn/linear_1": ("fc2",),
}


class _Part(NamedTuple):
    """A tensor of the container, and which of how many equal parts of its rows."""

    tensor: str
    number: int = 0
    count: int = 1


def from_ctranslate2(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint as Whisper's published format has it; tensors are read when asked for.

    Its config is that of the shapes, with what the container's own says, such as alignment heads.
    ValueError for a tensor of another name, for settings that Whisper does not have, and for keys
    with a bias, which the published format cannot hold.
    """
    tensors, where = checkpoint.tensors, checkpoint.where
    heads = {}
    names: dict[str, _Part] = {}
    for name in tensors:
        side, _, rest = name.partition("/")
        if side in ("encoder", "decoder") and rest in _SETTINGS:
            value = int(np.asarray(tensors[name]).reshape(-1)[0])
            if _SETTINGS[rest] not in (None, value):
                raise ValueError(f"{where}: {name} is {value}, and Whisper's is {_SETTINGS[rest]}")
            if rest == "num_heads":
                heads[side] = value
            continue
        names |= _published(name)
    for name, part in list(names.items()):
        if name.endswith("k_proj.bias"):
            if np.any(_read(tensors, part)):
                raise ValueError(f"{where}: keys have a bias, in {part.tensor}")
            del names[name]
    own = {k: v for k, v in checkpoint.config.items() if not k.startswith("ctranslate2.")}
    config = own | _config(tensors, names, heads, where)
    renamed = Renamed(names, functools.partial(_read, tensors))
    return Checkpoint(config, renamed, where, checkpoint.container)


def _published(name: str) -> dict[str, _Part]:
    """The published tensors that a tensor of the container holds."""
    side, _, rest = name.partition("/")
    if side in ("encoder", "decoder") and rest == _POSITIONS:
        return {f"model.{side}.embed_positions.weight": _Part(name)}
    path, _, kind = name.rpartition("/")
    if path in _OUTSIDE and kind in _KINDS:
        return {f"{_OUTSIDE[path]}.{_KINDS[kind]}": _Part(name)}
    layer, _, part = rest.rpartition("/")[0].partition("/")
    number = layer.removeprefix("layer_")
    if part not in _BLOCK or kind not in _KINDS or not number.isdecimal():
        raise ValueError(f"the tensor {name} is not of Whisper's format")
    start, parts = f"model.{side}.layers.{number}", _BLOCK[part]
    return {
        f"{start}.{each}.{_KINDS[kind]}": _Part(name, place, len(parts))
        for place, each in enumerate(parts)
    }


def _config(
    tensors: Any, names: Mapping[str, _Part], heads: Mapping[str, int], where: Any
) -> dict[str, Any]:
    """The fields of the published config that shapes give."""

    def shape(name):
        if name not in names:
            raise ValueError(f"{where}: the checkpoint lacks {name}")
        return tensors.shape(names[name].tensor)

    def count(side):
        layers = {name.split(".")[3] for name in names if name.startswith(f"model.{side}.layers.")}
        return len(layers)

    if set(heads) != {"encoder", "decoder"}:
        raise ValueError(f"{where}: the numbers of heads are missing, encoder/num_heads and such")
    width, mels = shape("model.encoder.conv1.weight")[:2]
    return {
        "model_type": "whisper",
        "is_encoder_decoder": True,
        "d_model": width,
        "num_mel_bins": mels,
        "vocab_size": shape("model.decoder.embed_tokens.weight")[0],
        "max_source_positions": shape("model.encoder.embed_positions.weight")[0],
        "max_target_positions": shape("model.decoder.embed_positions.weight")[0],
        "encoder_layers": count("encoder"),
        "decoder_layers": count("decoder"),
        "encoder_attention_heads": heads["encoder"],
        "decoder_attention_heads": heads["decoder"],
        "encoder_ffn_dim": shape("model.encoder.layers.0.fc1.weight")[0],
        "decoder_ffn_dim": shape("model.decoder.layers.0.fc1.weight")[0],
    }


def _read(tensors: Any, part: _Part) -> Shaped[np.ndarray, "..."]:
    array = np.asarray(tensors[part.tensor])
    if part.count == 1:
        return array
    if len(array) % part.count:
        raise ValueError(f"tensor {part.tensor}: {len(array)} rows are not {part.count} parts")
    return np.split(array, part.count)[part.number]
