"""Alignment links and their error rate, by hand and on published gold files."""

import numpy as np
import pytest

from attn_research.data.text.aligned import AlignedText
from attn_research.evaluation.alignment import (
    Gold,
    alignment_error,
    links_from_weights,
    soft_links,
    words_from_pieces,
)

GOLD = [
    Gold(sure=frozenset({(0, 0), (1, 1)}), possible=frozenset({(1, 2), (2, 1)})),
    Gold(sure=frozenset({(0, 0)}), possible=frozenset()),
]


def test_alignment_error_by_hand():
    # |A| = 3 + 1, |A & S| = 1 + 0, |A & P| = 2 + 0, |S| = 2 + 1.
    predicted = [{(0, 0), (1, 2), (2, 2)}, {(1, 0)}]
    got = alignment_error(predicted, GOLD)
    assert got.error_rate == pytest.approx(1 - 3 / 7)
    assert got.precision == pytest.approx(2 / 4)
    assert got.recall == pytest.approx(1 / 3)


def test_sizes_are_summed_over_the_corpus():
    predicted = [{(0, 0), (1, 1)}, {(4, 4)}]
    # Averaged over sentences it would be (0 + 1) / 2.
    assert alignment_error(predicted, GOLD).error_rate == pytest.approx(1 - 4 / 6)


def test_perfect_and_empty_alignments():
    perfect = [pair.sure for pair in GOLD]
    assert alignment_error(perfect, GOLD).error_rate == 0
    nothing = alignment_error([frozenset(), frozenset()], GOLD)
    assert (nothing.error_rate, nothing.precision, nothing.recall) == (1, 0, 0)


def test_extra_possible_links_cost_nothing():
    got = alignment_error([GOLD[0].possible, GOLD[1].sure], GOLD)
    assert (got.error_rate, got.precision, got.recall) == (0, 1, 1)


def test_soft_links_count_by_weight():
    got = alignment_error([{(0, 0): 0.5, (2, 1): 0.25, (3, 3): 0.25}, {(0, 0): 1.0}], GOLD)
    # |A| = 2, |A & S| = 1.5, |A & P| = 1.75, |S| = 3.
    assert got.error_rate == pytest.approx(1 - 3.25 / 5)
    assert got.precision == pytest.approx(1.75 / 2)


def test_invalid_alignments_are_refused():
    with pytest.raises(ValueError, match="1 predicted alignments but 2 gold"):
        alignment_error([set()], GOLD)
    with pytest.raises(ValueError, match="no sure link"):
        alignment_error([{(0, 0)}], [Gold(frozenset(), frozenset({(0, 0)}))])


# T=3 words and an end row, S=4 words, an end column and a column of padding.
WEIGHTS = np.array(
    [
        [0.1, 0.6, 0.1, 0.1, 0.1, 0.0],
        [0.0, 0.0, 0.1, 0.3, 0.6, 0.0],  # most on the end symbol: linked to source 3
        [0.4, 0.1, 0.4, 0.1, 0.0, 0.0],  # a tie: the first
        [0.0, 0.0, 0.0, 0.0, 1.0, 0.0],
    ]
)


def test_links_exclude_the_end_symbol():
    got = links_from_weights(WEIGHTS, source_length=4, target_length=3)
    assert got == {(1, 0), (3, 1), (0, 2)}


def test_links_of_the_input_word_of_a_step():
    # Word j takes row j + 1, and the last word the end symbol's row, here all on the end column.
    got = links_from_weights(WEIGHTS, source_length=4, target_length=3, row_of="input")
    assert got == {(3, 0), (0, 1), (0, 2)}
    soft = soft_links(WEIGHTS, source_length=4, target_length=3, row_of="input")
    assert len(soft) == 12
    assert (soft[(3, 0)], soft[(2, 1)], soft[(0, 2)]) == (0.3, 0.4, 0.0)


def test_soft_links_exclude_the_end_symbol():
    got = soft_links(WEIGHTS, source_length=4, target_length=3)
    assert len(got) == 12
    assert got[(1, 0)] == 0.6
    assert (4, 1) not in got


def test_weights_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="4 target rows and 6 source columns cannot hold 5 target"):
        links_from_weights(WEIGHTS, source_length=4, target_length=5)
    with pytest.raises(ValueError, match=r"cannot hold 4 target .*that of the input word"):
        links_from_weights(WEIGHTS, source_length=4, target_length=4, row_of="input")
    assert len(links_from_weights(WEIGHTS, source_length=4, target_length=4)) == 4
    with pytest.raises(ValueError, match="0 source words"):
        links_from_weights(WEIGHTS, source_length=0, target_length=3)
    with pytest.raises(ValueError, match="not finite"):
        links_from_weights(np.full((2, 3), np.nan), source_length=3, target_length=2)


def test_words_from_pieces():
    weights = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.2, 0.7, 0.1], [0.0, 0.0, 1.0]])
    got = words_from_pieces(weights, [0, 0, 1], [0, 1, 1, 2])
    np.testing.assert_allclose(got, [[0.8, 0.2], [0.55, 0.45], [0.0, 1.0]])
    np.testing.assert_allclose(got.sum(axis=1), 1)
    np.testing.assert_array_equal(words_from_pieces(weights, [0, 1, 2], [0, 1, 2, 3]), weights)


def test_invalid_groups_of_pieces_are_refused():
    weights = np.ones((2, 3))
    with pytest.raises(ValueError, match="2 source groups for weights with 3 source pieces"):
        words_from_pieces(weights, [0, 1], [0, 1])
    with pytest.raises(ValueError, match="target groups must count up from 0"):
        words_from_pieces(weights, [0, 0, 1], [1, 2])
    with pytest.raises(ValueError, match="source groups must count up from 0"):
        words_from_pieces(weights, [0, 1, 0], [0, 1])


def test_error_of_the_diagonal_on_real_gold(data_dir):
    pairs = AlignedText("hansards", data_dir).split("test")
    gold = [Gold(pair.sure, pair.possible) for pair in pairs]
    # The diagonal is a known weak aligner for English and French: far from 0, far from 1.
    diagonal = [{(i, i) for i in range(len(pair.target.split()))} for pair in pairs]
    assert 0.3 < alignment_error(diagonal, gold).error_rate < 0.9
