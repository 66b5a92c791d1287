"""Perplexity and bits of log-probabilities."""

import math

import pytest

from attn_research.evaluation.likelihood import LineLikelihood, bits, perplexity, total


@pytest.mark.parametrize("vocab_size", [2, 65, 50_257])
def test_the_perplexity_of_a_uniform_model_is_the_size_of_its_vocabulary(vocab_size):
    log_prob = -7 * math.log(vocab_size)
    assert perplexity(log_prob, 7) == pytest.approx(vocab_size)
    assert bits(log_prob, 7) == pytest.approx(math.log2(vocab_size))


def test_sums_over_lines_come_before_the_quotient():
    lines = [LineLikelihood(1, 1, 4, -1.0), LineLikelihood(9, 3, 20, -27.0)]
    sums = total(lines)
    assert sums == LineLikelihood(10, 4, 24, -28.0)
    assert perplexity(sums.log_prob, sums.tokens) == pytest.approx(math.exp(2.8))
    assert total([]) == LineLikelihood(0, 0, 0, 0.0)


def test_a_perplexity_beyond_all_numbers_is_infinite():
    assert perplexity(-1e6, 3) == math.inf
