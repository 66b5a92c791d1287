"""Tatoeba: splits that share no sentence, and text as Multi30k has it."""

import gzip

import pytest

from attn_research.data.text import tatoeba
from attn_research.data.text.multi30k import Multi30k
from attn_research.data.text.tatoeba import Tatoeba, lowercase_and_tokenize

# Eleven English sentences in three spellings each: 33 lines.
LINES = [
    f"{english.format(i)}\tPhrase {i}{mark}"
    for i in range(11)
    for english, mark in (("It is {}.", "\u202f!"), ("it is {}", " ?"), ("It  is {}!", "."))
]


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Holds out two pairs a split of the small file; returns what rewrites it."""
    monkeypatch.setattr(tatoeba, "HELD_OUT", 2)

    def write(lines, name="fra-eng.tsv.gz"):
        (tmp_path / "tatoeba").mkdir(exist_ok=True)
        content = "".join(f"{line}\n" for line in lines).encode()
        (tmp_path / "tatoeba" / name).write_bytes(gzip.compress(content))
        return tmp_path

    write(LINES)
    return write


def numbers(pairs, side=0):
    return {int("".join(filter(str.isdigit, pair[side]))) for pair in pairs}


def test_splits_share_no_sentence(small, tmp_path):
    corpus = Tatoeba(data_dir=tmp_path)
    splits = {name: corpus.split(name) for name in tatoeba.SPLITS}
    assert {name: len(pairs) for name, pairs in splits.items()} == {
        "test": 2,
        "dev": 2,
        "train": 3 * 7,
    }
    found = [numbers(pairs) for pairs in splits.values()]
    assert set.union(*found) == set(range(11))
    assert sum(map(len, found)) == 11
    assert all(pair.source.startswith("It is ") for pair in splits["test"])
    assert splits["test"][0].target.endswith(" !")  # as written, one space


def test_the_order_of_the_file_decides_no_split(small, tmp_path):
    before = numbers(Tatoeba(data_dir=tmp_path).split("dev"))
    small(reversed(LINES))
    assert numbers(Tatoeba(data_dir=tmp_path).split("dev")) == before


def test_both_directions_have_the_same_pairs(small, tmp_path):
    there, back = (Tatoeba(pair, tmp_path) for pair in (("en", "fr"), ("fr", "en")))
    for name in tatoeba.SPLITS:
        assert [pair[:2] for pair in there.split(name)] == [p[1::-1] for p in back.split(name)]


def test_held_out_translations_are_not_trained_on(small, tmp_path):
    held_out = Tatoeba(data_dir=tmp_path).split("test")[0]
    small([*LINES, f"Quite another.\t{held_out.target}"])
    for name in tatoeba.SPLITS:
        assert "Quite another." not in [p.source for p in Tatoeba(data_dir=tmp_path).split(name)]


def test_tokenized_text(small, tmp_path):
    written, words = Tatoeba(data_dir=tmp_path), Tatoeba(data_dir=tmp_path, tokenize=True)
    for before, after in zip(written.split("test"), words.split("test"), strict=True):
        (number,) = numbers([before])
        assert after[:2] == (f"it is {number} .", f"phrase {number} !")
    assert written.fingerprint("test") != words.fingerprint("test")
    assert words.fingerprint("test") != words.fingerprint("dev")


def test_tokenization_by_hand():
    english, french = map(lowercase_and_tokenize, ("en", "fr"))
    assert english("I\u2019d SAY \u201cno\u201d, e.g. a well-known one.") == (
        "i &apos;d say &quot; no , &quot; e.g. a well-known one ."
    )
    assert french("J'aime l\u2019été\u00a0!") == "j&apos; aime l&apos; été !"


def test_wrong_arguments_and_files_are_refused(small, tmp_path):
    for languages in (("en", "cs"), ("de", "fr"), ("en", "en")):
        with pytest.raises(ValueError, match="Tatoeba takes en and one of de, fr"):
            Tatoeba(languages)
    with pytest.raises(ValueError, match="no split 'val': there are test, dev, train"):
        Tatoeba(data_dir=tmp_path).split("val")
    with pytest.raises(FileNotFoundError, match=r"tatoeba/deu-eng\.tsv\.gz; .*or ATTN_DATA_DIR"):
        Tatoeba(("de", "en"), tmp_path).split("dev")
    small([*LINES[:4], "no tab", *LINES])
    with pytest.raises(ValueError, match=r"fra-eng\.tsv\.gz, line 5: no tab"):
        Tatoeba(data_dir=tmp_path).split("dev")


def test_real_splits(data_dir):
    corpus = Tatoeba(("en", "fr"), data_dir)
    train, test = corpus.split("train"), corpus.split("test")
    assert (len(train), len(test)) == (163_980, 1_000)
    assert all(pair.source and pair.target for pair in (*train, *test))
    for side in (0, 1):
        assert not {pair[side].lower() for pair in train} & {pair[side].lower() for pair in test}


@pytest.mark.parametrize("language", ["en", "de", "fr"])
def test_tokenization_matches_multi30k(data_dir, language):
    make = lowercase_and_tokenize(language)
    languages = (language, "fr" if language == "en" else "en")
    raw = Multi30k(languages, data_dir, "raw").split("test_2016_flickr")
    words = Multi30k(languages, data_dir).split("test_2016_flickr")
    same = sum(make(a.source) == b.source for a, b in zip(raw, words, strict=True))
    assert same >= 998  # of 1,000
