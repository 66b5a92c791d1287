"""The format of GPT (2018), "openai-gpt" in the original library."""

from collections.abc import Collection
from typing import Any

from flax import linen as nn

from attn_research.layers.feed_forward import BlockConfig
from attn_research.models.gpt import GPT, GPT1_BLOCK
from attn_research.pretrained import gpt2
from attn_research.pretrained.family import Family
from attn_research.pretrained.names import Name, embedding
from attn_research.pretrained.options import Options

# What its field `afn` means: its "gelu" is the approximation by tanh.
ACTIVATIONS = {"gelu": "gelu_tanh", "relu": "relu", "silu": "silu", "swish": "silu"}
PUBLISHED = {"gelu_tanh": "gelu", "relu": "relu", "silu": "silu"}


def _network(options: Options, tensors: Collection[str]) -> GPT:
    options.only("afn", *ACTIVATIONS)
    options.only("tie_word_embeddings", True)
    options.only("n_special", 0)
    options.without_effect("predict_special_tokens")
    block = BlockConfig(
        dropout=options.number("resid_pdrop", 0.1),
        norm_epsilon=options.number("layer_norm_epsilon", 1e-5),
        activation=ACTIVATIONS[options.value("afn", "gelu")],
        kernel_init=GPT1_BLOCK.kernel_init,
    )
    return gpt2.common_network(options, block, 4 * options.whole("n_embd"))


def _config(network: nn.Module) -> dict[str, Any]:
    config = gpt2.common_config(network)
    if network.block.activation not in PUBLISHED:
        raise ValueError(f"no activation {network.block.activation}")
    afn = PUBLISHED[network.block.activation]
    return config | {"architectures": ["OpenAIGPTLMHeadModel"], "afn": afn}


def _names(network: nn.Module) -> tuple[Name, ...]:
    return (
        *embedding("transformer.tokens_embed", "words/embedding"),
        *embedding("transformer.positions_embed", "positions/table"),
        *gpt2.block_names(),
    )


def _tied(network: nn.Module) -> dict[str, str]:
    return {"lm_head.weight": "transformer.tokens_embed.weight"}


FAMILY = Family(
    "openai-gpt", "transformer.", _network, _config, _names, tied=_tied, ignored=gpt2.buffers
)
