"""Tokenizers: hand-checked ids, exact round trips, plain files, clear errors."""

import itertools
import json
import pickle

import numpy as np
import pytest

from attn_research.data.text.multi30k import Multi30k
from attn_research.data.text.saved_tokenizers import load_tokenizer
from attn_research.data.text.tokenizers import (
    BOS,
    EOS,
    PAD,
    UNK,
    SubwordTokenizer,
    WordTokenizer,
    detokenize,
)

LINES = ["b a b", "c a b", "d c"]
AWKWARD = [
    "ein blond-haariger mann , der &quot; 1,234.50 &quot; euro zählt .",
    "the kid 's 3-d t-shirt says `` no way ! '' at 5:30pm",
    "größe ünïcödé straße -- l' œuvre d&apos; art _under_ x2y 日本",
]


def test_special_ids():
    assert (PAD, BOS, EOS, UNK) == (0, 1, 2, 3)


def test_shortlist_by_hand():
    words = WordTokenizer.build(iter(LINES), size=3)
    assert words.shortlist == ("b", "a", "c")  # 3 times, then 2 and 2 by name; d is left out
    assert words.vocab_size == 7
    assert words.encode("a d c b") == [5, UNK, 6, 4]
    assert words.decode(np.array([BOS, 5, UNK, 6, EOS, PAD], np.int32)) == "a <unk> c"
    assert words.decode([]) == "" and words.encode(" ") == []
    with pytest.raises(IndexError):
        words.decode([7])


def test_shortlist_depends_on_the_text_alone():
    every = WordTokenizer.build(LINES)
    assert every.shortlist == ("b", "a", "c", "d")
    assert every == WordTokenizer.build(reversed(LINES))
    assert every.fingerprint == WordTokenizer.build(reversed(LINES)).fingerprint
    others = [WordTokenizer.build(LINES, size=3), WordTokenizer.build(LINES, language="de")]
    assert len({every.fingerprint, *(other.fingerprint for other in others)}) == 3


def test_moses_and_back():
    line = "It's a blond-haired man, isn't it?"
    words = WordTokenizer.build([line], moses=True, language="en")
    assert words.words(line)[:4] == ["It", "&apos;s", "a", "blond-haired"]
    assert words.decode(words.encode(line)) == "It &apos;s a blond-haired man , isn &apos;t it ?"
    assert detokenize(words.decode(words.encode(line)), "en") == line
    assert detokenize("", "de") == ""


@pytest.mark.parametrize("language", ["en", "de"])
def test_moses_is_that_of_published_text(data_dir, language):
    """Raw text, normalized and lowercased, becomes Multi30k's own tokenized text word for word."""
    from sacremoses import MosesPunctNormalizer

    languages = (language, "fr")
    raw = Multi30k(languages, data_dir, "raw").split("test_2016_flickr")
    tokenized = Multi30k(languages, data_dir).split("test_2016_flickr")
    normalize = MosesPunctNormalizer(language).normalize
    words = WordTokenizer((), language, moses=True).words
    for ours, theirs in zip(raw, tokenized, strict=True):
        assert words(normalize(ours.source.lower())) == theirs.source.split()


@pytest.fixture(scope="module")
def subwords():
    return SubwordTokenizer.train(AWKWARD * 3 + LINES, vocab_size=90)


def test_subwords_restore_words(subwords):
    assert subwords.vocab_size == 90
    for line in [*AWKWARD, *LINES, ""]:
        ids = subwords.encode(line)
        assert subwords.decode(np.array([BOS, *ids, EOS, PAD, PAD])) == line
        assert subwords.encode_words(subwords.words(line)) == ids
        assert not {PAD, BOS, EOS, UNK} & set(ids)
    assert subwords.decode(subwords.encode("a ☃ b")) == "a <unk> b"
    assert subwords.encode(" a  b ") == subwords.encode("a b")


def test_subwords_never_cross_words(subwords):
    for line in AWKWARD:
        parts = [subwords.encode(word) for word in line.split()]
        assert subwords.encode(line) == list(itertools.chain.from_iterable(parts))


def test_subwords_merge_whole_words_whatever_their_characters():
    """Digits, hyphens and scripts split nothing: a frequent word of any make is one piece."""
    word = "x2-3é'日_" + "langes" * 5
    tokenizer = SubwordTokenizer.train([f"{word} a"] * 20, vocab_size=50)
    assert len(tokenizer.encode(word)) == 1


def test_subword_training_is_deterministic(subwords):
    again = SubwordTokenizer.train(AWKWARD * 3 + LINES, vocab_size=90)
    assert again.fingerprint == subwords.fingerprint


def test_subword_training_is_silent(capfd):
    SubwordTokenizer.train(LINES, vocab_size=12)
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_subword_errors():
    with pytest.raises(ValueError, match=r"vocab_size=5000 does not fit the text: .*<= \d+"):
        SubwordTokenizer.train(AWKWARD, vocab_size=5000)
    with pytest.raises(ValueError, match=r"vocab_size=10 does not fit the text: .*smaller"):
        SubwordTokenizer.train(AWKWARD, vocab_size=10)
    with pytest.raises(ValueError, match="the text is empty"):
        SubwordTokenizer.train(["", " "], vocab_size=10)


def test_subwords_of_real_text(data_dir):
    pairs = Multi30k(data_dir=data_dir).split("val")
    lines = [line for pair in pairs for line in pair[:2]]
    tokenizer = SubwordTokenizer.train(lines, vocab_size=2_000)
    assert [tokenizer.decode(tokenizer.encode(line)) for line in lines] == lines


def test_save_and_load(tmp_path, subwords):
    words = WordTokenizer.build(LINES, size=3, language="de", moses=True)
    for name, tokenizer in (("words", words), ("subwords", subwords)):
        tokenizer.save(tmp_path / name)
        loaded = load_tokenizer(tmp_path / name)
        assert loaded == tokenizer and loaded.fingerprint == tokenizer.fingerprint
        assert loaded.encode(AWKWARD[0]) == tokenizer.encode(AWKWARD[0])
        assert pickle.loads(pickle.dumps(loaded)).encode("b a") == tokenizer.encode("b a")
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {"tokenizer.json", "subwords.model"}


def test_load_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="no tokenizer in"):
        load_tokenizer(tmp_path)
    for content in ("{", "[]", "{}", json.dumps({"kind": "bytes"}), json.dumps({"kind": "words"})):
        (tmp_path / "tokenizer.json").write_text(content)
        with pytest.raises(ValueError, match=r"tokenizer\.json does not describe a tokenizer"):
            load_tokenizer(tmp_path)


def test_build_errors():
    with pytest.raises(ValueError, match="the text is empty"):
        WordTokenizer.build([""])
    with pytest.raises(ValueError, match="size=0"):
        WordTokenizer.build(LINES, size=0)
