"""Bytes as the words of a line."""

import pytest

from attn_research.data.text.saved_tokenizers import load_tokenizer
from attn_research.data.text.tokenizers import BOS, EOS, PAD, Tokenizer
from attn_research.data.text.utf8 import Utf8Tokenizer


@pytest.mark.parametrize("line", ["", "a cat", "Ωmega ↵ 𝄞", "\x00\x7f\x80"])
def test_a_line_comes_back(line, tmp_path):
    tokenizer = Utf8Tokenizer()
    ids = tokenizer.encode(line)
    assert tokenizer.encode_words(tokenizer.words(line)) == ids
    assert len(ids) == len(line.encode()) and all(4 <= i < tokenizer.vocab_size for i in ids)
    assert tokenizer.decode([BOS, *ids, EOS, PAD]) == line
    tokenizer.save(tmp_path)
    assert load_tokenizer(tmp_path) == tokenizer and isinstance(tokenizer, Tokenizer)


def test_a_cut_character_is_no_error():
    assert Utf8Tokenizer().decode(Utf8Tokenizer().encode("Ω")[:1]) == "\ufffd"


def test_other_fields_are_refused(tmp_path):
    (tmp_path / "tokenizer.json").write_text('{"kind": "utf8", "size": 3}')
    with pytest.raises(ValueError, match="does not describe a tokenizer"):
        load_tokenizer(tmp_path)
