"""DINOv2's format: a Vision Transformer with layer scale, whose classifier reads patches too."""

import dataclasses
from collections.abc import Collection
from typing import Any

from flax import linen as nn

from attn_research.models.vit import ViT
from attn_research.pretrained import vit
from attn_research.pretrained.names import LAYER, Name, linear, norm
from attn_research.pretrained.options import Options

BLOCK = f"dinov2.encoder.layer.{LAYER}"


def _network(options: Options, tensors: Collection[str]) -> ViT:
    options.only("apply_layernorm", True)
    # Of masked images in training, and of what a backbone returns.
    options.without_effect("use_mask_token", "reshape_hidden_states", "stage_names")
    options.without_effect("out_features", "out_indices", "_out_features", "_out_indices")
    hidden = int(options.whole("hidden_size", 768) * options.number("mlp_ratio", 4))
    gated = options.flag("use_swiglu_ffn", False)
    changes = {"activation": "silu"} if gated else {}
    return vit.common_network(
        options,
        tensors,
        14,
        mlp_dim=_gated_width(hidden) if gated else hidden,
        gated=gated,
        norm_epsilon=options.number("layer_norm_eps", 1e-6),
        layer_scale=options.number("layerscale_value", 1.0),
        drop_path=options.number("drop_path_rate", 0.0),
        pooling="class_and_mean" if "classifier.weight" in tensors else "class",
        **changes,
    )


def _gated_width(hidden: int) -> int:
    """Two thirds of a width, as a multiple of 8 from there on."""
    return (int(hidden * 2 / 3) + 7) // 8 * 8


def _config(network: nn.Module) -> dict[str, Any]:
    config = vit.common_config(network, "Dinov2")
    ratio = _ratio(network)
    if network.layer_scale is None:
        raise ValueError("there is no layer scale")
    return config | {
        "mlp_ratio": int(ratio) if ratio == int(ratio) else ratio,
        "use_swiglu_ffn": network.gated,
        **({"hidden_act": "gelu"} if network.gated else {}),  # which the original does not read
        "layerscale_value": network.layer_scale,
        "drop_path_rate": network.drop_path,
        "use_mask_token": False,
    }


def _ratio(network: ViT) -> float:
    """The ratio of a feed-forward layer's width, of gated ones before they lose a third."""
    if not network.gated:
        return network.mlp_dim / network.model_dim
    for ratio in range(1, 17):
        if _gated_width(ratio * network.model_dim) == network.mlp_dim:
            return float(ratio)
    raise ValueError(f"no ratio gives a gated layer of width {network.mlp_dim}")


def _names(network: nn.Module) -> tuple[Name, ...]:
    names = vit.common_names("dinov2.", BLOCK, network.patch)
    for number, part in ((1, "attention"), (2, "mlp")):
        names += norm(f"{BLOCK}.norm{number}", f"blocks/around_{part}/norm")
        scale = f"blocks/around_{part}/scale"
        names += (Name(f"{BLOCK}.layer_scale{number}.lambda1", (scale,)),)
    if not network.gated:
        hidden = linear(f"{BLOCK}.mlp.fc1", "blocks/mlp/input")
        return *names, *hidden, *linear(f"{BLOCK}.mlp.fc2", "blocks/mlp/output")
    parts = "blocks/mlp/gate", "blocks/mlp/input"
    kernels, biases = (tuple(f"{part}/{kind}" for part in parts) for kind in ("kernel", "bias"))
    return (
        *names,
        Name(f"{BLOCK}.mlp.weights_in.weight", kernels, transposed=True),
        Name(f"{BLOCK}.mlp.weights_in.bias", biases),
        *linear(f"{BLOCK}.mlp.weights_out", "blocks/mlp/output"),
    )


def _ignored(network: nn.Module) -> tuple[str, ...]:
    return ("dinov2.embeddings.mask_token",)


FAMILY = dataclasses.replace(
    vit.FAMILY,
    model_type="dinov2",
    prefix="dinov2.",
    network=_network,
    config=_config,
    names=_names,
    ignored=_ignored,
)
