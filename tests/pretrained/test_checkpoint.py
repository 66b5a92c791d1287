"""Checkpoints in folders and files, and one line for each folder that is none."""

import json

import numpy as np
import pytest

from attn_research.pretrained.checkpoint import WEIGHTS, read_checkpoint
from attn_research.pretrained.formats.safetensors import write_safetensors
from experiments.robustness import weight_files

BERT = {"model_type": "bert", "architectures": ["BertModel"], "hidden_size": 24}
INDEX = "model.safetensors.index.json"


@pytest.fixture
def fill(tmp_path):
    """Writes files to a folder, and gives it."""

    def fill(files):
        for name, content in files.items():
            text = content if isinstance(content, bytes) else json.dumps(content).encode()
            (tmp_path / name).write_bytes(text)
        return tmp_path

    return fill


(SAFETENSORS, _), TORCH, (GGUF, _) = (
    weight_files.safetensors(), weight_files.torch(), weight_files.gguf(),
)  # fmt: skip
(MODEL_BIN,) = weight_files.ctranslate2()
WHOLE = {"model.safetensors": SAFETENSORS["a.safetensors"]}


@pytest.mark.parametrize(
    ("files", "container", "architectures", "names"),
    [
        (WHOLE, "safetensors", ("bert", "BertModel"), {"kernel", "bias"}),
        (TORCH[0], "torch", ("bert", "BertModel"), {"kernel", "transposed", "bias"}),
        (TORCH[1], "torch", ("bert", "BertModel"), {"kernel", "transposed", "bias"}),
        (
            MODEL_BIN, "ctranslate2", ("TinySpec",),
            {"linear/bias", "linear/weight", "other/weight", "pre_norm", "tied/weight"},
        ),
    ],
)  # fmt: skip
def test_a_folder_is_read_in_every_container(fill, files, container, architectures, names):
    folder = fill({"config.json": BERT, **files})
    found = read_checkpoint(folder)
    assert (found.where, found.container) == (folder, container)
    assert found.architectures() == architectures
    assert found.config.items() >= BERT.items()
    assert set(found.tensors) == set(found.tensors.unread()) == names
    assert {name: array.shape for name, array in found.tensors.items()} == {
        name: found.tensors.shape(name) for name in names
    }
    assert found.tensors.unread() == ()


def test_the_metadata_of_a_gguf_file_is_its_config(fill):
    folder = fill({"a.gguf": GGUF["a.gguf"], "notes.txt": b"text"})
    for place in (folder, folder / "a.gguf"):
        found = read_checkpoint(place)
        assert found.where == folder / "a.gguf" and found.container == "gguf"
        assert found.architectures() == ("llama",) and found.config["llama.block_count"] == 3
        assert found.config["tokenizer.tokens"] == ["a", "bc", "é"]
        assert "float32" in found.tensors


def test_the_specification_of_ctranslate2_is_in_the_config(fill):
    found = read_checkpoint(fill({"config.json": {"lang_ids": [1]}, **MODEL_BIN})).config
    assert found == {"lang_ids": [1], "ctranslate2.spec": "TinySpec", "ctranslate2.revision": 5}


def test_the_home_folder_is_known(fill, monkeypatch):
    monkeypatch.setenv("HOME", str(fill({"config.json": BERT, **WHOLE})))
    assert set(read_checkpoint("~").tensors) == {"kernel", "bias"}


def test_old_configs_have_one_name_or_none(fill):
    def names(config):
        return read_checkpoint(fill({"config.json": config, **WHOLE})).architectures()

    assert names({"architectures": ["BertModel", "BertForMaskedLM"]}) == (
        "BertModel", "BertForMaskedLM",
    )  # fmt: skip
    assert names({"model_type": "gpt2", "architectures": None}) == ("gpt2",)
    with pytest.raises(ValueError, match=r"names no architecture: model_type or architectures"):
        names({"hidden_size": 3})
    for wrong in (3, {"a": 1}, ["bert", 3]):
        with pytest.raises(ValueError, match=r"model_type of the config is no name"):
            names({"model_type": wrong})


def shards(places, **files):
    made = {"config.json": BERT, INDEX: {"weight_map": places}}
    return made | {f"{name}.safetensors": data for name, data in files.items()}


ONE, TWO = (folder["a.safetensors"] for folder in weight_files.safetensors())
PLACES = {"k": "two.safetensors", "kernel": "one.safetensors", "bias": "one.safetensors"}


def test_tensors_in_several_files_are_one_checkpoint(fill):
    found = read_checkpoint(fill(shards(PLACES, one=ONE, two=TWO))).tensors
    assert list(found) == ["k", "kernel", "bias"]
    np.testing.assert_array_equal(found["k"], np.arange(6).reshape(2, 3), strict=True)
    assert found.dtype("bias") == "bfloat16"


def test_torch_files_may_be_several_too(fill, tmp_path):
    index = {"weight_map": {name: "a.bin" for name in ("kernel", "transposed", "bias")}}
    files = {"pytorch_model.bin.index.json": index, "a.bin": TORCH[0]["pytorch_model.bin"]}
    found = read_checkpoint(fill({"config.json": BERT, **files}))
    assert found.container == "torch" and found.tensors.shape("transposed") == (4, 2)


OUTSIDE = "no name of a file beside it"
WRONG_SHARDS = {
    r"lacks 'other', which model\.safetensors\.index": shards(
        {**PLACES, "other": "two.safetensors"}, one=ONE, two=TWO
    ),
    r"one\.safetensors: holds 'bias', which .* does not say": shards(
        {**PLACES, "bias": "two.safetensors"}, one=ONE, two=TWO
    ),
    r"'\.\./one\.safetensors' is no name": shards({"k": "../one.safetensors"}, one=ONE),
    r"'.*/etc/passwd' is no name": shards({"k": "/etc/passwd"}),
    r"'' is no name": shards({"k": ""}),
    rf"'{INDEX}' is no name": shards({"k": INDEX}),
    r"'a\\x00b' is no name": shards({"k": "a\0b"}),
    r"'\\ud800' is no name": shards({"k": "\ud800"}),
    r"'aaaa.* is no name": shards({"k": "a" * 5000}),
    r"index\.json: no weight_map": shards([]),
    r"index\.json: no weight_map from": shards({"k": 3}),
}


@pytest.mark.parametrize("why", WRONG_SHARDS)
def test_an_index_that_is_wrong_is_told(fill, why):
    with pytest.raises(ValueError, match=why) as caught:
        read_checkpoint(fill(WRONG_SHARDS[why]))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_a_file_that_the_index_names_is_missing(fill):
    folder = fill(shards(PLACES, one=ONE))
    with pytest.raises(FileNotFoundError, match=r"two\.safetensors is missing, which model\.safe"):
        read_checkpoint(folder)


def test_what_is_no_checkpoint_is_told(fill, tmp_path):
    folder = tmp_path / "none"
    with pytest.raises(FileNotFoundError, match=r"no such folder or GGUF file: .*none"):
        read_checkpoint(folder)
    folder = fill({"notes.txt": b"text"})
    with pytest.raises(
        FileNotFoundError, match=r"no weights in .*: looked for model\.safe"
    ) as caught:
        read_checkpoint(folder)
    assert all(name in str(caught.value) for name in WEIGHTS) and "GGUF" in str(caught.value)
    with pytest.raises(NotADirectoryError, match=r"notes\.txt is a file, and no GGUF file: name"):
        read_checkpoint(folder / "notes.txt")
    fill(WHOLE)
    with pytest.raises(FileNotFoundError, match=r"has model\.safetensors and no config\.json"):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (b"[1]", r"config\.json: holds a JSON list, not an object"),
        (b"{", r"config\.json: not JSON \("),
        (b"", r"config\.json: not JSON \("),
        (b"\xff{}", r"config\.json: not JSON \("),
        (b"[" * 100_000, r"config\.json: not JSON \(.*recursion"),
        (b'{"a": ' + b"9" * 5000 + b"}", r"config\.json: not JSON \("),
    ],
)
def test_a_config_that_is_no_object_is_told(fill, config, why):
    with pytest.raises(ValueError, match=why) as caught:
        read_checkpoint(fill({"config.json": config, **WHOLE}))
    assert "\n" not in str(caught.value)


def test_a_config_too_long_is_not_read(fill):
    folder = fill(WHOLE)
    with (folder / "config.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match=r"1,099,511,627,776 bytes, more than any JSON file"):
        read_checkpoint(folder)


def test_several_gguf_files_are_not_guessed_from(fill):
    with pytest.raises(ValueError, match=r"several models, name the file of one: a\.gguf, b\.gguf"):
        read_checkpoint(fill({"a.gguf": GGUF["a.gguf"], "b.gguf": GGUF["a.gguf"]}))


@pytest.mark.parametrize("name", [*WEIGHTS, "a.gguf"])
def test_a_pointer_of_git_lfs_is_told(fill, name):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n"
    with pytest.raises(ValueError, match=r"stands for a file that Git LFS has: run git lfs pull"):
        read_checkpoint(fill({"config.json": BERT, name: pointer}))


def test_what_was_saved_is_a_checkpoint(fill):
    folder = fill({"config.json": BERT})
    kernel = np.arange(15, dtype=np.float32).reshape(3, 5)
    write_safetensors(folder / "model.safetensors", {"kernel": kernel}, {"format": "pt"})
    found = read_checkpoint(folder)
    np.testing.assert_array_equal(found.tensors["kernel"], kernel, strict=True)
