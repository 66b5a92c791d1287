"""Gold-aligned sets: their words, their links, and the line each error prints."""

import gzip

import pytest

from attn_research.data.text.aligned import BLANK, SETS, AlignedText, parse_links
from attn_research.data.text.corpus import Pair


@pytest.fixture
def write(tmp_path):
    """Writes the files of one stem and returns the folder of data sets."""

    def make(stem: str, **columns: str):
        (tmp_path / "alignment").mkdir(exist_ok=True)
        for kind, text in columns.items():
            path = tmp_path / "alignment" / f"{stem}.{kind}.gz"
            path.write_bytes(gzip.compress(text.encode()))
        return tmp_path

    return make


def test_pairs_and_links(write):
    data_dir = write("enfr", src="The Cat\nNo\n", tgt="le Chat\nNon !\n", gold="2-2 1p2 1-1\n1p2\n")
    expected = [
        Pair("the cat", "le chat", frozenset({(0, 0), (1, 1)}), frozenset({(0, 1)})),
        Pair("no", "non !", frozenset(), frozenset({(0, 1)})),
    ]
    assert AlignedText("hansards", data_dir).split("test") == expected
    written = AlignedText("hansards", data_dir, lowercase=False).split("test")
    assert written[0] == Pair("The Cat", "le Chat", *expected[0][2:])


def test_training_text_has_no_links(write):
    data_dir = write("enfr_train2383", src="A b\n", tgt="C\n")
    corpus = AlignedText("hansards", data_dir)
    assert corpus.languages == ("en", "fr")
    assert corpus.split("train") == [Pair("a b", "c")]


def test_white_space_is_a_word_as_links_count_it(write):
    data_dir = write("jaen", src="a \u3000 b\n", tgt="x y\u00a0z\n", gold="2-1 3-2\n")
    (pair,) = AlignedText("jaen", data_dir).split("test")
    assert pair.source.split() == pair.source.split(" ") == ["a", BLANK, "b"]
    assert pair.target.split() == ["x", "yz"]
    assert pair.sure == {(1, 0), (2, 1)}


def test_links_outside_the_sentences_are_left_out(write):
    data_dir = write("deen100", src="a b\n", tgt="x\n", gold="1-1 3-1 2p2 2p1\n")
    (pair,) = AlignedText("deen100", data_dir).split("test")
    assert (pair.sure, pair.possible) == ({(0, 0)}, {(1, 0)})


def test_a_sure_link_is_not_listed_as_possible():
    assert parse_links("1-1 1p1 2p12", "here") == ({(0, 0)}, {(1, 11)})
    assert parse_links("", "here") == (frozenset(), frozenset())


@pytest.mark.parametrize("bad", ["0-1", "1-0", "1:1", "1-", "p2", "1-1-1", "-1-2"])
def test_a_bad_link_names_the_line(write, bad):
    data_dir = write("roen", src="a\nb\n", tgt="x\ny\n", gold=f"1-1\n1-1 {bad}\n")
    with pytest.raises(ValueError, match=rf"roen\.gold\.gz, line 2: '{bad}' is no link"):
        AlignedText("roen", data_dir).split("test")


def test_unequal_line_counts(write):
    data_dir = write("zhen", src="a\nb\nc\n", tgt="x\ny\nz\n", gold="1-1\n1-1\n")
    with pytest.raises(ValueError, match=r"zhen\.gold\.gz has 2 lines but .*zhen\.src\.gz has 3"):
        AlignedText("zhen", data_dir).split("test")


def test_missing_data_is_refused(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"alignment/enfr\.src\.gz; .*--data_dir or ATTN_DATA_DIR$"
    ):
        AlignedText("hansards", tmp_path).split("test")
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist.*--data_dir or ATTN"):
        AlignedText("hansards", tmp_path / "nowhere").split("test")
    with pytest.raises(ValueError, match="no split 'train': roen has test"):
        AlignedText("roen", tmp_path).split("train")
    with pytest.raises(ValueError, match="no aligned text 'enfr': there are hansards, roen"):
        AlignedText("enfr")


def test_fingerprint_sees_words_and_links(write):
    texts = {"src": "a b\n", "tgt": "x y\n", "gold": "1-1\n"}
    changes = [{}, {"src": "a c\n"}, {"gold": "1p1\n"}, {"gold": "1-1 2-2\n"}]
    prints = [
        AlignedText("roen", write("roen", **texts | change)).fingerprint("test")
        for change in changes
    ]
    assert len(set(prints)) == 4
    assert prints[0] == AlignedText("roen", write("roen", **texts)).fingerprint("test")


REAL = {
    ("hansards", "train"): (2_383, 0, 0),
    ("hansards", "dev"): (37, 338, 1_446),
    ("hansards", "test"): (447, 4_038, 13_400),
    ("roen", "test"): (248, 6_198, 0),
    ("jaen", "test"): (582, 13_562, 0),
    ("zhen", "test"): (450, 11_238, 178),
    ("deen100", "test"): (100, 1_232, 0),  # of 1,233: one is out of range
}


def test_real_counts(data_dir):
    splits = [(name, split) for name, (_, stems) in SETS.items() for split in stems]
    assert sorted(splits) == sorted(REAL)
    for name, split in splits:
        pairs = AlignedText(name, data_dir).split(split)
        sure, possible = (sum(map(len, kind)) for kind in list(zip(*pairs, strict=True))[2:])
        assert (len(pairs), sure, possible) == REAL[name, split]
        for pair in pairs:
            sides = [len(side.split()) for side in pair[:2]]
            assert all(i < sides[0] and j < sides[1] for i, j in pair.sure | pair.possible)
            assert all(side.split() == side.split(" ") for side in pair[:2])


def test_a_real_link_joins_what_it_should(data_dir):
    pair = AlignedText("hansards", data_dir, lowercase=False).split("test")[1]
    assert (pair.source, pair.target, pair.sure) == ("2 .", "2 .", {(0, 0), (1, 1)})
    (dropped,) = AlignedText("deen100", data_dir).split("test")[62:63]
    assert len(dropped.target.split()) == 13
