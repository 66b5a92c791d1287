"""Scores of classes and numbers, by hand and beside scikit-learn and SciPy."""

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from attn_research.evaluation import classification as score

GOLD = ["yes", "yes", "no", "no", "no", "yes", "no"]
FOUND = ["yes", "no", "no", "yes", "no", "yes", "no"]  # tp 2, fn 1, fp 1, tn 3


def test_two_classes_by_hand():
    assert score.accuracy(FOUND, GOLD) == 5 / 7
    assert score.f1(FOUND, GOLD, "yes") == 2 * 2 / (2 * 2 + 1 + 1)
    assert score.f1(FOUND, GOLD, "no") == 2 * 3 / (2 * 3 + 1 + 1)
    assert score.macro_f1(FOUND, GOLD) == pytest.approx((2 / 3 + 3 / 4) / 2)
    expected = (2 * 3 - 1 * 1) / np.sqrt(3 * 3 * 4 * 4)
    assert score.matthews_correlation(FOUND, GOLD) == pytest.approx(expected)


@pytest.mark.parametrize("num_classes", [2, 3, 7])
def test_classes_beside_scikit_learn(num_classes):
    rng = np.random.default_rng(num_classes)
    gold = rng.integers(0, num_classes, 83)
    found = np.where(rng.random(83) < 0.6, gold, rng.integers(0, num_classes, 83)).tolist()
    gold = gold.tolist()
    assert score.accuracy(found, gold) == pytest.approx(sklearn.metrics.accuracy_score(gold, found))
    there = sklearn.metrics.matthews_corrcoef(gold, found)
    assert 0.2 < there < 1 and score.matthews_correlation(found, gold) == pytest.approx(there)
    there = sklearn.metrics.f1_score(gold, found, average="macro")
    assert score.macro_f1(found, gold) == pytest.approx(there)
    each = sklearn.metrics.f1_score(gold, found, average=None)
    assert [score.f1(found, gold, k) for k in range(num_classes)] == pytest.approx(list(each))


def test_correlations_with_ties_beside_scipy():
    rng = np.random.default_rng(5)
    gold = rng.integers(0, 6, 61) / 2
    found = np.round(gold + rng.normal(0, 1, 61), 1)
    assert len(set(found)) < 61
    there = scipy.stats.spearmanr(found, gold).statistic
    assert score.spearman_correlation(found, gold) == pytest.approx(there)
    assert score.pearson_correlation(found, gold) == pytest.approx(
        scipy.stats.pearsonr(found, gold)[0]
    )
    assert score.spearman_correlation(found, gold) == pytest.approx(
        score.spearman_correlation(np.exp(found), gold)
    )


def test_equal_numbers_share_the_mean_of_their_ranks():
    # Ranks 1, 2.5, 2.5, 4 and 2, 1, 3, 4: the product of deviations is 3, their lengths √4.5, √5.
    found = score.spearman_correlation([10, 20, 20, 30], [5, 1, 7, 9])
    assert found == pytest.approx(3 / np.sqrt(4.5 * 5))


def test_constant_predictions_have_no_correlation():
    assert score.matthews_correlation(["no"] * 7, GOLD) == 0
    assert score.spearman_correlation([0.1] * 3, [1.0, 2.0, 3.0]) == 0
    assert score.pearson_correlation([0.1] * 3, [1.0, 2.0, 3.0]) == 0
    assert score.f1(["no"] * 7, GOLD, "yes") == 0 and score.f1(["no"], ["no"], "yes") == 0


SCORES = score.accuracy, score.macro_f1, score.matthews_correlation, score.spearman_correlation


@pytest.mark.parametrize("measure", SCORES)
def test_counts_that_disagree_are_refused(measure):
    with pytest.raises(ValueError, match="2 predictions for 3 examples"):
        measure([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="no examples to score"):
        measure([], [])
