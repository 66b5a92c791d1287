"""Configs, tensors and networks that are refused, each by one line that names what is wrong."""

import dataclasses

import jax
import numpy as np
import pytest

from attn_research.attention import Rotary, Window
from attn_research.layers.embeddings import LearnedPositions, SinusoidalPositions
from attn_research.layers.feed_forward import ACTIVATIONS
from attn_research.layers.scoring import make_scoring
from attn_research.models.bert import Bert
from attn_research.models.gpt import GPT
from attn_research.models.vit import ViT
from attn_research.pretrained import Checkpoint, from_checkpoint, to_checkpoint
from attn_research.pretrained.options import ACTIVATION_NAMES, PUBLISHED_ACTIVATIONS
from tests.pretrained.golden import load, pretrained

# A golden file, changes of its config, and the error.
CONFIGS = {
    "no model type": ("bert_classes", {"model_type": None}, "model_type is None: supported are"),
    "a kind of kinds": ("bert_classes", {"model_type": ["bert"]}, "model_type is"),
    "another family": ("bert_classes", {"model_type": "reformer"}, "model_type is 'reformer'"),
    "relative positions": (
        "bert_classes",
        {"position_embedding_type": "relative_key"},
        "position_embedding_type is 'relative_key': supported is 'absolute'",
    ),
    "a decoder": ("bert_classes", {"is_decoder": True}, "is_decoder is True: supported is False"),
    "pruned": ("bert_classes", {"pruned_heads": {"0": [1]}}, "pruned_heads is {'0': "),
    "an activation": ("bert_classes", {"hidden_act": "mish"}, "hidden_act is 'mish': supported"),
    "a size as text": ("bert_classes", {"hidden_size": "12"}, "hidden_size is '12': an integer"),
    "no layers": ("bert_classes", {"num_hidden_layers": 0}, "num_hidden_layers is 0: an integer"),
    "a boolean size": ("bert_classes", {"vocab_size": True}, "vocab_size is True: an integer"),
    "a rate of none": (
        "bert_classes",
        {"layer_norm_eps": None},
        "layer_norm_eps is None: a number",
    ),
    "heads": ("bert_classes", {"num_attention_heads": 5}, "12 is not a multiple of num_heads 5"),
    "a new field": ("bert_classes", {"twist": 3}, r"twist \(3\) is not known, .* ignore=\('twist'"),
    "labels": ("bert_classes", {"id2label": 3}, "id2label is 3: labels by number"),
    "two numbers": ("bert_classes", {"num_labels": 3}, "num_labels is 3: supported is 5"),
    "another head": (
        "bert_token_classes",
        {"architectures": ["BertForMultipleChoice"]},
        r"architectures is \['BertForMultipleChoice'\], whose head is not supported",
    ),
    "the head's activation": ("roberta_masked_lm", {"hidden_act": "relu"}, "hidden_act is 'relu'"),
    "no padding": ("roberta_masked_lm", {"pad_token_id": None}, "pad_token_id is None"),
    "two groups": ("albert_pretraining", {"num_hidden_groups": 2}, "num_hidden_groups is 2"),
    "unscaled": ("gpt2", {"scale_attn_weights": False}, "scale_attn_weights is False"),
    "two dropouts": ("gpt2", {"embd_pdrop": 0.3}, "embd_pdrop is 0.3: supported is 0.1"),
    "text for a flag": ("gpt2", {"tie_word_embeddings": "no"}, "tie_word_embeddings is 'no': true"),
    "a scaled rotation": (
        "llama",
        {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
        "rope_scaling is {'rope_type': 'linear', .* supported is rope_type 'default'",
    ),
    "part of a rotation": (
        "llama",
        {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}},
        "partial_rotary_factor .* is not known",
    ),
    "a window": ("llama", {"sliding_window": 4}, "sliding_window is 4: supported is None"),
    "groups": ("llama", {"num_key_value_heads": 3}, "4 .* multiple of .*3"),
    "narrower": ("llama", {"intermediate_size": 19}, r"gate_proj.weight has shape \(20, 12\), and"),
    "shallower": ("gpt", {"n_layer": 2}, "no tensor transformer.h.2.attn.c_attn.weight, .* 9 more"),
    "deeper": ("gpt", {"n_layer": 10**9}, "lacks transformer.h.3.ln_1.weight, "),
    "a giant": ("gpt", {"vocab_size": 2**31 - 1}, r"has shape \(29, 12\), and the config asks"),
    "a greater one": ("gpt", {"vocab_size": 2**31}, "vocab_size is 2147483648: an integer"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_are_refused_by_field(name):
    golden, changes, message = CONFIGS[name]
    checkpoint = load(golden).checkpoint
    changed = dataclasses.replace(checkpoint, config=checkpoint.config | changes)
    with pytest.raises(ValueError, match=message) as error:
        from_checkpoint(changed)
    assert "\n" not in str(error.value)


WORDS = "transformer.wte.weight"
TENSORS = {
    "missing": ({WORDS: None, "lm_head.weight": None}, f"checkpoint lacks {WORDS}, which"),
    "many missing": ({f"transformer.h.{i}.ln_1.bias": None for i in range(3)}, "h.0.ln_1.bias, "),
    "unknown": ({"score.weight": np.ones(3)}, r"has no tensor score.weight: .* ignore=\('score"),
    "integers": ({WORDS: np.ones((29, 12), int)}, f"tensor {WORDS} is of int64: floats"),
    "another shape": (
        {WORDS: np.ones((12, 29))},
        rf"{WORDS} has shape \(12, 29\), and .* \(29, 12",
    ),
    "untied": ({"lm_head.weight": np.ones((29, 12))}, f"lm_head.weight differs from {WORDS}"),
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_are_refused_by_name(name):
    changes, message = TENSORS[name]
    checkpoint = load("gpt2").checkpoint
    tensors = {k: v for k, v in (checkpoint.tensors | changes).items() if v is not None}
    with pytest.raises(ValueError, match=message) as error:
        from_checkpoint(dataclasses.replace(checkpoint, tensors=tensors))
    assert "\n" not in str(error.value)


def test_one_tensor_by_two_names_is_refused():
    checkpoint = load("bert_classes").checkpoint
    name = "bert.embeddings.LayerNorm.gamma"
    doubled = checkpoint.tensors | {name: np.ones(12, np.float32)}
    with pytest.raises(ValueError, match=f"{name} is .*LayerNorm.weight by another name"):
        from_checkpoint(dataclasses.replace(checkpoint, tensors=doubled))


def test_what_is_known_not_to_matter_is_ignored():
    golden, (network, params) = load("gpt2").checkpoint, pretrained("gpt2")
    buffers = {f"transformer.h.{i}.attn.bias": np.ones((1, 1, 5, 5)) for i in range(3)}
    more = golden.tensors | buffers | {"score.weight": np.ones(3)}
    checkpoint = Checkpoint(golden.config | {"twist": 3}, more)
    found = from_checkpoint(checkpoint, ignore=("twist", "score.weight"))
    assert found.network == network
    jax.tree.map(np.testing.assert_array_equal, found.params, params)


def test_a_head_that_is_tied_may_be_the_only_copy():
    golden, (_, params) = load("gpt2").checkpoint, pretrained("gpt2")
    tensors = {name: array for name, array in golden.tensors.items() if name != WORDS}
    found = from_checkpoint(Checkpoint(golden.config, tensors), dtype=np.float16)
    words = found.params["params"]["words"]["embedding"]
    assert words.dtype == np.float16
    np.testing.assert_array_equal(words, np.float16(params["params"]["words"]["embedding"]))


LEARNED = dict(positions=LearnedPositions(9), attention_bias=True)
NETWORKS = {
    "an image's": (ViT(3, (4, 4), 2, 1, 6, 7, 2), "bert: ViT is no Bert"),
    "a window": (Bert(11, 1, 6, 7, 2, mask=Window(1, 1)), "bert: no field for mask"),
    "a score": (
        Bert(11, 1, 6, 7, 2, scoring=make_scoring("dot")),
        "bert: no field for scoring; roberta: config field pad_token_id is -1: .*; albert: ",
    ),
    "grouped GPT-2": (GPT(11, 1, 6, 7, 2, num_kv_heads=1, **LEARNED), "gpt2: .*num_kv_heads"),
    "no biases": (GPT(11, 1, 6, 8, 2, positions=LearnedPositions(9)), "gpt2: .*attention_bias"),
    "sinusoids": (GPT(11, 1, 6, 7, 2, positions=SinusoidalPositions()), "gpt2: GPT has no learned"),
    "neighbours": (
        GPT(11, 1, 8, 7, 2, rotary=Rotary(4, pairing="interleaved")),
        "llama: no field for",
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_without_a_format_are_refused(name):
    network, message = NETWORKS[name]
    with pytest.raises(ValueError, match=f"no format has this network: .*{message}"):
        to_checkpoint(network, {"params": {}})


def test_every_activation_has_a_published_name():
    assert set(PUBLISHED_ACTIVATIONS) == set(ACTIVATIONS)
    for ours, published in PUBLISHED_ACTIVATIONS.items():
        assert ACTIVATION_NAMES[published] == ours
