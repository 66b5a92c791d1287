"""Scores by source length: the members of each bucket, and empty buckets."""

import pytest

from attn_research.evaluation.bleu import sacre_bleu, tokenized_bleu
from attn_research.evaluation.by_length import bleu_by_bucket, bleu_by_window

LENGTHS = [3, 9, 10, 19, 60, 61, 2]
REFERENCES = [f"a b c d e{i}" for i in range(7)]
HYPOTHESES = [f"a b c d e{i if i % 2 else 'x'}" for i in range(7)]


def test_buckets_contain_both_edges_and_score_their_sentences():
    edges = (3, 10, 20, 30, 61)
    got = bleu_by_bucket(LENGTHS, HYPOTHESES, REFERENCES, edges=edges)
    spans = [(bucket.low, bucket.high, bucket.count) for bucket in got]
    assert spans == [(3, 9, 2), (10, 19, 2), (20, 29, 0), (30, 60, 1)]
    assert got[0].bleu == tokenized_bleu(HYPOTHESES[:2], REFERENCES[:2])
    assert got[1].bleu == tokenized_bleu(HYPOTHESES[2:4], REFERENCES[2:4])
    assert got[2].bleu is None
    assert got[3].center == 45


def test_windows_reach_half_width_to_each_side():
    got = bleu_by_window(LENGTHS, HYPOTHESES, REFERENCES, half_width=1, centers=[2, 10, 30, 60])
    assert [(window.center, window.count) for window in got] == [(2, 2), (10, 2), (30, 0), (60, 2)]
    assert got[1].bleu == tokenized_bleu(HYPOTHESES[1:3], REFERENCES[1:3])
    assert got[2].bleu is None


def test_buckets_take_another_score():
    edges = (3, 10)
    got = bleu_by_bucket(LENGTHS, HYPOTHESES, REFERENCES, edges=edges, score=sacre_bleu)
    assert "tok:13a" in got[0].bleu.signature


def test_invalid_buckets_and_windows_are_refused():
    with pytest.raises(ValueError, match="2 source lengths, 7 hypotheses and 7 references"):
        bleu_by_bucket([1, 2], HYPOTHESES, REFERENCES)
    with pytest.raises(ValueError, match="edges must rise"):
        bleu_by_bucket(LENGTHS, HYPOTHESES, REFERENCES, edges=(3, 3))
    with pytest.raises(ValueError, match="half_width must not be negative; got -1"):
        bleu_by_window(LENGTHS, HYPOTHESES, REFERENCES, half_width=-1)
