"""Timestamps: what the rules allow, in beams of random logits, and segments of tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.decoding import Vocabulary, beam_search
from attn_research.decoding.timestamps import TimeRules, TimeState, follow, segments

# Words 0 to 5, the end 6, the start 7, "no times" 8, times from 9 on.
RULES, START, SIZE = TimeRules(first=9, end=6, no_times=8, most_first=2), 7, 20


def allowed(*tokens):
    """The ids that may follow some tokens, where words are likelier than times."""
    logits = jnp.where(jnp.arange(SIZE) < 9, 5.0, 0.0)[None, None]
    state, previous = TimeState.empty((1, 1)), START
    for token in (*tokens, None):
        found, state = follow(RULES, state, jnp.array([[previous]]), logits)
        previous = token
    return np.flatnonzero(np.asarray(found)[0, 0] > -1e8).tolist()


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ((), [9, 10, 11]),
        ((10,), [*range(8)]),
        ((10, 3), [*range(8), *range(11, 20)]),
        ((10, 3, 14), [6, 7, *range(14, 20)]),  # the end, or the start of another segment
        ((10, 3, 14, 14), [*range(8)]),
        ((10, 3, 14, 14, 2), [*range(8), *range(15, 20)]),
    ],
)
def test_what_may_follow(tokens, expected):
    assert allowed(*tokens) == expected


def test_times_that_are_together_likelier_than_each_word_leave_no_words():
    logits = jnp.where(jnp.arange(SIZE) < 9, 1.0, 0.0)[None, None]  # 9 times of e^0 and words of e
    state = TimeState(jnp.array([[2]]), jnp.array([[True]]), jnp.array([[10]]))
    found, _ = follow(RULES, state, jnp.array([[3]]), logits)
    assert np.flatnonzero(np.asarray(found)[0, 0] > -1e8).tolist() == [*range(11, 20)]


@pytest.mark.parametrize("beam_size", [1, 3])
def test_texts_of_random_logits_keep_the_rules(beam_size):
    table = 2 * jax.random.normal(jax.random.key(0), (SIZE, SIZE))
    table = table.at[:, START].set(-jnp.inf)

    def step(state, tokens):
        logits, after = follow(RULES, state, tokens, table[tokens] + state.count[..., None] % 3)
        return logits, after, ()

    found = beam_search(
        step,
        TimeState.empty((8, 1)),
        jnp.full(8, 24, jnp.int32),
        max_length=24,
        beam_size=beam_size,
        vocabulary=Vocabulary(START, START, RULES.end),
    )
    for tokens, length in zip(found.tokens[:, 0], found.lengths[:, 0], strict=True):
        said = [token for token in np.asarray(tokens)[: int(length)].tolist() if token != RULES.end]
        times = [token for token in said if token >= RULES.first]
        assert 9 <= said[0] <= 11 and times == sorted(times) and RULES.no_times not in said
        kinds = "".join("t" if token >= RULES.first else "w" for token in said)
        assert "ttt" not in kinds and not kinds.startswith("tt")
        rest = [token for _, _, words in segments(RULES, said) for token in words]
        assert rest == [token for token in said if token < RULES.end]


def test_segments_of_tokens():
    assert segments(RULES, [10, 3, 4, 14, 15, 2, 18]) == [(1, 5, [3, 4]), (6, 9, [2])]
    assert segments(RULES, [10, 3, 4]) == [(1, None, [3, 4])]
    assert segments(RULES, []) == segments(RULES, [10]) == []
