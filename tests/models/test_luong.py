"""Stacked LSTMs with attention: counts, equations, dropout."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.data.text.tokenizers import BOS, EOS, PAD
from attn_research.layers.attention import MemoryAttention
from attn_research.layers.masking import Predictive
from attn_research.layers.scoring import make_scoring
from attn_research.models.luong import LuongSeq2Seq
from tests.models.shapes import encoder_decoder_shapes, num_parameters

DOT, GENERAL = make_scoring("dot"), make_scoring("general")
BASE = 214_032_000
COMBINE, FEED = 2_000_000, 4_000_000


@pytest.mark.parametrize(
    ("attention", "feed", "count"),
    [
        (None, False, BASE),
        (MemoryAttention(DOT), False, BASE + COMBINE),
        (MemoryAttention(DOT), True, BASE + COMBINE + FEED),
        (MemoryAttention(GENERAL), True, BASE + COMBINE + FEED + 1_000_000),
        (
            MemoryAttention(make_scoring("concat", features=1000)),
            True,
            BASE + COMBINE + FEED + 2_001_000,
        ),
        (
            MemoryAttention(make_scoring("location", max_length=51)),
            True,
            BASE + COMBINE + FEED + 51_000,
        ),
        (
            MemoryAttention(GENERAL, Predictive()),
            True,
            BASE + COMBINE + FEED + 1_000_000 + 1_001_000,
        ),
    ],
    ids=["base", "attention", "feed", "general", "concat", "location", "local-p general"],
)
def test_parameter_counts_at_the_sizes_of_the_paper(attention, feed, count):
    network = LuongSeq2Seq(50_000, 50_000, 1000, 1000, 4, attention=attention, input_feeding=feed)
    assert num_parameters(encoder_decoder_shapes(network)) == count


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(unit, state, x):
    cell, hidden = state
    total = x @ unit["inputs"]["kernel"] + unit["inputs"]["bias"] + hidden @ unit["gates"]["kernel"]
    i, f, o, g = np.split(total, 4)
    cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
    return cell, sigmoid(o) * np.tanh(cell)


def by_hand(p, source, previous, reverse, feed, half_width):
    """Logits of one sentence without padding; local-p (general), the paper's best."""
    states = [(np.zeros(6), np.zeros(6)) for _ in range(2)]
    annotations = {}
    for j in reversed(range(len(source))) if reverse else range(len(source)):
        x = p["source_embedding"]["embedding"][source[j]]
        for layer in range(2):
            states[layer] = lstm(p[f"encoder_{layer}"]["unit"], states[layer], x)
            x = states[layer][1]
        annotations[j] = x
    h_bar = np.array([annotations[j] for j in range(len(source))])
    attention, attentional, logits = p["attention"], np.zeros(6), []
    for word in previous:
        x = p["target_embedding"]["embedding"][word]
        x = np.concatenate([x, attentional]) if feed else x
        for layer in range(2):
            states[layer] = lstm(p[f"decoder_{layer}"]["unit"], states[layer], x)
            x = states[layer][1]
        scores = h_bar @ (x @ attention["scoring"]["weight"])
        locality = attention["locality"]
        place = len(source) * sigmoid(
            np.tanh(x @ locality["hidden"]["kernel"]) @ locality["place"]["kernel"][:, 0]
        )
        offsets = np.arange(len(source)) - place
        seen = np.exp(scores - scores.max()) * (np.abs(offsets) <= half_width)
        weights = seen / seen.sum() * np.exp(-(offsets**2) / (2 * (half_width / 2) ** 2))
        both = np.concatenate([weights @ h_bar, x])
        attentional = np.tanh(both @ p["combine"]["kernel"])
        logits.append(attentional @ p["vocabulary"]["kernel"])
    return np.array(logits)


@functools.cache
def make_case(reverse, feed, dropout=0.0):
    attention = MemoryAttention(GENERAL, Predictive(2))
    options = dict(reverse=reverse, input_feeding=feed, dropout=dropout)
    network = LuongSeq2Seq(12, 11, 6, 5, 2, attention=attention, **options)
    shapes = encoder_decoder_shapes(network)
    rng = np.random.default_rng(0)
    return network, jax.tree.map(lambda x: np.float32(0.8 * rng.normal(size=x.shape)), shapes)


SOURCE = np.array([[4, 5, 6, 7, 8, 9, EOS], [11, 10, 6, EOS, PAD, PAD, PAD]], np.int32)
PREVIOUS = np.array([[BOS, 5, 6, 7, 8], [BOS, 9, 9, 4, 5]], np.int32)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("feed", [False, True])
def test_forward_pass_by_hand(reverse, feed):
    network, params = make_case(reverse, feed)
    logits = jax.jit(network.apply)(params, SOURCE, SOURCE != PAD, PREVIOUS).logits
    for row, source in enumerate(SOURCE):
        words = source[source != PAD]
        expected = by_hand(params["params"], words, PREVIOUS[row], reverse, feed, half_width=2)
        np.testing.assert_allclose(logits[row], expected, atol=3e-5)


@pytest.mark.parametrize("feed", [False, True])
def test_dropout_differs_by_key_and_applies_only_in_training(feed):
    network, params = make_case(False, feed, dropout=0.5)
    params = jax.tree.map(jnp.asarray, params)
    source, same = jnp.array(SOURCE), jnp.repeat(jnp.array(PREVIOUS[:, 1:2]), 5, axis=1)

    def run(key, train=True):
        return network.apply(
            params, source, source != PAD, same, train=train, rngs={"dropout": jax.random.key(key)}
        ).logits

    first, again, other, off = run(0), run(0), run(1), run(0, train=False)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-2 and np.abs(first - off).max() > 1e-2
    plain, _ = make_case(False, feed)
    expected = plain.apply(params, source, source != PAD, same).logits
    np.testing.assert_allclose(off, expected, atol=1e-5)
