"""Llama's weights in a GGUF file, under the names and in the layout of the published format."""

import re
from typing import Any

import numpy as np

from attn_research.pretrained.checkpoint import Checkpoint
from attn_research.pretrained.tensors import Renamed

# Fields of the config, by the keys of the metadata.
_FIELDS = {
    "llama.embedding_length": "hidden_size",
    "llama.feed_forward_length": "intermediate_size",
    "llama.block_count": "num_hidden_layers",
    "llama.attention.head_count": "num_attention_heads",
    "llama.attention.head_count_kv": "num_key_value_heads",
    "llama.attention.key_length": "head_dim",
    "llama.attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "llama.rope.freq_base": "rope_theta",
    "llama.context_length": "max_position_embeddings",
}
# Keys that say again what others say, or nothing of the weights.
_KNOWN = {"llama.vocab_size", "llama.rope.dimension_count", "llama.attention.value_length"}
_BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_OUTSIDE = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
_HEADS = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}


def from_gguf(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint as Llama's published format has it; tensors are read when asked for.

    ValueError for metadata of a key that is not known to leave the model as it is, and for a tensor
    of another name.
    """
    metadata = checkpoint.config
    for key in metadata:
        if key.startswith("llama.") and key not in _FIELDS and key not in _KNOWN:
            raise ValueError(f"{checkpoint.where}: {key} is not supported")
    names = {_published(name): name for name in checkpoint.tensors}
    config: dict[str, Any] = {"model_type": "llama", "hidden_act": "silu"}
    config |= {field: metadata[key] for key, field in _FIELDS.items() if key in metadata}
    config.setdefault("num_key_value_heads", config.get("num_attention_heads"))
    config["vocab_size"] = len(metadata.get("tokenizer.ggml.tokens", ()))
    config["vocab_size"] = metadata.get("llama.vocab_size", config["vocab_size"])
    config["tie_word_embeddings"] = "lm_head.weight" not in names

    def read(name):
        array, part = checkpoint.tensors[name], name.split(".")[-2]
        return _in_halves(array, config[_HEADS[part]]) if part in _HEADS else array

    renamed = Renamed(names, read)
    return Checkpoint(config, renamed, checkpoint.where, checkpoint.container)


def _published(name: str) -> str:
    """The published name of a tensor."""
    if found := re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", name):
        number, part, kind = found.groups()
        if part in _BLOCK:
            return f"model.layers.{number}.{_BLOCK[part]}.{kind}"
    part, _, kind = name.partition(".")
    if part in _OUTSIDE and kind == "weight":
        return f"{_OUTSIDE[part]}.{kind}"
    raise ValueError(f"the tensor {name} is not of Llama's format")


def _in_halves(array: np.ndarray, num_heads: int) -> np.ndarray:
    """Rows of the heads of queries or keys, whose pairs are neighbours in GGUF, as two halves."""
    if not num_heads or len(array) % (2 * num_heads):
        raise ValueError(f"{len(array)} rows are not {num_heads} heads of pairs")
    pairs = array.reshape(num_heads, -1, 2, *array.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(array.shape)
