"""Readers of labelled text: tables, tags, TREC, public data sets in their folders."""

import gzip
import zipfile

import pytest

from attn_research.data.text.classification import (
    DATA_SETS,
    PublicCorpus,
    held_out,
    read_questions,
)
from attn_research.data.text.labelled import (
    Example,
    LabelledCorpus,
    LabelledFiles,
    class_label,
    number_label,
    read_table,
    read_tagged,
)

NAMES = class_label({"0": "no", "1": "yes"})


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def test_a_table_of_labels_and_texts(tmp_path):
    path = write(tmp_path / "a.tsv.gz", "1\ta  b c \n0\t d\n")
    assert list(read_table(path, NAMES, 1)) == [Example(("a b c",), "yes"), Example(("d",), "no")]
    path = write(tmp_path / "b.tsv", "a b\tc\t0\n")
    assert list(read_table(path, NAMES, 2, label_column=2)) == [Example(("a b", "c"), "no")]
    path = write(tmp_path / "c.tsv", "4.25\ta\tb c\n0\td\te\n")
    assert [x.label for x in read_table(path, number_label, 2)] == ["4.25", "0"]


@pytest.mark.parametrize(
    ("text", "parse", "message"),
    [
        ("1\ta\n2\tb\n", NAMES, "a.tsv, line 2: the label '2' is not one of 0, 1"),
        ("1\ta\n1 b\n", NAMES, "a.tsv, line 2: 1 columns between tabs; a label and a text are 2"),
        ("1\ta\tb\n", NAMES, "a.tsv, line 1: 3 columns between tabs; a label and a text are 2"),
        ("1\ta\n0\t \n", NAMES, "a.tsv, line 2: a text without a word"),
        ("nan\ta\n", number_label, "a.tsv, line 1: the label 'nan' is no finite number"),
        ("much\ta\n", number_label, "a.tsv, line 1: the label 'much' is no finite number"),
    ],
)
def test_a_bad_line_is_named(tmp_path, text, parse, message):
    path = write(tmp_path / "a.tsv", text)
    with pytest.raises(ValueError, match=message):
        list(read_table(path, parse, 1))


TAGGED = "-DOCSTART- O\n\nEU B-org\nrejects\tx\tO\n\n\nPeter I-per\n"


def test_tagged_words(tmp_path):
    parse = class_label({tag: tag for tag in ("O", "B-org", "I-per")})
    path = write(tmp_path / "a.conll", TAGGED)
    assert list(read_tagged(path, parse)) == [
        Example(("EU rejects",), "B-org O"),
        Example(("Peter",), "I-per"),
    ]
    write(path, TAGGED + "Blackburn\n")
    with pytest.raises(ValueError, match=r"line 8: the word 'Blackburn' has no tag"):
        list(read_tagged(path, parse))
    write(path, "a B-loc\n")
    with pytest.raises(ValueError, match="line 1: the label 'B-loc' is not one of O, B-org, I-per"):
        list(read_tagged(path, parse))


def test_files_of_ones_own(tmp_path):
    files = {
        "train": write(tmp_path / "train", "b\tx\na\ty z\n"),
        "dev": write(tmp_path / "dev", "a\tx\n"),
        "test": write(tmp_path / "test", "a\tx\nc\ty\n"),
    }
    corpus = LabelledFiles(files)
    assert isinstance(corpus, LabelledCorpus)
    assert corpus.classes == ("a", "b")
    assert corpus.split("dev") == [Example(("x",), "a")]
    assert corpus.fingerprint("dev") != corpus.fingerprint("train")
    with pytest.raises(ValueError, match=r"test, line 2: the label 'c' is not one of a, b"):
        corpus.split("test")
    with pytest.raises(ValueError, match="no split 'more': there are train, dev, test"):
        corpus.split("more")
    write(files["dev"], "")
    with pytest.raises(ValueError, match="dev is empty"):
        corpus.split("dev")
    tags = LabelledFiles({"train": write(tmp_path / "tags", TAGGED)}, "tags")
    assert tags.classes == ("B-org", "I-per", "O")


def make_trec(folder, train):
    (folder / "text_classification").mkdir()
    with zipfile.ZipFile(folder / "text_classification" / "qc.zip", "w") as archive:
        archive.writestr("qc/train.txt", train.encode("latin-1"))
        archive.writestr("qc/test.txt", b"HUM:ind Who ?\n")


def test_trec_is_read_from_its_archive(tmp_path):
    questions = [f"NUM:count How many é {i} ?" for i in range(60)]
    make_trec(tmp_path, "\n".join(questions) + "\n")
    corpus = PublicCorpus("trec", tmp_path)
    corpus.check()
    assert corpus.split("test") == [Example(("Who ?",), "HUM")]
    train, dev = corpus.split("train"), corpus.split("dev")
    assert len(train) + len(dev) == 60 and 1 <= len(dev) <= 15
    assert all(held_out(x) for x in dev) and not any(held_out(x) for x in train)
    assert {x.label for x in train} == {"NUM"} and "é" in train[0].texts[0]


def test_a_bad_question_is_named(tmp_path):
    make_trec(tmp_path, "NUM:count How many ?\nWho ?\n")
    with pytest.raises(
        ValueError, match=r"qc.zip/qc/train.txt, line 2: no CLASS:kind and question"
    ):
        PublicCorpus("trec", tmp_path).split("train")
    path = tmp_path / "text_classification" / "qc.zip"
    with pytest.raises(ValueError, match=r"qc.zip .*other.txt"):
        list(read_questions(path / "other.txt", NAMES))
    path.write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"qc.zip .*train.txt"):
        list(read_questions(path / "qc" / "train.txt", NAMES))


def test_a_file_without_its_gzip_suffix_is_found(tmp_path):
    write(tmp_path / "glue_small" / "stsb.test.tsv", "2.5\ta b\tc\n")
    corpus = PublicCorpus("stsb", tmp_path)
    assert corpus.split("test") == [Example(("a b", "c"), "2.5")]
    with pytest.raises(FileNotFoundError, match=r"glue_small/stsb.train.tsv.gz; .*--data_dir"):
        corpus.check()
    with pytest.raises(ValueError, match="no data set 'sst': there are sst2, "):
        PublicCorpus("sst")


# Examples of train, dev and test; those of dev are held out here where its sum with train is given.
COUNTS = {
    "sst2": (6920, 872, 1821),
    "sst2_phrases": (67349, 872, 1821),
    "trec": (5452, None, 500),
    "cola": (8551, None, 1043),
    "mrpc": (4076, None, 1725),
    "rte": (2490, None, 277),
    "stsb": (5749, 1500, 1379),
    "wnut17": (3394, 1009, 1287),
    "imdb": (25_000, None, 25_000),
}


@pytest.mark.parametrize("name", COUNTS)
def test_the_public_data_sets_have_their_known_sizes(name, data_dir):
    corpus, (train, dev, test) = PublicCorpus(name, data_dir), COUNTS[name]
    assert isinstance(corpus, LabelledCorpus) and set(COUNTS) == set(DATA_SETS)
    found = {split: corpus.split(split) for split in ("train", "dev", "test")}
    sizes = [len(examples) for examples in found.values()]
    if dev is None:
        assert sizes[0] + sizes[1] == train and 0.09 < sizes[1] / train < 0.12
        assert not {x.texts for x in found["train"]} & {x.texts for x in found["dev"]}
    else:
        assert sizes[:2] == [train, dev]
    assert sizes[2] == test
    if corpus.labels == "tags":
        for example in found["test"]:
            assert len(example.texts[0].split()) == len(example.label.split())
