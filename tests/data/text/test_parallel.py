"""Parallel files and Hugging Face rows: what they give, and the line each error prints."""

import gzip
import itertools
import sys
import types

import pytest

from attn_research.data.text.corpus import Pair
from attn_research.data.text.parallel import HuggingFace, TextFiles, fingerprint_pairs

LANGUAGES = ("en", "de")


@pytest.fixture
def write(tmp_path):
    """Writes two files and returns the corpus that has them as its training split."""

    def make(source: bytes, target: bytes, names=("a.en", "a.de")) -> TextFiles:
        paths = tuple(tmp_path / name for name in names)
        for path, content in zip(paths, (source, target), strict=True):
            path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
        return TextFiles(LANGUAGES, {"train": paths})

    return make


def test_plain_and_gzip_agree(write):
    source, target = b"one  two\r\n\nthree", b"eins zwei\n\ndrei\n"
    plain, packed = write(source, target), write(source, target, ("b.en.gz", "b.de.gz"))
    expected = [Pair("one two", "eins zwei"), Pair("", ""), Pair("three", "drei")]
    assert plain.split("train") == packed.split("train") == expected
    assert plain.fingerprint("train") == packed.fingerprint("train") == fingerprint_pairs(expected)
    assert plain.fingerprint("train") != fingerprint_pairs(expected[:2])


def test_only_newlines_end_lines(write):
    corpus = write("a\u2028b\x85c\n".encode(), b"d\x0ce")
    assert corpus.split("train") == [Pair("a b c", "d e")]


@pytest.mark.parametrize("lines", [(5, 3), (2, 7)])
def test_unequal_line_counts(write, lines):
    corpus = write(b"x\n" * lines[0], b"y\n" * lines[1])
    with pytest.raises(ValueError, match=rf"a\.en has {lines[0]} .*a\.de has {lines[1]}:"):
        corpus.split("train")


def test_invalid_utf8_names_the_line(write):
    with pytest.raises(ValueError, match=r"a\.de, line 2: not UTF-8"):
        write(b"x\nx\nx\n", b"y\n\xff\ny\n").split("train")


def test_empty_missing_and_damaged(write, tmp_path):
    with pytest.raises(ValueError, match=r"a\.en and .*a\.de are empty"):
        write(b"", b"").split("train")
    with pytest.raises(ValueError, match="no split 'val': there are train"):
        write(b"x", b"y").split("val")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        TextFiles(LANGUAGES, {"val": (tmp_path / "nowhere", tmp_path / "a.de")}).split("val")
    corpus = write(b"x\n" * 999, b"y\n" * 999, ("a.en.gz", "a.de.gz"))
    (tmp_path / "a.de.gz").write_bytes((tmp_path / "a.de.gz").read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"a\.de\.gz: damaged compressed"):
        corpus.split("train")


def test_stream_reads_no_further_than_asked(write):
    corpus = write(b"x\n" * 70_000 + b"\xff\n", b"y\n" * 70_001)
    assert len(list(itertools.islice(corpus.stream("train"), 70_000))) == 70_000


def test_multi30k_files(data_dir):
    folder = data_dir / "multi30k"
    corpus = TextFiles(LANGUAGES, {"val": (folder / "val.en.gz", folder / "val.de.gz")})
    assert sum(1 for _ in corpus.stream("val")) == 1_014


ROWS = [{"translation": {"en": f"word {i}", "fr": f"mot  {i}"}} for i in range(5)]


@pytest.fixture
def fake_datasets(monkeypatch):
    """A package `datasets` that knows one data set, and folders with their name as their rows."""
    asked = []

    def load_dataset(name, config):
        asked.append((name, config))
        return {"train": ROWS, "validation": ROWS[:2], "test": []}

    module = types.ModuleType("datasets")
    module.load_dataset = load_dataset
    module.load_from_disk = lambda folder: {"train": ROWS[:3]}
    monkeypatch.setitem(sys.modules, "datasets", module)
    return asked


def test_hugging_face_rows(fake_datasets):
    corpus = HuggingFace("wmt14", ("fr", "en"), "fr-en")
    pairs = corpus.split("train")
    assert fake_datasets == [("wmt14", "fr-en")]
    assert pairs[4] == pairs[-1] == Pair("mot 4", "word 4")
    assert list(pairs) == [pairs[i] for i in range(5)] == pairs[:5]
    assert corpus.fingerprint("train") == fingerprint_pairs(pairs)


def test_hugging_face_folder(fake_datasets, tmp_path):
    (tmp_path / "dataset_dict.json").write_text("{}")
    assert len(HuggingFace(str(tmp_path), ("en", "fr")).split("train")) == 3
    assert not fake_datasets


def test_hugging_face_errors(fake_datasets, monkeypatch):
    with pytest.raises(ValueError, match="no split 'dev': wmt14 has train, validation, test"):
        HuggingFace("wmt14", ("en", "fr")).split("dev")
    with pytest.raises(ValueError, match=r"en and de \(they have: en, fr\)"):
        HuggingFace("wmt14", ("en", "de")).split("train")
    with pytest.raises(ValueError, match=r"\(they have: none\)"):
        HuggingFace("wmt14", ("en", "fr")).split("test")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match="pip install datasets"):
        HuggingFace("wmt14", ("en", "fr")).split("train")


@pytest.mark.parametrize(
    "row",
    [
        {"translation": {"en": "a", "fr": None}},
        {"translation": {"en": "a"}},
        {"translation": {"en": "a", "fr": 3}},
        {"translation": None},
        {},
    ],
)
def test_a_row_without_text_is_named_by_its_number(fake_datasets, monkeypatch, row):
    rows = [*ROWS, row]
    monkeypatch.setattr(sys.modules["datasets"], "load_dataset", lambda *_: {"test": rows})
    corpus = HuggingFace("wmt14", ("en", "fr"))
    message = "wmt14, split 'test', row 5: its text in (en|fr) is .*; leave such rows out"
    for read in (corpus.split, corpus.fingerprint):
        with pytest.raises(ValueError, match=message):
            read("test")


def test_a_first_row_without_text_is_named_too(fake_datasets, monkeypatch):
    rows = [{"translation": None}, *ROWS]
    monkeypatch.setattr(sys.modules["datasets"], "load_dataset", lambda *_: {"test": rows})
    with pytest.raises(ValueError, match=r"no translation in en and fr \(they have: none\)"):
        HuggingFace("wmt14", ("en", "fr")).split("test")


def test_rows_that_hold_no_text_or_pieces_are_refused(fake_datasets, monkeypatch):
    for text, message in (("a\0b", r"row 5, en: .*U\+0000"), ("a@@ b", "in en, line 6: 'a@@ b'")):
        rows = [*ROWS, *[{"translation": {"en": text, "fr": "x"}}] * 3]
        monkeypatch.setattr(sys.modules["datasets"], "load_dataset", lambda *_, r=rows: {"test": r})
        with pytest.raises(ValueError, match=message):
            HuggingFace("wmt14", ("en", "fr")).split("test")


def test_a_tilde_is_the_home_of_the_user(fake_datasets, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "dataset_dict.json").write_text("{}")
    assert len(HuggingFace("~", ("en", "fr")).split("train")) == 3
    for name in ("a.en", "a.de"):
        (tmp_path / name).write_text("a\n")
    assert TextFiles(LANGUAGES, {"train": ("~/a.en", "~/a.de")}).split("train") == [Pair("a", "a")]
