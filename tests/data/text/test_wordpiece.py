"""WordPiece: pieces of the library tokenizers, the folder of a checkpoint, and what is refused."""

import json
import pathlib

import pytest

from attn_research.data.text.saved_tokenizers import load_tokenizer
from attn_research.data.text.wordpiece import WordPieceTokenizer

GOLDEN = json.loads(
    (pathlib.Path(__file__).parents[2] / "golden" / "wordpiece.json").read_text("utf-8")
)
VOCABULARY = tuple(GOLDEN["vocabulary"])


@pytest.mark.parametrize("lowercase", [True, False])
def test_pieces_are_those_of_the_original(lowercase):
    tokenizer = WordPieceTokenizer(VOCABULARY, lowercase)
    for text, pieces in zip(GOLDEN["texts"], GOLDEN["pieces"][str(lowercase)], strict=True):
        assert tokenizer.words(text) == pieces, text
        assert [VOCABULARY[i] for i in tokenizer.encode(text)] == pieces


def test_words_are_put_together_again():
    tokenizer = WordPieceTokenizer(VOCABULARY)
    ids = [tokenizer.begin, *tokenizer.encode("The unwanted runs"), tokenizer.end, 0]
    assert tokenizer.decode(ids) == "the unwanted runs"


def test_a_folder_of_a_checkpoint_and_a_saved_tokenizer(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", "utf-8")
    assert WordPieceTokenizer.read(tmp_path) == WordPieceTokenizer(VOCABULARY)
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    found = WordPieceTokenizer.read(tmp_path / "vocab.txt")
    assert not found.lowercase
    found.save(tmp_path / "kept")
    loaded = load_tokenizer(tmp_path / "kept")
    assert loaded == found and loaded.fingerprint == found.fingerprint


def test_what_is_no_vocabulary_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"vocab\.txt does not exist"):
        WordPieceTokenizer.read(tmp_path)
    (tmp_path / "vocab.txt").write_text("[PAD]\n[CLS]\n[SEP]\na\n")
    with pytest.raises(ValueError, match=r"vocab.txt: .* has \[UNK\], \[MASK\]"):
        WordPieceTokenizer.read(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("[]")
    with pytest.raises(ValueError, match=r"tokenizer_config\.json: holds a JSON list"):
        WordPieceTokenizer.read(tmp_path)
    with pytest.raises(ValueError, match=r"\[PAD\] is id 1: the first line must have it"):
        WordPieceTokenizer(("a", *VOCABULARY))
