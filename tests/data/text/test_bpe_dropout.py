"""Merges left out at random: the same text, in other pieces."""

import random

import numpy as np
import pytest

from attn_research.data.grammar.grammar import Grammar
from attn_research.data.text.bpe_dropout import apply_bpe_dropout, segment
from attn_research.data.text.corpus import Pair
from attn_research.data.text.encoding import encode_pairs
from attn_research.data.text.tokenizers import SubwordTokenizer


@pytest.fixture(scope="module")
def corpus():
    pairs = list(Grammar(train_size=60, test_size=6).split("train"))
    tokenizer = SubwordTokenizer.train([side for p in pairs for side in p[:2]], vocab_size=300)
    return pairs, tokenizer, encode_pairs(pairs, tokenizer, tokenizer)


def sides(encoded):
    return [side.tolist() for pair in encoded for side in pair]


def test_without_dropout_it_is_the_tokenizer(corpus):
    _, tokenizer, encoded = corpus
    assert sides(apply_bpe_dropout(encoded, tokenizer, 0.0, seed=0)) == sides(encoded)


def test_the_text_stays_and_the_pieces_change(corpus):
    pairs, tokenizer, encoded = corpus
    found = apply_bpe_dropout(encoded, tokenizer, 0.2, seed=0, copies=2)
    assert len(found) == 2 * len(pairs)
    for i, pair in enumerate(pairs * 2):
        assert [tokenizer.decode(side) for side in found[i]] == list(pair[:2])
    first, second = sides(found)[: 2 * len(pairs)], sides(found)[2 * len(pairs) :]
    assert np.mean([a != b for a, b in zip(first, second, strict=True)]) > 0.9
    assert found.lengths.sum() > 2.1 * encoded.lengths.sum()


def test_it_is_a_function_of_its_arguments(corpus):
    _, tokenizer, encoded = corpus
    one, again, other = (
        sides(apply_bpe_dropout(encoded, tokenizer, 0.2, seed)) for seed in (1, 1, 2)
    )
    assert one == again != other


def test_every_merge_left_out_leaves_characters(corpus):
    _, tokenizer, encoded = corpus
    found = apply_bpe_dropout(encoded, tokenizer, 1.0, seed=0)
    pieces = tokenizer.pieces()
    assert {len(pieces[i]) for side in sides(found) for i in side} == {1}


def test_unknown_characters_are_left_as_they_are(corpus):
    _, tokenizer, _ = corpus
    encoded = encode_pairs([Pair("the 猫 .", "le 猫 .")], tokenizer, tokenizer)
    assert sides(apply_bpe_dropout(encoded, tokenizer, 0.0, seed=0)) == sides(encoded)


def test_merges_are_taken_best_first_and_passed_over():
    ranks = {"ab": 0, "bc": 1, "abc": 2}
    assert segment("abc", ranks, 0.0, random.Random(0)) == ["abc"]
    assert segment("abc", {"bc": 0, "ab": 1}, 0.0, random.Random(0)) == ["a", "bc"]
    found = {tuple(segment("abc", ranks, 0.5, random.Random(seed))) for seed in range(50)}
    assert found == {("a", "b", "c"), ("ab", "c"), ("a", "bc"), ("abc",)}
