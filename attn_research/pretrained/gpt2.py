"""GPT-2's format; also what GPT's shares with it."""

from collections.abc import Collection
from typing import Any

from flax import linen as nn

from attn_research.layers.embeddings import LearnedPositions
from attn_research.layers.feed_forward import BlockConfig
from attn_research.models.gpt import GPT, GPT2_BLOCK
from attn_research.pretrained.family import Family
from attn_research.pretrained.names import LAYER, Name, embedding, fused, norm
from attn_research.pretrained.options import PUBLISHED_ACTIVATIONS, Options

BLOCK = f"transformer.h.{LAYER}"


def common_network(options: Options, block: BlockConfig, mlp_dim: int, **changes: Any) -> GPT:
    """The decoder of a config, of fields that GPT and GPT-2 name alike."""
    dropout, length = options.number("resid_pdrop", 0.1), options.whole("n_positions")
    options.only("embd_pdrop", dropout)
    options.only("n_ctx", length)
    options.without_effect(
        "summary_activation",
        "summary_first_dropout",
        "summary_proj_to_labels",
        "summary_type",
        "summary_use_proj",
        "id2label",
        "num_labels",
    )
    return GPT(
        options.whole("vocab_size"),
        options.whole("n_layer"),
        options.whole("n_embd"),
        mlp_dim,
        options.whole("n_head"),
        block=block,
        positions=LearnedPositions(length),
        attention_bias=True,
        attention_dropout=options.number("attn_pdrop", 0.1),
        **changes,
    )


def common_config(network: nn.Module) -> dict[str, Any]:
    """The config of a decoder, of fields that GPT and GPT-2 name alike."""
    if not isinstance(network, GPT) or not isinstance(network.positions, LearnedPositions):
        raise ValueError(f"{type(network).__name__} has no learned positions")
    return {
        "vocab_size": network.vocab_size,
        "n_layer": network.num_layers,
        "n_embd": network.model_dim,
        "n_head": network.num_heads,
        "n_positions": network.positions.max_length,
        "resid_pdrop": network.block.dropout,
        "embd_pdrop": network.block.dropout,
        "attn_pdrop": network.attention_dropout,
        "layer_norm_epsilon": network.block.norm_epsilon,
    }


def block_names() -> tuple[Name, ...]:
    """The blocks, as GPT and GPT-2 name them: matrices are [in, out], as ours."""
    parts = (f"blocks/attention/{part}" for part in ("query", "key", "value"))
    return (
        *norm(f"{BLOCK}.ln_1", "blocks/around_attention/norm"),
        *fused(f"{BLOCK}.attn.c_attn", *parts),
        *fused(f"{BLOCK}.attn.c_proj", "blocks/attention/output"),
        *norm(f"{BLOCK}.ln_2", "blocks/around_mlp/norm"),
        *fused(f"{BLOCK}.mlp.c_fc", "blocks/mlp/input"),
        *fused(f"{BLOCK}.mlp.c_proj", "blocks/mlp/output"),
    )


def buffers(network: nn.Module) -> tuple[str, ...]:
    """Causal masks that older versions of the original library wrote."""
    return f"{BLOCK}.attn.bias", f"{BLOCK}.attn.masked_bias"


def _network(options: Options, tensors: Collection[str]) -> GPT:
    options.only("scale_attn_weights", True)
    options.only("scale_attn_by_inverse_layer_idx", False)
    options.without_effect("reorder_and_upcast_attn")  # the order in which a product is scaled
    inner = options.value("n_inner", None)
    mlp_dim = 4 * options.whole("n_embd") if inner is None else options.whole("n_inner")
    block = BlockConfig(
        dropout=options.number("resid_pdrop", 0.1),
        pre_norm=True,
        norm_epsilon=options.number("layer_norm_epsilon", 1e-5),
        activation=options.activation("activation_function", "gelu_new"),
        kernel_init=GPT2_BLOCK.kernel_init,
    )
    return common_network(options, block, mlp_dim, tied=options.flag("tie_word_embeddings", True))


def _config(network: nn.Module) -> dict[str, Any]:
    return common_config(network) | {
        "architectures": ["GPT2LMHeadModel"],
        "n_inner": network.mlp_dim,
        "activation_function": PUBLISHED_ACTIVATIONS[network.block.activation],
        "tie_word_embeddings": network.tied,
    }


def _names(network: nn.Module) -> tuple[Name, ...]:
    return (
        *embedding("transformer.wte", "words/embedding"),
        *embedding("transformer.wpe", "positions/table"),
        *block_names(),
        *norm("transformer.ln_f", "norm"),
        Name("lm_head.weight", ("head/kernel",), transposed=True),
    )


def _tied(network: nn.Module) -> dict[str, str]:
    return {"lm_head.weight": "transformer.wte.weight"} if network.tied else {}


FAMILY = Family("gpt2", "transformer.", _network, _config, _names, tied=_tied, ignored=buffers)
