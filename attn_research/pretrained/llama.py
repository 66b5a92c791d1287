"""Llama's format, in which rotary embeddings pair the halves of a head."""

from collections.abc import Collection
from typing import Any

from flax import linen as nn

from attn_research.attention import Rotary
from attn_research.layers.feed_forward import BlockConfig
from attn_research.models.gpt import GPT, LLAMA_BLOCK
from attn_research.pretrained.family import Family
from attn_research.pretrained.names import LAYER, Name, embedding, linear, norm
from attn_research.pretrained.options import PUBLISHED_ACTIVATIONS, Options

BLOCK = f"model.layers.{LAYER}"


def _network(options: Options, tensors: Collection[str]) -> GPT:
    model_dim, num_heads = options.whole("hidden_size"), options.whole("num_attention_heads")
    width = options.value("head_dim", None)
    width = model_dim // num_heads if width is None else options.whole("head_dim")
    kv_heads = options.value("num_key_value_heads", None)
    options.only("pretraining_tp", 1)
    options.only("sliding_window", None)
    options.without_effect("max_position_embeddings")  # a rotation has no table that could end
    options.without_effect("is_llama_config", "rope_interleaved", "id2label", "num_labels")
    block = BlockConfig(
        pre_norm=True,
        norm="rms_norm",
        norm_epsilon=options.number("rms_norm_eps", 1e-6),
        activation=options.activation("hidden_act", "silu"),
        gated=True,
        use_bias=options.flag("mlp_bias", False),
        kernel_init=LLAMA_BLOCK.kernel_init,
    )
    return GPT(
        options.whole("vocab_size"),
        options.whole("num_hidden_layers"),
        model_dim,
        options.whole("intermediate_size"),
        num_heads,
        block=block,
        rotary=Rotary(width, _base(options)),
        num_kv_heads=num_heads if kv_heads is None else options.whole("num_key_value_heads"),
        head_dim=width,
        attention_bias=options.flag("attention_bias", False),
        attention_dropout=options.number("attention_dropout", 0.0),
        tied=options.flag("tie_word_embeddings", False),
    )


def _base(options: Options) -> float:
    """The base of rotary embeddings, of any of the fields that have held it."""
    base = options.number("rope_theta", 10_000.0)
    for field in ("rope_scaling", "rope_parameters"):
        value = options.value(field, None)
        if value is None:
            continue
        kinds = ("rope_type", "type") if isinstance(value, dict) else ()
        if not kinds or any(value.get(kind, "default") != "default" for kind in kinds):
            raise ValueError(f"config field {field} is {value!r}: supported is rope_type 'default'")
        inner = Options(value)
        inner.without_effect("rope_type", "type")
        base = inner.number("rope_theta", base)
        inner.finish()
    return base


def _config(network: nn.Module) -> dict[str, Any]:
    if not isinstance(network, GPT) or network.rotary is None:
        raise ValueError(f"{type(network).__name__} has no rotary embeddings")
    return {
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": network.vocab_size,
        "hidden_size": network.model_dim,
        "intermediate_size": network.mlp_dim,
        "num_hidden_layers": network.num_layers,
        "num_attention_heads": network.num_heads,
        "num_key_value_heads": network.num_kv_heads or network.num_heads,
        "head_dim": network.rotary.width,
        "hidden_act": PUBLISHED_ACTIVATIONS[network.block.activation],
        "rms_norm_eps": network.block.norm_epsilon,
        "rope_theta": network.rotary.base,
        "rope_parameters": {"rope_type": "default", "rope_theta": network.rotary.base},
        "attention_bias": network.attention_bias,
        "attention_dropout": network.attention_dropout,
        "mlp_bias": network.block.use_bias,
        "tie_word_embeddings": network.tied,
    }


def _names(network: nn.Module) -> tuple[Name, ...]:
    names = embedding("model.embed_tokens", "words/embedding")
    for letter, part in (("q", "query"), ("k", "key"), ("v", "value"), ("o", "output")):
        names += linear(f"{BLOCK}.self_attn.{letter}_proj", f"blocks/attention/{part}")
    for word, part in (("gate", "gate"), ("up", "input"), ("down", "output")):
        names += linear(f"{BLOCK}.mlp.{word}_proj", f"blocks/mlp/{part}")
    return (
        *names,
        *norm(f"{BLOCK}.input_layernorm", "blocks/around_attention/norm"),
        *norm(f"{BLOCK}.post_attention_layernorm", "blocks/around_mlp/norm"),
        *norm("model.norm", "norm"),
        Name("lm_head.weight", ("head/kernel",), transposed=True),
    )


def _tied(network: nn.Module) -> dict[str, str]:
    return {"lm_head.weight": "model.embed_tokens.weight"} if network.tied else {}


def _ignored(network: nn.Module) -> tuple[str, ...]:
    return (f"{BLOCK}.self_attn.rotary_emb.inv_freq",)


FAMILY = Family("llama", "model.", _network, _config, _names, tied=_tied, ignored=_ignored)
