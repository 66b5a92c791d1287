"""Whatever a test set holds is scored, or named before the first step."""

import itertools
import json
import sys
import types

import pytest

from attn_research.data.text.corpus import Pair
from attn_research.data.text.treebank import parse_trees
from attn_research.evaluation.bleu import (
    has_words,
    sacre_bleu,
    tokenized_bleu,
    tokenized_statistics,
)
from attn_research.evaluation.by_length import bleu_by_bucket
from experiments.bahdanau2014.paper import PAPER as BAHDANAU
from experiments.harness.paper import resolve
from experiments.harness.verify import verify
from experiments.luong2015.paper import PAPER as LUONG
from experiments.papers import find
from experiments.tasks.translation import data, scores
from experiments.tasks.translation.splits import check_references, encode_split
from experiments.vaswani2017.paper import PAPER as VASWANI
from tests.experiments.runs import run

WORDS = [f"w{number}" for number in range(12)]
TRAIN = [
    (" ".join(WORDS[i % 5 : i % 5 + 1 + i % 6]), " ".join(WORDS[i % 4 : i % 4 + 1 + i % 7]))
    for i in range(120)
] + [("", "w1"), ("w1", ""), ("a▁b w1", "c@@ w2"), ("▅ <s>", "<pad> w1")]
DEV = [("w1 w2 w3", "w2 w3 w4"), ("", "w1"), ("w2", "")]
LONG = " ".join(itertools.islice(itertools.cycle(WORDS), 45))
# An empty side, both, marks of subwords, control characters, long sources of an empty reference.
AWKWARD = [
    ("w1 w2 w3 w4 w5", "w1 w2 w3 w4"), ("", "w1 w2"), ("w2 w3", ""), ("", ""),
    ("x▁y zz@@ w1", "w1 q@@ r▁"), ("\x01", "\x02"), (LONG, ""), (f"{LONG} {LONG}", "w1"),
    ("<unk> w1", "<unk>"), ("▅", "▁"), ("zz yy", "xx ww"),
]  # fmt: skip
UNKNOWN = [("zz yy", "xx ww"), ("", "qq")]
TINY = {"scale": "tiny", "num_steps": 2, "eval_every": 2, "save_every": 2, "batch_size": 8}


def write(folder, **splits):
    """Files of pairs, and the flags that name them."""
    given = {"data": "text"} | TINY
    for split, pairs in ({"train": TRAIN, "dev": DEV} | splits).items():
        names = [folder / f"{split}.{side}" for side in ("en", "fr")]
        for side, path in enumerate(names):
            path.write_text("".join(f"{pair[side]}\n" for pair in pairs))
        given[split] = ",".join(map(str, names))
    return given


def train(paper, row, folder, **given):
    """The scores of a row, its tables and its verification."""
    path = run(paper, row, folder / "text-tiny", **given)
    paper.report(path.parent, paper)
    assert all(holds for *_, holds in verify(path.parent, find)), list(verify(path.parent, find))
    found = json.loads(path.read_text())["scores"]["tests"]["test"]
    return found, (path.parent / "tables.md").read_text()


def test_an_awkward_test_set_of_raw_text_is_scored(tmp_path):
    given = write(tmp_path, test=AWKWARD) | {"tokenizer": "moses"}
    found, _ = train(BAHDANAU, "RNNsearch-50", tmp_path, **given)
    assert_scored(found)


def assert_scored(found):
    assert found["bleu"] is not None and found["sacrebleu"] is not None
    spans = {span["low"]: span for span in found["by_length"]}
    assert spans[40]["count"] == 1 and spans[40]["bleu"] is None  # its reference is empty


def test_a_subset_with_nothing_to_score_is_a_dash(tmp_path):
    found, table = train(BAHDANAU, "RNNsearch-50", tmp_path, **write(tmp_path, test=UNKNOWN))
    assert found["bleu_no_unk"] is None and found["no_unk_sentences"] == 0
    header, row = (
        next(line for line in table.splitlines() if line.startswith(f"| {start}")).split("|")
        for start in ("model", "RNNsearch-50")
    )
    column = next(i for i, title in enumerate(header) if title.strip() == "no UNK")
    assert row[column].split() == ["–", "(paper", "34.16)"]


class Linked:
    """A corpus with gold links, and sentences that have no word to link."""

    languages = ("en", "fr")

    def split(self, name):
        pairs = TRAIN if name == "train" else DEV if name == "dev" else AWKWARD
        links = frozenset({(0, 0)})
        return [Pair(*pair, links if all(pair) else frozenset()) for pair in pairs]

    def fingerprint(self, name):
        return name


@pytest.mark.parametrize(
    ("paper", "row", "given"),
    [
        (LUONG, "dot", {"replace_unknown": True, "bleu_every": 1}),
        (VASWANI, "base", {"tied": False, "num_layers": 1}),  # the vocabularies differ
    ],
)
def test_a_sentence_without_a_source_word_has_no_links(tmp_path, monkeypatch, paper, row, given):
    monkeypatch.setattr(data, "corpora", lambda config: [Linked()])
    given |= TINY | {"data": "hansards", "soft_links": True}
    found, _ = train(paper, row, tmp_path, **given)
    assert_scored(found)
    assert 0 <= found["aer"] <= 1 and 0 <= found["soft_aer"] <= 1
    assert ("heads" in found) == (paper is VASWANI)
    assert ("bleu_replaced" in found) == (paper is LUONG)
    (path,) = tmp_path.rglob("test.links.txt")
    assert path.read_text().split("\n")[1:4] == ["", "", ""]


def test_links_are_of_words_and_not_of_subwords(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "corpora", lambda config: [Linked()])
    given = TINY | {"data": "hansards", "tokenizer": "bpe", "vocab_size": 60, "num_layers": 1}
    found, _ = train(VASWANI, "base", tmp_path, **given)
    assert_scored(found)
    assert not {"aer", "heads"} & found.keys()


def load(**given):
    """The task with its data, as before the first step."""
    return BAHDANAU.task(resolve(BAHDANAU, "RNNsearch-50", given)).load()


def test_a_test_set_without_a_word_to_score_is_named_before_training(tmp_path):
    with pytest.raises(ValueError, match="split 'test' hold no words, so that there is nothing"):
        load(**write(tmp_path, test=[("w1", ""), ("w2", " ")]))
    with pytest.raises(ValueError, match="split 'test' hold no words"):
        load(**write(tmp_path, test=[("w1", "\x01")]), tokenizer="moses")


def test_a_score_that_cannot_decode_is_named_before_data_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "load", lambda *_: pytest.fail("data was read"))
    with pytest.raises(ValueError, match=r'"location" goes by the index of a key'):
        run(VASWANI, "base", tmp_path / "tiny", scale="tiny", score="location")


def test_bleu_while_training_needs_a_word_to_score(tmp_path):
    task = load(**write(tmp_path, test=AWKWARD, dev=[("w1", "")]), bleu_every=1)
    with pytest.raises(ValueError, match="split 'dev' hold no words"):
        task.evaluators()


def test_a_sentence_that_is_too_long_is_named_before_training(tmp_path):
    for split in ("dev", "test"):
        pairs = {"test": AWKWARD} | {split: [("w1", "w1"), ("w2 " * 70_000, "w2")]}
        with pytest.raises(ValueError, match=rf"split '{split}': 70000 source .* starts 'w2 w2"):
            folder = tmp_path / split
            folder.mkdir()
            load(**write(folder, **pairs))


def test_files_cut_into_subwords_are_named_before_training(tmp_path):
    with pytest.raises(ValueError, match=r"test\.fr, line 1: 'b@@ c' is cut into subwords"):
        load(**write(tmp_path, test=[("a", "b@@ c"), ("a b", "c@@ d"), ("a", "e@@ f")]))


def test_a_row_without_text_is_named_before_training(monkeypatch):
    rows = [{"translation": dict(zip(("en", "fr"), pair, strict=True))} for pair in TRAIN]
    module = types.ModuleType("datasets")
    monkeypatch.setitem(sys.modules, "datasets", module)
    for split in ("train", "validation", "test"):
        broken = [*rows, {"translation": {"en": "w1", "fr": None}}]
        splits = dict.fromkeys(("train", "validation", "test"), rows) | {split: broken}
        module.load_dataset = lambda *_, splits=splits: splits
        with pytest.raises(ValueError, match=f"split '{split}', row 124: its text in fr is None"):
            load(data="huggingface", dataset=f"broken-{split}")


def test_trees_without_a_bracket_are_named_before_training(tmp_path):
    (flat,) = parse_trees("(TOP (NN a))")
    (whole,) = parse_trees("(S (NN a))")
    with pytest.raises(ValueError, match="split 'test' hold no brackets"):
        check_references({"test": [flat]})
    check_references({"test": [flat, whole]})


def test_a_split_without_pairs_is_named():
    with pytest.raises(ValueError, match="split 'test' holds no pairs"):
        check_references({"test": []})
    with pytest.raises(ValueError, match="split 'dev' holds no pairs"):
        encode_split("dev", [], ())


def test_marks_in_text_are_scored_and_elsewhere_refused():
    lines = ["a@@ b ▁ c d", "w1"]
    assert scores.bleu(lines, lines).score == pytest.approx(100)
    assert scores.bleu(lines, lines, score=sacre_bleu).score == pytest.approx(100)
    assert scores.bleu(["a"], [" "]) is None and scores.bleu([], []) is None
    with pytest.raises(ValueError, match="still carries the subword mark"):
        tokenized_bleu(lines, lines)


def test_a_length_whose_references_hold_no_words_has_no_score():
    statistics = tokenized_statistics(["a b c d", "e", ""], ["a b c d", "", " "])
    spans = bleu_by_bucket([3, 12, 12], statistics, edges=(1, 10, 20, 30))
    assert [(span.count, span.bleu is None) for span in spans] == [(1, False), (2, True), (0, True)]
    assert not has_words([["", " "], ""]) and has_words([["", "a"]])
