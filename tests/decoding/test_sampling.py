"""Sampling: the tokens that are kept, and how often each is drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.decoding.sampling import Sampling, keep_top_k, keep_top_p

PROBABILITIES = np.array([0.1, 0.4, 0.05, 0.25, 0.2])
LOGITS = jnp.log(jnp.asarray(PROBABILITIES, jnp.float32))
NUM_DRAWS = 4000


def kept(logits):
    return np.flatnonzero(np.isfinite(np.asarray(logits))).tolist()


@pytest.mark.parametrize(("k", "expected"), [(1, [1]), (3, [1, 3, 4]), (9, [0, 1, 2, 3, 4])])
def test_the_most_probable_tokens_are_kept(k, expected):
    assert kept(keep_top_k(LOGITS, k)) == expected


@pytest.mark.parametrize(
    ("p", "expected"), [(0.39, [1]), (0.41, [1, 3]), (0.84, [1, 3, 4]), (1.0, [0, 1, 2, 3, 4])]
)
def test_the_nucleus_is_the_fewest_tokens_of_a_probability(p, expected):
    assert kept(keep_top_p(LOGITS, p)) == expected


def test_kept_logits_stay_as_they_are_in_every_row():
    rows = jnp.stack([LOGITS, LOGITS[::-1]])
    found = keep_top_p(keep_top_k(rows, 2), 0.99)
    np.testing.assert_array_equal(found[0], keep_top_k(LOGITS, 2))
    assert kept(found[1]) == [1, 3] and found[1, 3] == LOGITS[1]


def frequencies(**options):
    rows = jnp.broadcast_to(LOGITS, (NUM_DRAWS, len(LOGITS)))
    keys = jax.random.split(jax.random.key(3), NUM_DRAWS)
    tokens = jax.jit(Sampling(**{"temperature": 1.0, **options}).draw)(rows, keys)
    return np.bincount(np.asarray(tokens), minlength=len(LOGITS)) / NUM_DRAWS


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, PROBABILITIES),
        ({"temperature": 0.5}, PROBABILITIES**2),
        ({"temperature": 2.0, "top_k": 2}, np.sqrt(PROBABILITIES) * [0, 1, 0, 1, 0]),
        ({"top_p": 0.8}, PROBABILITIES * [0, 1, 0, 1, 1]),
        ({"temperature": 0.0}, [0, 1, 0, 0, 0]),
    ],
)
def test_tokens_are_drawn_as_often_as_they_are_probable(options, expected):
    expected = np.asarray(expected) / np.sum(expected)
    error = np.sqrt(expected * (1 - expected) / NUM_DRAWS)
    assert (np.abs(frequencies(**options) - expected) <= 4 * error).all()


def test_the_draw_of_a_row_does_not_depend_on_the_others():
    rows = jax.random.normal(jax.random.key(1), (6, 11))
    keys, order = jax.random.split(jax.random.key(2), 6), jnp.array([4, 0, 5])
    draw = jax.jit(Sampling(1.0).draw)
    found = draw(rows, keys)
    np.testing.assert_array_equal(found[order], draw(rows[order], keys[order]))
    assert len(set(np.asarray(draw(jnp.broadcast_to(rows[:1], rows.shape), keys)).tolist())) > 1


@pytest.mark.parametrize(
    ("function", "value"), [(keep_top_k, 0), (keep_top_p, 0.0), (keep_top_p, 2.0)]
)
def test_values_that_keep_nothing_are_refused(function, value):
    with pytest.raises(ValueError, match=f"top_. {value}: give"):
        function(LOGITS, value)
