"""What holds for every encoder-decoder, whatever its units and wherever it looks."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from attn_research.data.text.tokenizers import BOS, EOS, PAD
from attn_research.decoding import search
from attn_research.layers.attention import (
    AdditiveScoring,
    DotScoring,
    GeneralScoring,
    LocationScoring,
    MemoryAttention,
    Monotonic,
    Predictive,
    ScaledDotScoring,
)
from attn_research.layers.embeddings import LearnedPositions
from attn_research.layers.multihead import AdditiveHeads, GeneralHeads
from attn_research.models.rnn_search import Seq2Seq
from attn_research.models.luong import StackedSeq2Seq
from attn_research.models.transformer import Transformer

B, T, S, N_WORDS, HIDDEN = 2, 5, 9, 11, 6
SIZES = dict(source_vocab=12, target_vocab=N_WORDS, hidden=HIDDEN, embedding=5)


def seq2seq(*mechanism):
    attention = MemoryAttention(*mechanism) if mechanism else None
    return Seq2Seq(**SIZES, maxout=4, attention=attention)


def stacked(*mechanism, **options):
    attention = MemoryAttention(*mechanism) if mechanism else None
    return StackedSeq2Seq(**SIZES, num_layers=2, attention=attention, **options)


def transformer(**options):
    return Transformer(12, 12, num_layers=3, model_dim=8, mlp_dim=10, num_heads=2, **options)


NETWORKS = {
    "RNNencdec": seq2seq(),
    "RNNsearch": seq2seq(AdditiveScoring(3)),
    "RNNsearch, tied": Seq2Seq(
        12, 12, HIDDEN, 4, 4, MemoryAttention(AdditiveScoring(3)), tied=True
    ),
    "RNNsearch, conditional": Seq2Seq(
        **SIZES, maxout=4, attention=MemoryAttention(AdditiveScoring(3)), conditional=True
    ),
    "RNNsearch, scaled dot": seq2seq(ScaledDotScoring(3)),
    "RNNsearch, local-p general": seq2seq(GeneralScoring(), Predictive(2)),
    "RNNsearch, local-m location": seq2seq(LocationScoring(8), Monotonic(2)),
    "Transformer": transformer(),
    "Transformer, pre-norm, grouped": transformer(pre_norm=True, num_kv_heads=1, value_dim=3),
    "Transformer, general, learned": transformer(
        scoring=GeneralHeads(), positions=LearnedPositions(30), shared=False
    ),
    "Transformer, additive": transformer(scoring=AdditiveHeads(), attention_bias=True),
    "stacked": stacked(),
    "stacked, reverse, feed": stacked(reverse=True, feed=True),
    "stacked, dot": stacked(DotScoring(), reverse=True),
    "stacked, location": stacked(LocationScoring(8)),
    "stacked, location, feed": stacked(LocationScoring(20), feed=True, reverse=True),
    "stacked, local-m general, feed": stacked(GeneralScoring(), Monotonic(1), feed=True),
    "stacked, local-p dot": stacked(DotScoring(), Predictive(2)),
    "stacked, local-p concat, feed": stacked(
        AdditiveScoring(4, use_bias=False), Predictive(1), feed=True, reverse=True
    ),
}


class Case(NamedTuple):
    """A small network with weights large enough to tell one equation from another."""

    network: nn.Module
    params: Any
    run: Any  # compiled (params, source, valid, previous) -> Decoded
    encode: Any
    begin: Any
    step: Any


@functools.cache
def make_case(name):
    network = NETWORKS[name]
    ids = jnp.zeros((1, 2), jnp.int32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), ids, ids == 0, ids)
    rng = np.random.default_rng(0)

    def draw(path, x):  # a layer's norm keeps its scale, else nothing is left of what it passes on
        values = 0.8 * rng.normal(size=x.shape)
        return np.float32(1 + 0.2 * values if path[-1].key == "scale" else values)

    params = jax.tree_util.tree_map_with_path(draw, shapes)
    capture = "all" if getattr(network, "attention", True) else None
    return Case(
        network,
        params,
        jax.jit(functools.partial(network.apply, capture=capture)),
        jax.jit(functools.partial(network.apply, method="encode")),
        functools.partial(network.apply, method="begin"),
        jax.jit(functools.partial(network.apply, method="step")),
    )


@pytest.fixture(params=NETWORKS)
def case(request):
    return make_case(request.param)


def make_batch():
    """Two sentences of 9 and 4 source ids, and the words before each of 5 target words."""
    rng = np.random.default_rng(1)
    source = rng.integers(4, 12, (B, S)).astype(np.int32)
    source[1, 3:] = EOS, *[PAD] * 5
    previous = rng.integers(4, N_WORDS, (B, T)).astype(np.int32)
    previous[:, 0] = BOS
    return source, source != PAD, previous


def test_outputs_do_not_depend_on_padding_or_batch_mates(case):
    source, valid, previous = make_batch()
    logits = case.run(case.params, source, valid, previous).logits
    wider = np.pad(source, ((0, 1), (0, 3)), constant_values=PAD)  # with an empty row, too
    found = case.run(case.params, wider, wider != PAD, np.pad(previous, ((0, 1), (0, 0)))).logits
    assert np.isfinite(found).all()
    # Another shape is another order of additions: a small logit differs by the last bits of the
    # large terms it is the sum of.
    close = {"rtol": 1e-6, "atol": 2e-6 * np.abs(logits).max()}
    np.testing.assert_allclose(found[:B], logits, **close)
    mates = source.copy()
    mates[0] = 4 + np.arange(S) % 8
    found = case.run(case.params, mates, valid, previous).logits
    np.testing.assert_allclose(found[1], logits[1], **close)
    assert np.abs(found[0] - logits[0]).max() > 1e-3


def test_the_past_does_not_see_the_future(case):
    source, valid, previous = make_batch()
    logits = case.run(case.params, source, valid, previous).logits
    for t in range(1, T):
        later = previous.copy()
        later[:, t] = 4 + (later[:, t] - 3) % (N_WORDS - 4)
        found = case.run(case.params, source, valid, later).logits
        np.testing.assert_array_equal(found[:, :t], logits[:, :t])
        assert np.abs(found[:, t] - logits[:, t]).max() > 1e-5


def test_steps_equal_the_whole(case):
    source, valid, previous = make_batch()
    whole = case.run(case.params, source, valid, previous)
    encoded = case.encode(case.params, source, valid)
    state = case.begin(case.params, encoded, T + 2)
    for t in range(T):
        words = previous[:, t : t + 1]
        logits, state, weights = case.step(case.params, encoded.memory, state, words)
        np.testing.assert_allclose(logits[:, 0], whole.logits[:, t], atol=2e-5)
        if whole.weights is not None:
            np.testing.assert_allclose(weights[:, 0], whole.weights[..., t, :], atol=2e-6)


def test_hypotheses_are_apart_and_go_on_from_their_parents(case):
    source, valid, _ = make_batch()
    encoded = case.encode(case.params, source, valid)
    memory, start = encoded.memory, case.begin(case.params, encoded, 8)
    K, steps = 3, 4
    rng = np.random.default_rng(2)
    words = rng.integers(4, N_WORDS, (steps, B, K)).astype(np.int32)
    parents = rng.integers(0, K, (steps, B, K))
    state, found = search.spread(start, K), []
    for t in range(steps):
        logits, state, _ = case.step(case.params, memory, state, words[t])
        found.append(logits)
        state = search.choose(state, jnp.array(parents[t], jnp.int32))
    for k in range(K):
        # The words of the hypothesis that ends in place k, of each sentence.
        place, path = np.full((B, 1), k), []
        for t in reversed(range(steps)):
            path.append((place, np.take_along_axis(words[t], place, 1)))
            place = np.take_along_axis(parents[t - 1], place, 1)
        state = start
        for t, (place, word) in enumerate(reversed(path)):
            logits, state, _ = case.step(case.params, memory, state, word)
            together = np.take_along_axis(np.asarray(found[t]), place[..., None], 1)
            np.testing.assert_allclose(together, logits, rtol=1e-5, atol=2e-5)


def test_every_weight_has_a_gradient(case):
    source, valid, previous = make_batch()

    def total(params, *batch):
        return jnp.sum(jnp.sin(case.network.apply(params, *batch).logits))

    gradients = jax.jit(jax.grad(total))(case.params, source, valid, previous)

    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(gradient).all() and np.any(gradient), jax.tree_util.keystr(path)
