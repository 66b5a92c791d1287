"""CLIP's format: a Vision Transformer and a causal encoder of texts, each with a projection."""

from collections.abc import Collection
from typing import Any

from flax import linen as nn

from attn_research.layers.embeddings import LearnedPositions
from attn_research.layers.feed_forward import BlockConfig
from attn_research.layers.heads import NORMAL
from attn_research.models.clip import Clip
from attn_research.models.gpt import GPT
from attn_research.models.vit import ViT
from attn_research.pretrained import vit
from attn_research.pretrained.family import Family, text
from attn_research.pretrained.names import LAYER, Name, embedding, linear, matrix, norm, patches
from attn_research.pretrained.options import PUBLISHED_ACTIVATIONS, Options

LEGACY_EOS = 2  # a wrong id in old configs, for which the original takes the largest id


def _network(options: Options, tensors: Collection[str]) -> Clip:
    options.without_effect("logit_scale_init_value")  # the checkpoint has the scale
    options.without_effect("id2label", "num_labels")
    options.only("text_config_dict", None)
    options.only("vision_config_dict", None)
    towers = []
    for name, make in (("vision_config", _vision), ("text_config", _text)):
        inner = options.value(name)
        if not isinstance(inner, dict):
            raise ValueError(f"config field {name} is {inner!r}: an object is needed")
        tower = Options(inner)
        # The joint model has the projections, and a tower's own fields say what it is not.
        tower.only("num_channels", vit.CHANNELS)
        tower.without_effect("projection_dim", "id2label", "num_labels", "dropout")
        towers.append(make(tower))
        tower.finish()
    eos = Options(options.value("text_config")).value("eos_token_id", 49407)
    if not isinstance(eos, int):
        raise ValueError(f"config field eos_token_id is {eos!r}: one id is needed")
    vision, reader = towers
    width = options.whole("projection_dim", 512)
    return Clip(vision, reader, width, eos=None if eos == LEGACY_EOS else eos)


def _vision(options: Options) -> ViT:
    return ViT(
        num_classes=0,
        image_size=vit.sides(options, "image_size", 224),
        patch=vit.side(options, "patch_size", 32),
        num_layers=options.whole("num_hidden_layers", 12),
        model_dim=options.whole("hidden_size", 768),
        mlp_dim=options.whole("intermediate_size", 3072),
        num_heads=options.whole("num_attention_heads", 12),
        activation=options.activation("hidden_act", "quick_gelu"),
        norm_epsilon=options.number("layer_norm_eps", 1e-5),
        attention_dropout=options.number("attention_dropout", 0.0),
        embedding_norm=True,
        patch_bias=False,
        resizing="bicubic",
    )


def _text(options: Options) -> GPT:
    block = BlockConfig(
        pre_norm=True,
        norm_epsilon=options.number("layer_norm_eps", 1e-5),
        activation=options.activation("hidden_act", "quick_gelu"),
        kernel_init=NORMAL,
    )
    return GPT(
        options.whole("vocab_size", 49408),
        options.whole("num_hidden_layers", 12),
        options.whole("hidden_size", 512),
        options.whole("intermediate_size", 2048),
        options.whole("num_attention_heads", 8),
        block=block,
        positions=LearnedPositions(options.whole("max_position_embeddings", 77)),
        attention_bias=True,
        attention_dropout=options.number("attention_dropout", 0.0),
    )


def _config(network: nn.Module) -> dict[str, Any]:
    if not isinstance(network, Clip):
        raise ValueError(f"{type(network).__name__} is no Clip")
    vision, reader = network.vision, network.text
    if not isinstance(vision, ViT) or not isinstance(reader, GPT):
        raise ValueError("the towers are no ViT and GPT")
    if not isinstance(reader.positions, LearnedPositions):
        raise ValueError("the texts' tower has no learned positions")
    vit.check_resizing(vision)
    return {
        "architectures": ["CLIPModel"],
        "projection_dim": network.embedding_dim,
        "vision_config": _tower(vision, vision.activation, vision.norm_epsilon)
        | {
            "model_type": "clip_vision_model",
            "image_size": vision.image_size[0],
            "patch_size": vision.patch,
        },
        "text_config": _tower(reader, reader.block.activation, reader.block.norm_epsilon)
        | {
            "model_type": "clip_text_model",
            "vocab_size": reader.vocab_size,
            "max_position_embeddings": reader.positions.max_length,
            "eos_token_id": LEGACY_EOS if network.eos is None else network.eos,
        },
    }


def _tower(tower: Any, activation: str, epsilon: float) -> dict[str, Any]:
    """The fields that both towers have."""
    return {
        "num_hidden_layers": tower.num_layers,
        "hidden_size": tower.model_dim,
        "intermediate_size": tower.mlp_dim,
        "num_attention_heads": tower.num_heads,
        "hidden_act": PUBLISHED_ACTIVATIONS[activation],
        "layer_norm_eps": epsilon,
        "attention_dropout": tower.attention_dropout,
    }


def _names(network: nn.Module) -> tuple[Name, ...]:
    image, words = "vision_model.embeddings", "text_model.embeddings"
    return (
        Name("logit_scale", ("logit_scale",), axes="-> 1"),
        *matrix("visual_projection", "project_image"),
        *matrix("text_projection", "project_text"),
        Name(f"{image}.class_embedding", ("vision/token",)),
        *patches(f"{image}.patch_embedding", "vision/embed", network.vision.patch),
        *embedding(f"{image}.position_embedding", "vision/positions"),
        *norm("vision_model.pre_layrnorm", "vision/first_norm"),
        *norm("vision_model.post_layernorm", "vision/norm"),
        *embedding(f"{words}.token_embedding", "text/words/embedding"),
        *embedding(f"{words}.position_embedding", "text/positions/table"),
        *norm("text_model.final_layer_norm", "text/norm"),
        *_block_names("vision"),
        *_block_names("text"),
    )


def _block_names(tower: str) -> tuple[Name, ...]:
    start, ours = f"{tower}_model.encoder.layers.{LAYER}", f"{tower}/blocks"
    names: tuple[Name, ...] = ()
    for theirs, part in (("q", "query"), ("k", "key"), ("v", "value"), ("out", "output")):
        names += linear(f"{start}.self_attn.{theirs}_proj", f"{ours}/attention/{part}")
    return (
        *names,
        *norm(f"{start}.layer_norm1", f"{ours}/around_attention/norm"),
        *norm(f"{start}.layer_norm2", f"{ours}/around_mlp/norm"),
        *linear(f"{start}.mlp.fc1", f"{ours}/mlp/input"),
        *linear(f"{start}.mlp.fc2", f"{ours}/mlp/output"),
    )


def _tied(network: nn.Module) -> dict[str, str]:
    return {}


def _ignored(network: nn.Module) -> tuple[str, ...]:
    """Buffers that older versions of the original library wrote."""
    return tuple(f"{tower}_model.embeddings.position_ids" for tower in ("vision", "text"))


def _inputs(network: nn.Module) -> tuple[Any, ...]:
    return *text(network), None, *vit.images(network.vision)


FAMILY = Family("clip", "", _network, _config, _names, tied=_tied, ignored=_ignored, inputs=_inputs)
