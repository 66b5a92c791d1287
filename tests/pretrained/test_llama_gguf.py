"""Llama in GGUF: other names, and pairs of rotary features that are neighbours."""

import dataclasses

import jax
import numpy as np
import pytest

from attn_research.pretrained import Checkpoint, from_checkpoint
from attn_research.pretrained.llama_gguf import _BLOCK, _FIELDS, _OUTSIDE, from_gguf
from tests.pretrained.golden import load, pretrained

OURS = {theirs: own for own, theirs in (_BLOCK | _OUTSIDE).items()}


def to_gguf(name):
    """A golden checkpoint as a GGUF file has it."""
    golden = load(name).checkpoint
    tensors = {}
    for published, array in golden.tensors.items():
        stem, kind = published.rsplit(".", 1)
        words = stem.split(".")
        if words[:2] == ["model", "layers"]:
            own = f"blk.{words[2]}.{OURS['.'.join(words[3:])]}"
        else:
            own = OURS[stem]
        if own.endswith(("attn_q", "attn_k")):  # halves become neighbours
            heads = golden.config[
                "num_attention_heads" if own[-1] == "q" else "num_key_value_heads"
            ]
            halves = array.reshape(heads, 2, -1, *array.shape[1:])
            array = halves.swapaxes(1, 2).reshape(array.shape)
        tensors[f"{own}.{kind}"] = array
    config = {key: golden.config[field] for key, field in _FIELDS.items() if field in golden.config}
    config["llama.rope.freq_base"] = 100.0
    config |= {"general.architecture": "llama", "llama.vocab_size": 29, "tokenizer.ggml.model": "x"}
    return Checkpoint(config, tensors, None, "gguf")


def test_a_gguf_file_gives_the_parameters_of_the_published_format():
    found, expected = from_checkpoint(to_gguf("llama")), pretrained("llama")
    jax.tree.map(np.testing.assert_array_equal, found.params, expected.params)
    assert found.network.rotary == expected.network.rotary and not found.network.tied
    assert found.network.num_kv_heads == 2


def test_what_is_not_llamas_is_named():
    whole = to_gguf("llama")
    for key, message in (
        ({"llama.rope.scaling.type": "yarn"}, "llama.rope.scaling.type is not supported"),
        ({"general.architecture": "gemma"}, "GGUF files of 'gemma' are not read"),
    ):
        with pytest.raises(ValueError, match=message):
            from_checkpoint(dataclasses.replace(whole, config=whole.config | key))
    more = {**whole.tensors, "blk.0.ffn_gate_exps.weight": np.ones((2, 2))}
    with pytest.raises(ValueError, match=r"ffn_gate_exps\.weight is not of Llama's format"):
        from_gguf(dataclasses.replace(whole, tensors=more))
