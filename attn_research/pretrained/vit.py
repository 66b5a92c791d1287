"""The Vision Transformer's format; also what DINOv2's shares with it."""

from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from attn_research.models.vit import ViT
from attn_research.pretrained.family import Family
from attn_research.pretrained.names import LAYER, Name, linear, norm, patches
from attn_research.pretrained.options import PUBLISHED_ACTIVATIONS, Options, num_classes

BLOCK = f"vit.encoder.layer.{LAYER}"
CHANNELS = 3
WITHOUT_INPUT_BIAS = ("output",)


def common_network(
    options: Options, tensors: Collection[str], default_patch: int, **changes: Any
) -> ViT:
    """The network of a config, of fields that ViT and DINOv2 name alike."""
    options.only("num_channels", CHANNELS)
    classes = num_classes(options)
    fields: dict[str, Any] = {
        "activation": options.activation("hidden_act", "gelu"),
        "dropout": options.number("hidden_dropout_prob", 0.0),
        "attention_dropout": options.number("attention_probs_dropout_prob", 0.0),
        "attention_bias": options.flag("qkv_bias", True) or WITHOUT_INPUT_BIAS,
        "resizing": "bicubic",
    }
    return ViT(
        num_classes=classes if "classifier.weight" in tensors else 0,
        image_size=sides(options, "image_size", 224),
        patch=side(options, "patch_size", default_patch),
        num_layers=options.whole("num_hidden_layers", 12),
        model_dim=options.whole("hidden_size", 768),
        num_heads=options.whole("num_attention_heads", 12),
        **fields | changes,
    )


def sides(options: Options, name: str, default: int) -> tuple[int, int]:
    """Height and width, which one number or a list of two gives."""
    value = options.value(name, default)
    sides = [value, value] if isinstance(value, int) else value
    if not isinstance(sides, list | tuple) or len(sides) != 2:
        raise ValueError(f"config field {name} is {value!r}: a number or two are needed")
    height, width = (Options({name: side}).whole(name) for side in sides)
    return height, width


def side(options: Options, name: str, default: int) -> int:
    """The side of a square, which one number or a list of two gives."""
    height, width = sides(options, name, default)
    if height != width:
        raise ValueError(f"config field {name} is {height} x {width}: supported are squares")
    return height


def common_config(network: nn.Module, architectures: str) -> dict[str, Any]:
    """The config of a network, of fields that ViT and DINOv2 name alike."""
    if not isinstance(network, ViT):
        raise ValueError(f"{type(network).__name__} is no ViT")
    check_resizing(network)
    classes = range(network.num_classes or 2)
    height, width = network.image_size
    return {
        "architectures": [
            f"{architectures}{'ForImageClassification' if network.num_classes else 'Model'}"
        ],
        "num_hidden_layers": network.num_layers,
        "hidden_size": network.model_dim,
        "num_attention_heads": network.num_heads,
        "image_size": height if height == width else [height, width],
        "patch_size": network.patch,
        "num_channels": CHANNELS,
        "hidden_act": PUBLISHED_ACTIVATIONS[network.activation],
        "layer_norm_eps": network.norm_epsilon,
        "hidden_dropout_prob": network.dropout,
        "attention_probs_dropout_prob": network.attention_dropout,
        "qkv_bias": network.attention_bias != WITHOUT_INPUT_BIAS,
        "id2label": {str(i): f"LABEL_{i}" for i in classes},
        "label2id": {f"LABEL_{i}": i for i in classes},
    }


def check_resizing(network: ViT) -> None:
    """ValueError unless positions are resized as the original library does it."""
    if network.resizing != "bicubic":
        raise ValueError(
            f'resizing is "{network.resizing}", and the original\'s is "bicubic": write '
            'network.clone(resizing="bicubic"), which is the same for images of image_size'
        )


def common_names(prefix: str, block: str, patch: int) -> tuple[Name, ...]:
    """Embeddings and attention, as ViT and DINOv2 name them."""
    start = f"{prefix}embeddings."
    names = patches(f"{start}patch_embeddings.projection", "embed", patch)
    for part in ("query", "key", "value"):
        names += linear(f"{block}.attention.attention.{part}", f"blocks/attention/{part}")
    return (
        *names,
        Name(f"{start}cls_token", ("token",), axes="1 1 d -> d"),
        Name(f"{start}position_embeddings", ("positions",), axes="1 p d -> p d"),
        *linear(f"{block}.attention.output.dense", "blocks/attention/output"),
        *norm(f"{prefix}layernorm", "norm"),
        *linear("classifier", "head"),
    )


def images(network: nn.Module) -> tuple[jax.ShapeDtypeStruct, ...]:
    """The input of a network that reads images."""
    return (jax.ShapeDtypeStruct((1, *network.image_size, CHANNELS), jnp.float32),)


def _network(options: Options, tensors: Collection[str]) -> ViT:
    options.without_effect("encoder_stride")  # of a decoder of masked images
    width = options.whole("hidden_size", 768)
    options.only("pooler_output_size", width, None)
    options.only("pooler_act", "tanh")
    pooled = "vit.pooler.dense.weight" in tensors
    return common_network(
        options,
        tensors,
        16,
        mlp_dim=options.whole("intermediate_size", 3072),
        norm_epsilon=options.number("layer_norm_eps", 1e-12),
        pooling="tanh" if pooled else "class",
    )


def _config(network: nn.Module) -> dict[str, Any]:
    return common_config(network, "ViT") | {"intermediate_size": network.mlp_dim}


def _names(network: nn.Module) -> tuple[Name, ...]:
    return (
        *common_names("vit.", BLOCK, network.patch),
        *norm(f"{BLOCK}.layernorm_before", "blocks/around_attention/norm"),
        *norm(f"{BLOCK}.layernorm_after", "blocks/around_mlp/norm"),
        *linear(f"{BLOCK}.intermediate.dense", "blocks/mlp/input"),
        *linear(f"{BLOCK}.output.dense", "blocks/mlp/output"),
        *linear("vit.pooler.dense", "pooler/dense"),
    )


def _tied(network: nn.Module) -> dict[str, str]:
    return {}


def _ignored(network: nn.Module) -> tuple[str, ...]:
    return ()


FAMILY = Family(
    "vit", "vit.", _network, _config, _names, tied=_tied, ignored=_ignored, inputs=images
)
