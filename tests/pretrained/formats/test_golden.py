"""Files that the formats' own libraries wrote, read to the values that those give."""

from pathlib import Path

import numpy as np
import pytest

from attn_research.pretrained.formats.ctranslate2 import read_ctranslate2
from attn_research.pretrained.formats.gguf import read_gguf
from attn_research.pretrained.formats.safetensors import read_safetensors
from attn_research.pretrained.formats.torch import read_torch

FOLDER = Path(__file__).parents[2] / "golden" / "containers"
READERS = {
    "torch": ("torch.bin", read_torch),
    "torch before 1.6": ("torch_old.bin", read_torch),
    "safetensors": ("model.safetensors", read_safetensors),
    "gguf": ("weights.gguf", lambda path: read_gguf(path).tensors),
}


def expected(kind):
    with np.load(FOLDER / "values.npz") as values:
        return {name.partition("/")[2]: values[name] for name in values if name.startswith(kind)}


@pytest.mark.parametrize("kind", READERS)
def test_tensors_are_those_of_the_library(kind):
    name, read = READERS[kind]
    values, found = expected(kind.split()[0]), read(FOLDER / name)
    assert set(found) == set(values)
    for name, stored in found.items():
        array = stored.read()
        assert array.shape == stored.shape == values[name].shape, name
        wide = name.lower() in ("bfloat16", "bf16")  # in values.npz as float32
        assert array.dtype == stored.dtype == ("bfloat16" if wide else values[name].dtype), name
        np.testing.assert_array_equal(array.astype(values[name].dtype), values[name], name)


@pytest.mark.parametrize("name", ["torch.bin", "torch_old.bin"])
def test_tied_tensors_are_one(name):
    found = read_torch(FOLDER / name)
    assert found["tied"] is found["tied_too"]
    assert found["base"] is not found["transposed"]


def test_the_metadata_of_gguf_is_that_of_the_library():
    metadata = read_gguf(FOLDER / "weights.gguf").metadata
    scores = metadata.pop("tokenizer.ggml.scores")
    np.testing.assert_array_equal(scores, np.float32([1.5, -2.0, 0.0]), strict=True)
    assert metadata == {
        "general.architecture": "llama",
        "general.alignment": 64,
        "llama.block_count": 3,
        "llama.attention.layer_norm_rms_epsilon": 0.25,
        "tokenizer.ggml.tokens": ["a", "bé", "<s>"],
        "tokenizer.ggml.add_bos_token": True,
    }


# Of the largest weight: half a step of a row of int8, half a step of int16, and half a unit in the
# last place of the floats.
QUANTIZATIONS = {
    "float32": ("float32", "float32", 0.0),
    "int8": ("float32", "float32", 0.5 / 127),
    "int16": ("float32", "float32", 0.5 / 1024),
    "float16": ("float16", "float16", 2**-11),
    "int8_bfloat16": ("float32", "bfloat16", 0.5 / 127),
}


@pytest.mark.parametrize("kind", QUANTIZATIONS)
def test_weights_of_ctranslate2_are_within_a_step_of_those_before_quantization(kind):
    weight_dtype, bias_dtype, step = QUANTIZATIONS[kind]
    spec, revision, found = read_ctranslate2(FOLDER / f"{kind}.model.bin")
    assert (spec, revision) == ("TinySpec", 5)
    layers = ("linear", "conv", "tied")
    names = {f"layer/{layer}/{part}" for layer in layers for part in ("weight", "bias")}
    assert set(found) == names | {"pre_norm"}
    assert found["layer/tied/weight"] is found["layer/linear/weight"]
    assert found["pre_norm"].read() == np.int8(1) and found["pre_norm"].shape == ()
    for name, value in expected("ctranslate2").items():
        array = found[name].read()
        assert array.dtype == (weight_dtype if name.endswith("weight") else bias_dtype)
        worst = np.abs(array.astype(np.float32) - value).max()
        bound = step if name.endswith("weight") else {"float32": 0, "float16": 2**-11}.get(
            bias_dtype, 2**-8
        )  # fmt: skip
        assert worst <= bound * np.abs(value).max() * 1.0001, (name, worst)
        assert bound == 0 or worst > 0
