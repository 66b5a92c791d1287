"""The contract of encoder-decoders: every model, with every score and locality."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from attn_research.data.text.tokenizers import BOS, EOS, PAD
from attn_research.decoding import search
from attn_research.layers.contracts import AlignmentSpec
from attn_research.models.transformer import Transformer
from tests.models.networks import N_WORDS, NETWORKS, B, S, T
from tests.models.shapes import encoder_decoder_shapes


class Case(NamedTuple):
    """A small network with weights large enough to tell one equation from another."""

    network: nn.Module
    params: Any
    run: Any  # compiled (params, source, valid, previous) -> Decoded
    encode: Any
    begin: Any
    step: Any
    capturing_step: Any


@functools.cache
def make_case(name):
    network = NETWORKS[name]
    shapes = encoder_decoder_shapes(network)
    rng = np.random.default_rng(0)

    def draw(path, x):  # a layer's norm keeps its scale, else nothing is left of what it passes on
        values = 0.8 * rng.normal(size=x.shape)
        return np.float32(1 + 0.2 * values if path[-1].key == "scale" else values)

    params = jax.tree_util.tree_map_with_path(draw, shapes)
    capture = None if network.alignment is None else "all"
    return Case(
        network,
        params,
        jax.jit(functools.partial(network.apply, capture=capture)),
        jax.jit(functools.partial(network.apply, method="encode")),
        functools.partial(network.apply, method="begin"),
        jax.jit(functools.partial(network.apply, method="step")),
        jax.jit(functools.partial(network.apply, method="step", capture=capture)),
    )


@pytest.fixture(params=NETWORKS)
def case(request):
    return make_case(request.param)


# Of each model with each kind of parts one, where scores and localities are only passed on.
@pytest.fixture(
    params=[
        "RNNencdec",
        "RNNsearch, tied",
        "RNNsearch, conditional",
        "RNNsearch, local-p general",
        "Transformer, T5's",
        "Transformer, pre-norm, grouped",
        "Transformer, general, learned",
        "Transformer, windows",
        "stacked",
        "stacked, location, feed",
        "stacked, local-p concat, feed",
    ]
)
def few(request):
    return make_case(request.param)


def make_batch():
    """Two sentences of 9 and 4 source ids, and the words before each of 5 target words."""
    rng = np.random.default_rng(1)
    source = rng.integers(4, 12, (B, S)).astype(np.int32)
    source[1, 3:] = EOS, *[PAD] * 5
    previous = rng.integers(4, N_WORDS, (B, T)).astype(np.int32)
    previous[:, 0] = BOS
    return source, source != PAD, previous


def test_outputs_do_not_depend_on_padding_or_the_batch(case):
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


def test_logits_do_not_depend_on_later_words(case):
    source, valid, previous = make_batch()
    logits = case.run(case.params, source, valid, previous).logits
    for t in range(1, T):
        later = previous.copy()
        later[:, t] = 4 + (later[:, t] - 3) % (N_WORDS - 4)
        found = case.run(case.params, source, valid, later).logits
        np.testing.assert_array_equal(found[:, :t], logits[:, :t])
        assert np.abs(found[:, t] - logits[:, t]).max() > 1e-5


def test_step_by_step_decoding_equals_the_full_pass(case):
    source, valid, previous = make_batch()
    whole = case.run(case.params, source, valid, previous)
    encoded = case.encode(case.params, source, valid)
    state = case.begin(case.params, encoded, T + 2)
    for t in range(T):
        words = previous[:, t : t + 1]
        plain = case.step(case.params, encoded.memory, state, words)
        logits, state, weights = case.capturing_step(case.params, encoded.memory, state, words)
        assert plain.weights is None
        np.testing.assert_allclose(plain.logits, logits, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(logits[:, 0], whole.logits[:, t], atol=2e-5)
        if whole.weights is not None:
            np.testing.assert_allclose(weights[:, 0], whole.weights[..., t, :], atol=2e-6)


def test_beam_hypotheses_equal_separate_decoding(few):
    source, valid, _ = make_batch()
    encoded = few.encode(few.params, source, valid)
    memory, start = encoded.memory, few.begin(few.params, encoded, 8)
    K, steps = 3, 4
    rng = np.random.default_rng(2)
    words = rng.integers(4, N_WORDS, (steps, B, K)).astype(np.int32)
    parents = rng.integers(0, K, (steps, B, K))
    state, found = search.spread(start, K), []
    for t in range(steps):
        logits, state, _ = few.step(few.params, memory, state, words[t])
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
            logits, state, _ = few.step(few.params, memory, state, word)
            together = np.take_along_axis(np.asarray(found[t]), place[..., None], 1)
            np.testing.assert_allclose(together, logits, rtol=1e-5, atol=2e-5)


def test_every_weight_has_a_gradient(few):
    source, valid, previous = make_batch()

    def total(params, *batch):
        return jnp.sum(jnp.sin(few.network.apply(params, *batch).logits))

    gradients = jax.jit(jax.grad(total))(few.params, source, valid, previous)

    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(gradient).all() and np.any(gradient), jax.tree_util.keystr(path)


def test_each_model_has_the_expected_alignment_spec():
    expected = {
        "RNNencdec": None,
        "RNNsearch": AlignmentSpec("predicted"),
        "RNNsearch, local-p general": AlignmentSpec("predicted"),
        "Transformer": AlignmentSpec("predicted", by_heads=True),
        "stacked": None,
        "stacked, dot": AlignmentSpec("input"),
        "stacked, local-p dot": AlignmentSpec("input"),
    }
    assert {name: NETWORKS[name].alignment for name in expected} == expected


@pytest.mark.parametrize("name", ["RNNsearch", "stacked", "Transformer", "Transformer, windows"])
def test_segments_are_accepted_or_refused(name):
    case = make_case(name)
    source, valid, previous = make_batch()
    segments = np.ones_like(source), np.ones_like(previous)
    run = functools.partial(case.network.apply, case.params, method="hidden_states")
    arrays = map(jnp.array, (source, valid, previous))
    if not case.network.takes_segments:
        with pytest.raises(ValueError, match="does not keep the sequences of a row apart"):
            run(*arrays, segments=tuple(map(jnp.array, segments)))
        return
    arrays, run = tuple(arrays), jax.jit(run)
    found = run(*arrays, segments=tuple(map(jnp.array, segments)))
    np.testing.assert_allclose(found.states, run(*arrays).states, atol=1e-5)


def test_hidden_states_return_the_captured_weights(few):
    source, valid, previous = make_batch()
    capture = None if few.network.alignment is None else "all"
    run = jax.jit(functools.partial(few.network.apply, method="hidden_states", capture=capture))
    hidden = run(few.params, source, valid, previous)
    expected = few.run(few.params, source, valid, previous).weights
    if expected is None:
        assert hidden.weights is None and hidden.self_weights is None
    else:
        np.testing.assert_allclose(hidden.weights, expected, atol=1e-6)
    assert (hidden.self_weights is not None) == isinstance(few.network, Transformer)
