"""Beam search over a toy model whose every sentence can be written out."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.decoding import Vocabulary, beam_search, length_penalty
from attn_research.decoding.search import top_tokens

PAD, BOS, EOS = 0, 1, 2
VOCABULARY = Vocabulary(PAD, BOS, EOS)
V, B = 6, 3
WORDS = range(3, V)
LIMITS = np.array([4, 2, 3])
# The hypotheses of at most 4 tokens that three words and an end allow: 1 + 3 + 9 + 27.
EVERY = 40


def make_tables(seed, scale=2.0):
    """Logits of the next token by sentence and by the last two tokens: a Markov model."""
    return np.float32(scale * np.random.default_rng(seed).normal(size=(B, V, V, V)))


def markov_step(tables, state, tokens):
    """The state is the last token but one, and which sentence this is."""
    before, sentence = state
    logits = tables[sentence, before, tokens]
    extras = {"saw": jnp.stack([before, tokens], axis=-1), "logit": logits[..., 3]}
    return logits, (tokens, sentence), extras


@functools.partial(
    jax.jit, static_argnames=("max_length", "beam_size", "forbidden", "alpha", "offset")
)
def search(tables, limits, *, beam_size, max_length=4, alpha=0.0, offset=5.0, forbidden=()):
    sentences = jnp.arange(limits.shape[0])[:, None]
    return beam_search(
        functools.partial(markov_step, tables),
        (jnp.full_like(sentences, BOS), sentences),
        limits,
        max_length=max_length,
        beam_size=beam_size,
        vocabulary=VOCABULARY._replace(forbidden=forbidden),
        alpha=alpha,
        offset=offset,
    )


def log_probability(table, tokens):
    """The model's own log probability of a sentence, BOS before it."""
    before, last, total = BOS, BOS, 0.0
    for token in tokens:
        logits = table[before, last].astype(np.float64)
        total += logits[token] - np.log(np.exp(logits).sum())
        before, last = last, token
    return total


def every_hypothesis(table, limit, alpha, offset=5, words=WORDS):
    """All sentences within the limit with their scores, best first."""
    found = []
    for length in range(limit):
        for body in itertools.product(words, repeat=length):
            tokens = (*body, EOS)
            penalty = ((offset + len(tokens)) / (offset + 1)) ** alpha
            score = log_probability(table, tokens) / penalty
            found.append((score, tokens))
    return sorted(found, reverse=True)


def sentences_of(found):
    """Per sentence the finished hypotheses as (tokens, score, log probability)."""
    tokens, lengths, log_probs, scores = map(np.asarray, found[:4])
    return [
        [
            (tuple(tokens[b, k, : lengths[b, k]].tolist()), scores[b, k], log_probs[b, k])
            for k in range(tokens.shape[1])
            if np.isfinite(scores[b, k])
        ]
        for b in range(tokens.shape[0])
    ]


def test_length_penalty():
    np.testing.assert_allclose(length_penalty(jnp.array([1, 7]), 0.5), [1.0, 2**0.5], rtol=1e-6)
    np.testing.assert_array_equal(length_penalty(jnp.array([1, 7]), 0.0), [1.0, 1.0])
    np.testing.assert_array_equal(length_penalty(jnp.array([1, 7]), 1.0, offset=0.0), [1.0, 7.0])


# With an alpha of 2 longer hypotheses often overtake finished ones, so none may be given up early.
@pytest.mark.parametrize(("alpha", "offset"), [(0.0, 5.0), (2.0, 5.0), (1.0, 0.0)])
def test_a_beam_of_full_width_is_exhaustive_search(alpha, offset):
    for seed in range(8):
        tables = make_tables(seed)
        beams = search(tables, LIMITS, beam_size=EVERY, alpha=alpha, offset=offset)
        found = sentences_of(beams)
        for b in range(B):
            score, tokens = every_hypothesis(tables[b], LIMITS[b], alpha, offset)[0]
            assert found[b][0][0] == tokens, (seed, b)
            np.testing.assert_allclose(found[b][0][1], score, rtol=1e-5)


@pytest.mark.parametrize(("beam_size", "alpha"), [(EVERY, 0.0), (3, 0.7)])
def test_hypotheses_are_finished_distinct_sorted_and_scored_by_the_model(beam_size, alpha):
    tables = make_tables(9)
    found = search(tables, LIMITS, beam_size=beam_size, alpha=alpha)
    assert np.isfinite(found.scores).sum() > B
    for b, hypotheses in enumerate(sentences_of(found)):
        assert len({tokens for tokens, _, _ in hypotheses}) == len(hypotheses) >= 1
        scores = [score for _, score, _ in hypotheses]
        assert scores == sorted(scores, reverse=True)
        for tokens, score, log_prob in hypotheses:
            assert len(tokens) <= LIMITS[b]
            assert tokens[-1] == EOS
            assert set(tokens[:-1]) <= set(WORDS)
            np.testing.assert_allclose(log_prob, log_probability(tables[b], tokens), rtol=1e-5)
            np.testing.assert_allclose(
                score, log_prob / ((5 + len(tokens)) / 6) ** alpha, rtol=1e-5
            )
    tokens, lengths = np.asarray(found.tokens), np.asarray(found.lengths)
    finished = np.isfinite(found.scores)
    after = np.arange(4) >= lengths[..., None]
    assert (tokens[after & finished[..., None]] == PAD).all()


def test_a_beam_of_one_is_greedy_search():
    for seed in range(8):
        tables = make_tables(seed, scale=1.0)
        found = sentences_of(search(tables, LIMITS, beam_size=1))
        for b in range(B):
            before, last, tokens = BOS, BOS, []
            while EOS not in tokens:
                scores = tables[b, before, last].copy()
                scores[[PAD, BOS]] = -np.inf
                best = int(scores.argmax()) if len(tokens) < LIMITS[b] - 1 else EOS
                before, last = last, best
                tokens.append(best)
            assert found[b][0][0] == tuple(tokens)


def test_a_sentence_does_not_depend_on_the_batch():
    tables = make_tables(4)
    together = search(tables, LIMITS, beam_size=3, alpha=0.7)
    for b in range(B):
        alone = search(tables[b : b + 1], LIMITS[b : b + 1], beam_size=3, alpha=0.7)
        for one, all_of_them in zip(alone[:4], together[:4], strict=True):
            np.testing.assert_allclose(one[0], all_of_them[b], rtol=1e-6)
    longer = search(tables, LIMITS, beam_size=3, alpha=0.7, max_length=9)
    assert sentences_of(longer) == sentences_of(together)
    assert longer.tokens.shape == (B, 3, 9)
    # A limit beyond max_length is max_length.
    shorter = search(tables, LIMITS, beam_size=3, alpha=0.7, max_length=2)
    expected = search(tables, np.minimum(LIMITS, 2), beam_size=3, alpha=0.7)
    assert sentences_of(shorter) == sentences_of(expected)


def test_forbidden_ids_are_never_produced():
    for seed in range(4):
        tables = make_tables(seed)
        tables[..., 4] += 5.0
        assert (np.asarray(search(tables, LIMITS, beam_size=EVERY).tokens) == 4).any()
        found = search(tables, LIMITS, beam_size=EVERY, forbidden=(4,))
        for b, hypotheses in enumerate(sentences_of(found)):
            assert not any(4 in tokens for tokens, _, _ in hypotheses)
            score, tokens = every_hypothesis(tables[b], LIMITS[b], 0.0, words=(3, 5))[0]
            assert hypotheses[0][0] == tokens
            np.testing.assert_allclose(hypotheses[0][2], score, rtol=1e-5)  # not renormalized


def test_extras_follow_the_path_of_a_hypothesis():
    tables = make_tables(5)
    found = search(tables, LIMITS, beam_size=3, alpha=0.7)
    saw, logit = np.asarray(found.extras["saw"]), np.asarray(found.extras["logit"])
    for b, hypotheses in enumerate(sentences_of(found)):
        for k, (tokens, _, _) in enumerate(hypotheses):
            path = [BOS, BOS, *tokens]
            for t in range(len(tokens)):
                assert saw[b, k, t].tolist() == path[t : t + 2]
                assert logit[b, k, t] == tables[b, path[t], path[t + 1], 3]


def test_a_length_limit_of_one_gives_only_the_end_symbol():
    tables = make_tables(6)
    # No sentence is shorter than its end symbol: a limit of 0 is one of 1.
    for limit, max_length in ((1, 4), (0, 4), (4, 1)):
        limits = np.full(B, limit)
        found = search(tables, limits, beam_size=3, alpha=0.7, max_length=max_length)
        for b, hypotheses in enumerate(sentences_of(found)):
            assert [tokens for tokens, _, _ in hypotheses] == [(EOS,)]
            np.testing.assert_allclose(hypotheses[0][2], log_probability(tables[b], (EOS,)), 1e-5)


@pytest.mark.parametrize("sizes", [dict(beam_size=0), dict(beam_size=1, max_length=0)])
def test_sizes_that_are_not_positive_are_refused(sizes):
    with pytest.raises(ValueError, match="must be positive"):
        search(make_tables(0), LIMITS, **sizes)


@pytest.mark.parametrize(("vocab_size", "count"), [(5, 3), (6, 6), (40, 4), (101, 3), (1000, 7)])
def test_top_tokens_equal_top_k(vocab_size, count):
    rng = np.random.default_rng(0)
    for values in (rng.normal(size=(2, 3, vocab_size)), rng.integers(0, 3, (2, 3, vocab_size))):
        logits = jnp.array(np.where(rng.random(values.shape) < 0.3, -np.inf, values), jnp.float32)
        for found, expected in zip(
            top_tokens(logits, count), jax.lax.top_k(logits, count), strict=True
        ):
            np.testing.assert_array_equal(found, expected)
