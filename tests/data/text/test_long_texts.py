"""Long texts: the published counts of the real ones, the built-in corpus, files of one's own."""

import gzip

import pytest

from attn_research.data.text import long_texts
from attn_research.data.text.long_texts import grammar_text, read_text


def test_tinyshakespeare_is_split_as_nanogpt_does(data_dir):
    texts = long_texts.tinyshakespeare(data_dir)
    assert (len(texts.train), len(texts.dev)) == (1_003_854, 111_540)
    assert texts.tests == {"validation": texts.dev}
    assert len(set(texts.train + texts.dev)) == 65


def test_the_penn_treebank_has_its_published_counts(data_dir):
    texts = long_texts.penn_treebank(data_dir)
    splits = texts.train, texts.dev, texts.tests["test"]
    tokens = [sum(len(line.split()) + 1 for line in text.split("\n")[:-1]) for text in splits]
    assert tokens == [929_589, 73_760, 82_430]
    assert len({word for text in splits for word in text.split()}) == 9_999


def test_war_and_peace_is_split_by_characters(data_dir):
    texts = long_texts.war_and_peace(data_dir)
    whole = texts.train + texts.dev + texts.tests["test"]
    assert len(texts.dev) == pytest.approx(0.1 * len(whole), abs=1)
    assert len(texts.train) == int(0.8 * len(whole))


def test_an_absent_training_text_is_named(data_dir, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"lm/ptb\.train\.txt.*--data_dir"):
        long_texts.penn_treebank(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"lm/wikitext-2-raw\.train\.txt"):
        long_texts.wikitext2(tmp_path)


def test_a_changed_text_is_refused(tmp_path):
    (tmp_path / "lm").mkdir()
    (tmp_path / "lm" / "tinyshakespeare.txt").write_text("First Citizen:\n")
    with pytest.raises(ValueError, match=r"tinyshakespeare\.txt: its content has SHA-256"):
        long_texts.tinyshakespeare(tmp_path)


def test_sentences_of_the_grammar_are_lines():
    texts, fewer = grammar_text(7, scored=12), grammar_text(3, scored=12)
    lines = texts.train.split("\n")
    assert len(lines) == 8 and not lines[-1] and lines[0].endswith(" .")
    assert fewer.train == "\n".join([*lines[:3], ""])
    assert texts.fingerprints()["dev"] == fewer.fingerprints()["dev"]
    assert texts.fingerprints()["train"] != fewer.fingerprints()["train"]


def test_a_file_ends_with_a_newline_and_holds_text(tmp_path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbfone\r\n\ntwo"))
    assert read_text(path) == "one\n\ntwo\n"
    path.write_text("\n \n")
    with pytest.raises(ValueError, match="holds no text"):
        read_text(path)
