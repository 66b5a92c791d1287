"""Bracket scores by hand: spans without punctuation, multisets, and counts over the corpus."""

import pytest

from attn_research.data.text.treebank import Treebank, from_linear, linearize, parse_trees
from attn_research.evaluation.parsing import bracket_score, count_brackets


def tree(text):
    (found,) = parse_trees(text)
    return found


def spans(text):
    found = tree(text)
    return dict(count_brackets(found, found.tags))


GOLD = tree(
    "(S (NP (DT the) (NN dog))"
    " (VP (VBD saw) (NP (DT a) (NN cat)) (PP (IN in) (NP (NN May)))) (. .))"
)
# The phrase inside the object: its span is new, and the object's own is found.
GUESS = tree(
    "(S (NP (DT the) (NN dog))"
    " (VP (VBD saw) (NP (NP (DT a) (NN cat)) (PP (IN in) (NP (NN May))))) (. .))"
)


def test_brackets_by_hand():
    want = {("S", 0, 7): 1, ("NP", 0, 2): 1, ("VP", 2, 7): 1}
    want |= {("NP", 3, 5): 1, ("PP", 5, 7): 1, ("NP", 6, 7): 1}
    assert dict(count_brackets(GOLD, GOLD.tags)) == want
    assert dict(count_brackets(GUESS, GOLD.tags)) == want | {("NP", 3, 7): 1}


def test_score_by_hand():
    got = bracket_score([GUESS], [GOLD])
    assert (got.num_matched, got.num_predicted, got.num_gold) == (6, 7, 6)
    assert (got.precision, got.recall) == (pytest.approx(600 / 7), 100)
    assert got.f1 == pytest.approx(1200 / 13)
    assert got.f1 == pytest.approx(2 * got.precision * got.recall / (got.precision + got.recall))
    assert (got.exact_match, got.num_sentences) == (0, 1)
    want = "F1 = 92.31, P = 85.71, R = 100.00 (6 of 7 predicted, 6 gold), exact = 0.00 of 1"
    assert str(got) == want


def test_precision_and_recall_swap_with_the_arguments():
    there, back = bracket_score([GUESS], [GOLD]), bracket_score([GOLD], [GUESS])
    assert (there.precision, there.recall) == (back.recall, back.precision)
    assert there.f1 == back.f1


def test_counts_are_summed_over_the_corpus():
    small, wrong = tree("(NP (NN a) (NN b))"), tree("(VP (NN a) (NN b))")
    got = bracket_score([GUESS, wrong, small], [GOLD, small, small])
    assert (got.num_matched, got.num_predicted, got.num_gold) == (7, 9, 8)
    assert got.f1 == pytest.approx(1400 / 17)
    assert got.exact_match == pytest.approx(100 / 3)


def test_punctuation_is_in_no_span():
    assert spans("(S (`` ``) (NP (NN a) (, ,)) ('' '') (VP (VB b)) (: --) (. ?))") == {
        ("S", 0, 2): 1,
        ("NP", 0, 1): 1,
        ("VP", 1, 2): 1,
    }
    # Of punctuation alone: no bracket. Brackets and currency signs are words.
    assert spans("(S (PRN (: --)) (NP ($ $) (CD 1)) (-RRB- -RRB-))") == {
        ("S", 0, 3): 1,
        ("NP", 0, 2): 1,
    }


def test_gold_tags_determine_punctuation():
    gold = tree("(S (NP (NN a) (, ,)) (VP (VB b)) (. .))")
    guess = from_linear("(S (NP XX )NP XX (VP XX XX )VP )S", gold.words).tree
    assert bracket_score([guess], [gold]).exact_match == 100
    # Wrong tags of a prediction change nothing.
    tagged = from_linear(linearize(guess), gold.words, [".", "NN", ".", "."]).tree
    assert bracket_score([tagged], [gold]) == bracket_score([guess], [gold])


def test_particles_are_adverbs():
    assert spans("(VP (VB a) (PRT (RP b)) (ADVP (RB c)) (PP (ADVP (PRT (RP d)))))") == {
        ("VP", 0, 4): 1,
        ("ADVP", 1, 2): 1,
        ("ADVP", 2, 3): 1,
        ("PP", 3, 4): 1,
        ("ADVP", 3, 4): 2,
    }


def test_a_repeated_bracket_matches_once_each():
    once, twice = tree("(S (NP (NN a)) (VB b))"), tree("(S (NP (NP (NN a))) (VB b))")
    got = bracket_score([twice], [once])
    assert (got.num_matched, got.num_predicted, got.num_gold) == (2, 3, 2)
    assert bracket_score([twice], [twice]).exact_match == 100


def test_an_empty_prediction_scores_zero():
    got = bracket_score([from_linear("", GOLD.words).tree], [GOLD])
    assert (got.precision, got.recall, got.f1, got.num_predicted) == (0, 0, 0, 0)


def test_sentences_of_punctuation_alone_are_left_out():
    dots = tree("(NP (: ...) (. .))")
    got = bracket_score([dots, GOLD], [dots, GOLD])
    assert (got.num_sentences, got.exact_match, got.num_gold) == (1, 100, 6)
    with pytest.raises(ValueError, match="no bracket, so recall is undefined"):
        bracket_score([dots], [dots])


def test_mismatched_trees_are_refused():
    small = tree("(NP (NN a) (NN b))")
    with pytest.raises(ValueError, match="1 predicted trees but 2 gold"):
        bracket_score([small], [small, small])
    with pytest.raises(ValueError, match="sentence 1: the predicted tree has 2 words, the gold 8"):
        bracket_score([small, small], [small, GOLD])
    with pytest.raises(ValueError, match="sentence 0, word 1: 'c' in the predicted tree, 'b' in"):
        bracket_score([tree("(NP (NN a) (NN c))")], [small])
    with pytest.raises(ValueError, match="1 tags for a tree of 2 words"):
        count_brackets(small, ["NN"])


def test_deep_trees_are_scored():
    deep = from_linear("(S " * 5_000 + "XX", ["a"]).tree
    assert bracket_score([deep], [tree("(S (NN a))")]).precision == pytest.approx(100 / 5_000)


def test_scores_of_real_trees(data_dir):
    gold = Treebank(data_dir).trees("test")
    read = [from_linear(linearize(t), t.words).tree for t in gold]
    same = bracket_score(read, gold)
    assert (same.f1, same.exact_match, same.num_sentences) == (100, 100, 245)
    # One flat sentence: nearly every tree's outermost bracket, and no other.
    flat = [from_linear("(S " + "XX " * len(t.words) + ")S", t.words).tree for t in gold]
    got = bracket_score(flat, gold)
    assert got.num_predicted == 245
    assert got.precision > 85
    assert got.recall < 10
