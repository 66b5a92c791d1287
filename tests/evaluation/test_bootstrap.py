"""BLEU of counts, and bootstrapped differences."""

import numpy as np
import pytest

from attn_research.evaluation.bleu import bleu_counts, tokenized_bleu
from attn_research.evaluation.bootstrap import bleu_by_order, bleu_difference

REFERENCES = [
    ["a red circle is left of a blue square", "a circle is red"],
    ["there is a green cross"],
    ["a white 7 is above a red 1 and below it", "a white 7"],
]
GOOD = ["a red circle is left of a square", "there is a green cross here", "a white 7 is above a 1"]
BAD = ["a circle", "there is a blue cross", "a white 7 is above a 1 and a 2"]


def test_counts_add_up_to_bleu():
    for captions in (GOOD, BAD):
        found = tokenized_bleu(captions, REFERENCES)
        ours = bleu_by_order(bleu_counts(captions, REFERENCES).sum(axis=0))
        assert ours[3] == pytest.approx(found.score, abs=1e-9)
        assert ours[0] == pytest.approx(found.precisions[0] * found.brevity_penalty)
        two = np.sqrt(found.precisions[0] * found.precisions[1]) * found.brevity_penalty
        assert ours[1] == pytest.approx(two)
    assert bleu_by_order(bleu_counts(["x y z w v"], ["a b"]).sum(axis=0)).tolist() == [0, 0, 0, 0]


def test_the_interval_holds_the_difference():
    many = 20 * REFERENCES
    good, bad = (bleu_counts(20 * captions, many)[None] for captions in (GOOD, BAD))
    found = bleu_difference(np.concatenate([good, bad]), bad)
    alone = bleu_difference(good, bad)
    assert found.low < found.difference < found.high
    assert found.difference == pytest.approx(alone.difference / 2)
    assert alone.low > 0 and alone == bleu_difference(good, bad)
    same = bleu_difference(bad, bad)
    assert tuple(same) == (0, 0, 0)
