"""Refusals of models of images, of sounds and of pairs, each one line that names what is wrong."""

import dataclasses

import numpy as np
import pytest

from attn_research.pretrained import Checkpoint, from_checkpoint
from attn_research.pretrained.running import run_network
from attn_research.pretrained.whisper_ctranslate2 import from_ctranslate2
from tests.pretrained.golden import load, pretrained

CONFIGS = {
    "channels": ("vit", {"num_channels": 1}, "num_channels is 1: supported is 3"),
    "oblong patches": ("vit", {"patch_size": [4, 2]}, "patch_size is 4 x 2: supported are squares"),
    "three sides": ("dinov2", {"image_size": [4, 4, 4]}, r"image_size is \[4, 4, 4\]: a number or"),
    "patches": ("dinov2", {"patch_size": 5}, "12 x 12 pixels are not made of patches of 5"),
    "an activation": ("t5", {"feed_forward_proj": "gated-tanh"}, "feed_forward_proj is 'tanh'"),
    "one stack": ("t5", {"is_encoder_decoder": False}, "is_encoder_decoder is False"),
    "pre-norm": ("marian", {"normalize_before": True}, "normalize_before is True"),
    "other heads": ("marian", {"decoder_attention_heads": 4}, "decoder_attention_heads is 4"),
    "scaled": ("whisper", {"scale_embedding": True}, "scale_embedding is True"),
    "no tower": ("clip", {"text_config": None}, "text_config is None: an object is needed"),
    "unknown inside": ("clip", {"vision_config": {"twist": 1}}, r"config field twist \(1\) is not"),
}
TENSORS = {
    "a missing table": ("t5", "shared.weight", None, "lacks shared.weight, which the config asks"),
    "a shape": (
        "vit_classes",
        "vit.embeddings.patch_embeddings.projection.weight",
        np.ones((12, 3, 4, 5), np.float32),
        r"projection.weight has shape \(12, 3, 4, 5\), and the config asks for \(12, 3, 4, 4\)",
    ),
    "another vocabulary": (
        "marian", "final_logits_bias", np.ones((1, 5), np.float32), r"final_logits_bias has shape",
    ),
    "a key's bias": (
        "whisper",
        "model.decoder.layers.0.self_attn.k_proj.bias",
        np.ones(12, np.float32),
        "has no tensor model.decoder.layers.0.self_attn.k_proj.bias",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CONFIGS)
def test_configs_are_refused_by_field(case):
    name, changes, message = CONFIGS[case]
    checkpoint = load(name).checkpoint
    config = checkpoint.config | changes
    with pytest.raises(ValueError, match=message) as error:
        from_checkpoint(dataclasses.replace(checkpoint, config=config))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("case", TENSORS)
def test_tensors_are_refused_by_name(case):
    name, tensor, array, message = TENSORS[case]
    checkpoint = load(name).checkpoint
    changed = {k: v for k, v in (checkpoint.tensors | {tensor: array}).items() if v is not None}
    with pytest.raises(ValueError, match=message) as error:
        from_checkpoint(dataclasses.replace(checkpoint, tensors=changed))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"encoder/twist": np.ones(3)}, "the tensor encoder/twist is not of Whisper's format"),
        ({"encoder/pre_norm": np.int8(0)}, "encoder/pre_norm is 0, and Whisper's is 1"),
        ({}, "the numbers of heads are missing"),
        (
            {"encoder/layer_0/self_attention/linear_0/bias": np.ones(9)},
            "keys have a bias, in encoder/layer_0/self_attention/linear_0/bias",
        ),
    ],
)
def test_containers_that_hold_no_whisper_are_refused(tensors, message):
    with pytest.raises(ValueError, match=message):
        from_ctranslate2(Checkpoint({}, tensors, container="ctranslate2"))


def test_inputs_of_another_kind_are_named():
    for name, inputs, message in (
        ("vit", {"input_ids": np.ones((1, 2), int)}, "no input is called input_ids"),
        ("vit", {"pixel_values": np.ones((1, 8, 12, 3))}, r"not \[B, 3, H, W\]"),
        ("t5", {"input_ids": np.ones((1, 2), int)}, "the arrays have no decoder_input_ids"),
        (
            "whisper",
            {"input_features": np.ones((1, 3, 4)), "decoder_input_ids": np.ones((1, 1), int)},
            r"input_features has shape \(1, 3, 4\), not \[B, 5, F\]",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            run_network(pretrained(name), inputs)
