"""Byte-order marks and the marks of subwords in every kind of text: gone, kept, or refused."""

import gzip
import json
import random
import zipfile

import pytest

from attn_research.data.records import Records, write_records
from attn_research.data.text.aligned import AlignedText
from attn_research.data.text.bpe_dropout import apply_bpe_dropout
from attn_research.data.text.corpus import Pair
from attn_research.data.text.encoding import encode_pairs
from attn_research.data.text.parallel import TextFiles
from attn_research.data.text.saved_tokenizers import load_tokenizer
from attn_research.data.text.tatoeba import Tatoeba
from attn_research.data.text.tokenizers import (
    UNK,
    SubwordTokenizer,
    WordTokenizer,
)
from attn_research.data.text.treebank import SPLITS, Treebank

MARK = b"\xef\xbb\xbf"
# What subword tokenizers write for their own use, as text of a user.
RESERVED = [
    "▁", "▁▁", "a▁b", "▁a", "b▁", "▅", "x▅y", "@@", "a@@", "@@b", "a@@ b", "<s>", "</s>", "<pad>",
    "<unk>", "a<s>b", "<s", "⁇", "\ufeff", "\ufffd", "<0x41>", "@-@", "</w>", "##b", "Ġa",
]  # fmt: skip
LINES = ["a b c < > / s p d u n k", "the cat sat", *(f"say {text} twice" for text in RESERVED)]


def write_files(folder, content=b"a b\nc\n", mark=MARK):
    paths = tuple(folder / name for name in ("a.en", "a.de"))
    for path in paths:
        path.write_bytes(mark + content)
    return TextFiles(("en", "de"), {"train": paths})


def test_parallel_files_and_their_records_have_no_byte_order_mark(tmp_path):
    corpus = write_files(tmp_path)
    assert corpus.split("train") == [Pair("a b", "a b"), Pair("c", "c")]
    words = WordTokenizer.build(pair.source for pair in corpus.split("train"))
    assert words.shortlist == ("a", "b", "c")
    folder = tmp_path / "records"
    write_records(corpus.stream("train"), words, words, folder, languages=corpus.languages)
    assert [ids.tolist() for ids in Records(folder)[0]] == [[4, 5]] * 2


def test_alignments_have_no_byte_order_mark(tmp_path):
    (tmp_path / "alignment").mkdir()
    for kind, line in {"src": "a b", "tgt": "c d", "gold": "1-1 2p2"}.items():
        content = gzip.compress(MARK + f"{line}\r\n".encode())
        (tmp_path / "alignment" / f"roen.{kind}.gz").write_bytes(content)
    (pair,) = AlignedText("roen", tmp_path).split("test")
    assert pair == Pair("a b", "c d", frozenset({(0, 0)}), frozenset({(1, 1)}))


def test_tatoeba_has_no_byte_order_mark(tmp_path):
    (tmp_path / "tatoeba").mkdir()
    content = MARK + b"Go.\tVa !\tby somebody\nRun.\tCours !\n"
    (tmp_path / "tatoeba" / "fra-eng.tsv.gz").write_bytes(gzip.compress(content))
    assert Pair("Go.", "Va !") in Tatoeba(data_dir=tmp_path).split("test")


def test_a_treebank_has_no_byte_order_mark(tmp_path):
    (tmp_path / "treebank").mkdir()
    with zipfile.ZipFile(tmp_path / "treebank" / "treebank.zip", "w") as archive:
        for number in range(1, 200):
            content = MARK + b"( (S (NP (NN sun)) (VP (VBZ sets))) )\r\n"
            archive.writestr(f"treebank/combined/wsj_{number:04}.mrg", content)
    pairs = Treebank(tmp_path).split("test")
    assert pairs == [Pair("sun sets", "(S (NP XX )NP (VP XX )VP )S")] * len(SPLITS["test"])


def test_a_vocabulary_has_no_byte_order_mark(tmp_path):
    content = json.dumps({"kind": "words", "shortlist": ["a", "b"]}).encode()
    (tmp_path / "tokenizer.json").write_bytes(MARK + content)
    assert load_tokenizer(tmp_path).shortlist == ("a", "b")


@pytest.fixture(scope="module")
def tokenizers():
    subwords = SubwordTokenizer.train(LINES * 3, vocab_size=100)
    return {"words": WordTokenizer.build(LINES), "subwords": subwords}


@pytest.mark.parametrize("kind", ["words", "subwords"])
@pytest.mark.parametrize("text", RESERVED)
def test_text_that_looks_like_a_mark_comes_back_as_it_was(tokenizers, kind, text):
    tokenizer, line = tokenizers[kind], f"say {text} twice"
    ids = tokenizer.encode(line)
    assert tokenizer.decode(ids) == line
    assert UNK not in ids
    assert tokenizer.encode_words(tokenizer.words(line)) == ids


def test_a_line_with_a_mark_trains_subwords_as_any_other():
    """SentencePiece alone would leave the line out, and its characters with it."""
    tokenizer = SubwordTokenizer.train(["a ▅ xyz", "<pad> q"] * 2, vocab_size=15)
    for line in ("z y x", "q ▅", "<pad>"):
        assert tokenizer.decode(tokenizer.encode(line)) == line


def test_an_unseen_mark_is_an_unknown_character_as_any_other():
    tokenizer = SubwordTokenizer.train(["a b c"] * 2, vocab_size=9)
    assert tokenizer.decode(tokenizer.encode("a ▁ b")) == "a <unk> b"
    assert tokenizer.decode(tokenizer.encode("a ☃ b")) == "a <unk> b"


def test_bpe_dropout_keeps_marks(tokenizers):
    pairs = encode_pairs([Pair(line, line) for line in LINES], *[tokenizers["subwords"]] * 2)
    dropped = apply_bpe_dropout(pairs, tokenizers["subwords"], rate=0.5, seed=0)
    for line, (source, target) in zip(LINES, dropped, strict=True):
        assert tokenizers["subwords"].decode(source) == line
        assert tokenizers["subwords"].decode(target) == line


def test_random_text_comes_back_as_it_was():
    rng = random.Random(0)
    alphabet = "ab<>/sunkpd@▁▅\x01\x7f\u0301é🙂\u200b\ufeff\ue000\U0010ffff"
    lines = [
        " ".join("".join(rng.choices(alphabet, k=rng.randint(1, 9))) for _ in range(5))
        for _ in range(300)
    ]
    words = WordTokenizer.build(lines)
    subwords = SubwordTokenizer.train(lines, vocab_size=200)
    for line in lines:
        assert words.decode(words.encode(line)) == subwords.decode(subwords.encode(line)) == line


@pytest.mark.parametrize("mark", ["\0", "\ufdd0"])
def test_a_character_that_is_in_no_text_is_refused_by_subwords(mark):
    with pytest.raises(ValueError, match=rf"starts 'a .*U\+{ord(mark):04X}"):
        SubwordTokenizer.train([f"a {mark} b"], vocab_size=10)


def test_a_line_too_long_for_sentencepiece_is_named_and_not_left_out():
    with pytest.raises(ValueError, match=r"line 2 of the text, which starts 'a a a.*longer than"):
        SubwordTokenizer.train(["b", "a " * (1 << 20)], vocab_size=10)


@pytest.mark.parametrize("pieces", ["th@@ e c@@ at", "▁the ▁c at", "the▁ c at▁"])
def test_files_cut_into_subwords_are_refused_with_file_and_line(tmp_path, pieces):
    content = b"the cat\n" + f"{pieces}\n".encode() * 3
    with pytest.raises(ValueError, match=r"a\.en, line 2: .*as are 3 of its 4 lines.*bpe"):
        write_files(tmp_path, content).split("train")
    for others, cut in ((40, 4), (1, 2)):
        few = b"the cat\n" * others + f"{pieces}\n".encode() * cut
        assert len(write_files(tmp_path, few).split("train")) == others + cut


def test_lone_marks_are_text(tmp_path):
    content = "▁ a\n@@ b\nc @@ d\n@@e\n▁\nmail@@\n".encode()
    assert len(write_files(tmp_path, content).split("train")) == 6


def test_a_damaged_subword_model_is_named(tmp_path):
    SubwordTokenizer.train(["a b c"] * 2, vocab_size=9).save(tmp_path)
    path = tmp_path / "subwords.model"
    content = path.read_bytes()
    for damaged in (b"", content[:50], content[:-3], content.replace(b"a", b"d"), content[:3]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"subwords\.model does not describe a tokenizer"):
            load_tokenizer(tmp_path)
