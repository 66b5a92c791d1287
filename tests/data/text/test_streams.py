"""Tokenizers of whole texts."""

import numpy as np
import pytest

from attn_research.data.text.streams import (
    ByteTokenizer,
    CharacterTokenizer,
    LineTokenizer,
    load_text_tokenizer,
)
from attn_research.data.text.tokenizers import EOS, UNK, SubwordTokenizer, WordTokenizer

TEXT = "to be , or not\n\nto bé : that is\n"
LINES = TEXT.split("\n")
MADE = {
    "characters": lambda: CharacterTokenizer.build([TEXT]),
    "bytes": ByteTokenizer,
    "words": lambda: LineTokenizer(WordTokenizer.build(LINES)),
    "subwords": lambda: LineTokenizer(SubwordTokenizer.train(LINES, vocab_size=25)),
}


@pytest.mark.parametrize("kind", MADE)
def test_a_text_is_decoded_as_it_was_and_saved_tokenizers_encode_alike(kind, tmp_path):
    tokenizer = MADE[kind]()
    ids = tokenizer.encode(TEXT)
    assert ids.dtype == np.int32 and ids.max() < tokenizer.vocab_size
    assert tokenizer.decode(ids) == TEXT
    assert (ids == tokenizer.newline).tolist().index(True) > 3
    assert (ids == tokenizer.newline).sum() == 3
    tokenizer.save(tmp_path)
    again = load_text_tokenizer(tmp_path)
    assert again.fingerprint == tokenizer.fingerprint
    np.testing.assert_array_equal(again.encode(TEXT), ids)


def test_ids_of_characters_and_bytes():
    assert CharacterTokenizer.build(["ba", "c"]).encode("abc\n").tolist() == [1, 2, 3, 0]
    assert ByteTokenizer().encode("é\n").tolist() == [0xC3, 0xA9, 10]
    assert ByteTokenizer().decode([0xC3, 97]) == "\ufffda"


def test_a_line_without_an_end_has_no_end_and_an_unknown_word_is_unknown():
    tokenizer = LineTokenizer(WordTokenizer(("to", "be")))
    assert tokenizer.encode("to be").tolist() == [4, 5]
    assert tokenizer.encode("be or\nto\n").tolist() == [5, UNK, EOS, 4, EOS]


def test_an_unknown_character_is_named_with_the_way_out():
    with pytest.raises(ValueError, match=r"'Ω'.*--tokenizer=bytes"):
        CharacterTokenizer("\nab").encode("abΩ")
    with pytest.raises(ValueError, match="every character once"):
        CharacterTokenizer("\naa")


@pytest.mark.parametrize("content", ['{"kind": "letters"}', "[]", "{", '{"kind": "characters"}'])
def test_a_damaged_tokenizer_is_named(content, tmp_path):
    (tmp_path / "stream.json").write_text(content)
    with pytest.raises(ValueError, match=r"stream\.json does not describe a tokenizer"):
        load_text_tokenizer(tmp_path)
