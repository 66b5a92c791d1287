"""Bracketed trees: reading, cleaning, writing as a line, and reading what a model wrote."""

import random
import zipfile

import pytest

from attn_research.data.text.corpus import Corpus, Pair
from attn_research.data.text.treebank import (
    SPLITS,
    Tree,
    Treebank,
    clean,
    from_linear,
    linearize,
    parse_trees,
)

TEXT = """
( (S
    (NP-SBJ-1 (DT The) (NN cat) )
    (VP (VBD seemed)
      (S
        (NP-SBJ (-NONE- *-1) )
        (VP (TO to)
          (VP (VB sleep)
            (NP=2 (NN \\/day) )
            (SBAR (-NONE- 0) (S (-NONE- *T*-1) ))))))
    (-LRB- -LRB-) (. .) ))

((NP (NP (NNP Paris) )))
"""
LINE = "(S (NP XX XX )NP (VP XX (S (VP XX (VP XX (NP XX )NP )VP )VP )S )VP XX XX )S"
WORDS = ("The", "cat", "seemed", "to", "sleep", "\\/day", "-LRB-", ".")


def read(line, words="a b c"):
    """What the reader makes of a line, as a line, and the number of repairs."""
    tree, num_repairs = from_linear(line, words.split())
    assert tree.words == tuple(words.split())
    return linearize(tree), num_repairs


def test_a_tree_is_read_cleaned_and_written():
    first, second = map(clean, parse_trees(TEXT))
    assert linearize(first) == LINE
    assert first.words == WORDS
    assert first.tags == ("DT", "NN", "VBD", "TO", "VB", "NN", "-LRB-", ".")
    assert second == Tree("TOP", (Tree("NP", (Tree("NP", (Tree("NNP", word="Paris"),)),)),))
    assert linearize(second) == "(NP (NP XX )NP )NP"  # a unary chain stays, of one label too


def test_a_tree_is_read_as_written():
    first, _ = parse_trees(TEXT)
    assert first.words == ("The", "cat", "seemed", "*-1", *WORDS[3:6], "0", "*T*-1", *WORDS[6:])
    assert first.children[0].children[0].label == "NP-SBJ-1"


def test_a_tree_without_an_outer_bracket_gets_one():
    bare, topped = parse_trees("(NP (NN a)) (TOP (NP (NN a)))")
    assert bare == topped == next(parse_trees("( (NP (NN a)) )"))
    assert list(parse_trees("\n")) == []


@pytest.mark.parametrize(
    ("label", "category"),
    [
        ("NP-SBJ-1", "NP"),
        ("NP=2", "NP"),
        ("PP-LOC=1-3", "PP"),
        ("ADVP|PRT", "ADVP|PRT"),
        ("-LRB-", "-LRB-"),
    ],
)
def test_functional_tags_go(label, category):
    assert clean(Tree(label, (Tree("NN", word="a"),))).label == category


def test_nothing_is_left_of_traces_alone():
    (tree,) = parse_trees("( (S (NP (-NONE- *) ) (VP (-NONE- *?*) )))")
    assert clean(tree) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(S (NN a))\n)", r"here, line 2: '\)' closes nothing"),
        ("\n(S\n(NN a)", r"here, line 2: '\(' is not closed"),
        ("(S (NN a)) b", "here, line 1: 'b' stands outside of a tree"),
        ("(S\n(NP))", r"here, line 2: \(NP\) is no tree; want \(LABEL word\)"),
        ("( )", r"here, line 1: \(\) is no tree"),
        ("(S (NN a b))", r"here, line 1: \(NN a b\) is no tree"),
        ("(S (NN a) b)", r"here, line 1: \(S \(NN \.\.\.\) b\) is no tree"),
        ("(S ((NN a)))", r"here, line 1: \(\(NN \.\.\.\)\) is no tree"),
    ],
)
def test_malformed_trees_name_the_line(text, message):
    with pytest.raises(ValueError, match=message):
        list(parse_trees(text, "here"))


def test_a_line_is_read_back():
    tree = clean(next(parse_trees(TEXT)))
    assert from_linear(LINE, WORDS, tree.tags) == (tree, 0)
    assert from_linear(LINE.split(), WORDS).tree.tags == ("XX",) * 8
    assert read("XX (NP XX )NP (NP XX )NP") == ("XX (NP XX )NP (NP XX )NP", 0)


@pytest.mark.parametrize(
    ("line", "repaired", "num_repairs"),
    [
        # Open at the end: closed.
        ("(S (NP XX )NP (VP XX XX", "(S (NP XX )NP (VP XX XX )VP )S", 2),
        # A closing bracket closes what is open inside its constituent, and no other.
        ("(S (NP XX (VP XX XX )NP )S", "(S (NP XX (VP XX XX )VP )NP )S", 1),
        ("(S XX )NP XX XX )S )S", "(S XX XX XX )S", 2),
        # Without words: dropped, here because the words are used up.
        ("(S XX XX (NP )NP XX )S", "(S XX XX XX )S", 1),
        ("(S XX XX XX (NP XX )NP )S", "(S XX XX XX )S", 2),
        # No token of a tree: dropped.
        ("(S <unk> XX ( XX (TOP ) DT XX )S", "(S XX XX XX )S", 5),
        # Words without an XX: children of the last outermost constituent.
        ("(S (NP XX )NP )S", "(S (NP XX )NP XX XX )S", 2),
        ("(S XX )S (NP XX )NP", "(S XX )S (NP XX XX )NP", 1),
        # ... or of TOP.
        ("XX", "XX XX XX", 2),
        ("(S XX )S XX", "(S XX )S XX XX", 1),
        ("(S", "XX XX XX", 5),  # closed, dropped, three words
        ("", "XX XX XX", 3),
    ],
)
def test_repairs(line, repaired, num_repairs):
    assert read(line) == (repaired, num_repairs)
    assert read(repaired) == (repaired, 0)


def test_tagged_lines_are_read_with_any_tag():
    tree = clean(next(parse_trees(TEXT)))
    line = linearize(tree, tagged=True)
    assert [token for token in line.split() if token[0] not in "()"] == list(tree.tags)
    assert from_linear(line, WORDS, tagged=True) == (tree, 0)
    assert from_linear(line, WORDS, tree.tags[::-1], tagged=True).tree.tags == tree.tags[::-1]
    # One word too few, one tag that is none: the last word has no tag.
    reading = from_linear("(S <unk> ( VB )S", ["a", "b", "c"], tagged=True)
    assert (reading.tree.tags, reading.num_repairs) == (("<unk>", "VB", "XX"), 2)


def test_any_output_gives_a_tree_over_the_words():
    tokens = ["(S", ")S", "(NP", ")NP", "XX", "XX", "<unk>"]
    rng = random.Random(0)
    for _ in range(500):
        line = " ".join(rng.choices(tokens, k=rng.randint(0, 15)))
        repaired, num_repairs = read(line)
        assert read(repaired) == (repaired, 0)
        assert (repaired == line) == (num_repairs == 0)


def test_deep_trees_are_read():
    line = "(S " * 5_000 + "XX" + " )S" * 5_000
    assert read(line, "a") == (line, 0)


def test_a_tree_without_words_is_refused():
    with pytest.raises(ValueError, match="one word at least"):
        from_linear("XX", [])


@pytest.fixture
def small(tmp_path):
    """Writes a treebank with one tree a file, and the text of some files replaced."""

    def write(changes=()):
        (tmp_path / "treebank").mkdir(exist_ok=True)
        with zipfile.ZipFile(tmp_path / "treebank" / "treebank.zip", "w") as archive:
            for number in range(1, 200):
                text = dict(changes).get(number, f"\n( (NP-SBJ (CD {number}) ) )\n")
                if text:
                    archive.writestr(f"treebank/combined/wsj_{number:04}.mrg", text)
        return tmp_path

    return write


def test_splits_are_by_file(small):
    corpus = Treebank(small())
    assert isinstance(corpus, Corpus)
    assert corpus.languages == ("en", "tree")
    files = [int(pair.source) for name in SPLITS for pair in corpus.split(name)]
    assert files == list(range(1, 200))
    assert corpus.split("test")[0] == Pair("180", "(NP XX )NP")
    tagged = Treebank(small(), tagged=True)
    assert tagged.languages == ("en", "tagged")
    assert tagged.split("test")[0] == Pair("180", "(NP CD )NP")
    assert corpus.trees("dev")[-1] == Tree("TOP", (Tree("NP", (Tree("CD", word="179"),)),))


def test_fingerprints_see_words_trees_and_tags(small):
    texts = ["( (NP (NN a)) )", "( (NP (NN b)) )", "( (VP (NN a)) )", "( (NP (JJ a)) )"]
    prints = [Treebank(small({199: text})).fingerprint("test") for text in texts]
    assert len(set(prints)) == 4
    assert Treebank(small({199: texts[0]})).fingerprint("test") == prints[0]
    assert Treebank(small({160: texts[0]})).fingerprint("test") not in prints


def test_missing_or_damaged_data_is_refused(tmp_path, small):
    with pytest.raises(FileNotFoundError, match=r"treebank\.zip; .*--data_dir or ATTN_DATA_DIR$"):
        Treebank(tmp_path).split("test")
    folder = small({199: "\n( (S (NN a)\n"})
    with pytest.raises(ValueError, match=r"treebank\.zip, .*/wsj_0199\.mrg, line 2: '\(' is not"):
        Treebank(folder).split("test")
    with pytest.raises(ValueError, match=r"not the zip of the treebank .*wsj_0165\.mrg"):
        Treebank(small({165: None})).split("dev")
    (folder / "treebank" / "treebank.zip").write_bytes(b"text")
    with pytest.raises(ValueError, match="not the zip of the treebank sample"):
        Treebank(folder).split("dev")
    with pytest.raises(ValueError, match="no split 'val': the treebank has train, dev, test"):
        Treebank(folder).split("val")


@pytest.fixture(scope="module")
def real(data_dir):
    return {name: Treebank(data_dir).trees(name) for name in SPLITS}


def test_real_counts(real):
    counts = {
        name: (len(trees), sum(len(tree.words) for tree in trees)) for name, trees in real.items()
    }
    assert counts == {"train": (3_396, 81_793), "dev": (273, 6_327), "test": (245, 5_964)}
    files = [number for numbers in SPLITS.values() for number in numbers]
    assert sorted(files) == list(range(1, 200))  # none in two splits
    assert all(len(tree.children) == 1 for trees in real.values() for tree in trees)


def test_real_sentences_in_two_splits_are_few(real):
    known = {tree.words for tree in real["train"]}
    assert {name: len({t.words for t in real[name]} & known) for name in ("dev", "test")} == {
        "dev": 0,
        "test": 2,
    }


def test_real_trees_survive_the_round_trip(real):
    for trees in real.values():
        for tree in trees:
            tagged = linearize(tree, tagged=True)
            assert from_linear(tagged, tree.words, tagged=True) == (tree, 0)
            line = linearize(tree)
            assert from_linear(line, tree.words, tree.tags) == (tree, 0)
            assert line.split().count("XX") == len(tree.words)
            assert "-NONE-" not in tree.tags


def test_real_labels(real):
    def labels(tree):
        yield tree.label
        for child in tree.children:
            if child.children:
                yield from labels(child)

    found = {label for trees in real.values() for tree in trees for label in labels(tree)}
    assert len(found) == 28
    assert found >= {"TOP", "S", "NP", "VP", "SBAR", "PRT", "ADVP|PRT"}
    assert not any(mark in label for label in found for mark in "-=0123456789")


def test_a_real_pair(data_dir, real):
    pairs = Treebank(data_dir).split("test")
    assert [pair.source.split() for pair in pairs] == [list(tree.words) for tree in real["test"]]
    first = real["train"][0]
    assert first.words[:5] == ("Pierre", "Vinken", ",", "61", "years")
    assert linearize(first).startswith(
        "(S (NP (NP XX XX )NP XX (ADJP (NP XX XX )NP XX )ADJP XX )NP"
    )
