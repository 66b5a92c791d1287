"""The contract of encoder-decoders: every model, with every score and locality."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from attn_research.attention import Window
from attn_research.data.text.tokenizers import BOS, EOS, PAD
from attn_research.decoding import search
from attn_research.layers.attention import MemoryAttention
from attn_research.layers.contracts import AlignmentSpec
from attn_research.layers.embeddings import BucketedBiases, LearnedPositions
from attn_research.layers.feed_forward import BlockConfig
from attn_research.layers.masking import LOCALITIES, make_locality
from attn_research.layers.scoring import SCORINGS, make_scoring
from attn_research.models.luong import LuongSeq2Seq
from attn_research.models.rnn_search import RNNSearch
from attn_research.models.transformer import Transformer
from tests.models.shapes import encoder_decoder_shapes, num_parameters

B, T, S, N_WORDS, HIDDEN = 2, 5, 9, 11, 6
VOCAB = dict(source_vocab=12, target_vocab=N_WORDS)
SIZES = dict(**VOCAB, hidden_dim=HIDDEN, embedding_dim=5)
LAYERS = dict(num_layers=3, model_dim=8, mlp_dim=10, num_heads=2)


def attention(score, locality="global", half_width=2, *, features=3, max_length=8):
    scoring = make_scoring(score, features=features, max_length=max_length)
    return MemoryAttention(scoring, make_locality(locality, half_width))


def rnn_search(*mechanism, **options):
    made = attention(*mechanism) if mechanism else None
    return RNNSearch(**SIZES, maxout_dim=4, attention=made, **options)


def luong(*mechanism, max_length=8, **options):
    sizes = dict(features=4, max_length=max_length)
    made = attention(*mechanism, **sizes) if mechanism else None
    return LuongSeq2Seq(**SIZES, num_layers=2, attention=made, **options)


def transformer(**options):
    return Transformer(12, 12, **LAYERS, **options)


T5 = dict(
    pre_norm=True, block=BlockConfig(norm="rms_norm", use_bias=False), num_decoder_layers=2,
    positions=None, position_bias=BucketedBiases(8, 9), own_head=True, output_bias=True,
    decoder_position_bias=BucketedBiases(8, 9, bidirectional=False),
)  # fmt: skip
NETWORKS = {
    "RNNencdec": rnn_search(),
    "RNNsearch": rnn_search("additive"),
    "RNNsearch, tied": RNNSearch(12, 12, HIDDEN, 4, 4, attention("additive"), tied=True),
    "RNNsearch, conditional": rnn_search("additive", conditional=True),
    "RNNsearch, scaled dot": rnn_search("scaled_dot"),
    "RNNsearch, local-p general": rnn_search("general", "local_p"),
    "RNNsearch, local-m location": rnn_search("location", "local_m"),
    "RNNsearch, causal concat": rnn_search("concat", "causal"),
    "Transformer": transformer(),
    "Transformer, T5's": transformer(**T5),
    "Transformer, pre-norm, grouped": transformer(pre_norm=True, num_kv_heads=1, value_dim=3),
    "Transformer, general, learned": transformer(
        scoring=make_scoring("general"), positions=LearnedPositions(30), tied=False
    ),
    "Transformer, additive": transformer(scoring=make_scoring("additive"), attention_bias=True),
    "Transformer, windows": transformer(mask=Window(2, 1), decoder_mask=Window(1, 0)),
    "stacked": luong(),
    "stacked, reverse, feed": luong(reverse=True, input_feeding=True),
    "stacked, dot": luong("dot", reverse=True),
    "stacked, location": luong("location"),
    "stacked, location, feed": luong("location", max_length=20, input_feeding=True, reverse=True),
    "stacked, local-m general, feed": luong("general", "local_m", 1, input_feeding=True),
    "stacked, local-p dot": luong("dot", "local_p"),
    "stacked, local-p concat, feed": luong(
        "concat", "local_p", 1, input_feeding=True, reverse=True
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


def test_every_weight_has_a_gradient(case):
    source, valid, previous = make_batch()

    def total(params, *batch):
        return jnp.sum(jnp.sin(case.network.apply(params, *batch).logits))

    gradients = jax.jit(jax.grad(total))(case.params, source, valid, previous)

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
        "stacked, location": AlignmentSpec("predicted"),
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


def parameter_count(network):
    return num_parameters(encoder_decoder_shapes(network))


@pytest.mark.parametrize("score", SCORINGS)
def test_every_score_works_in_every_model(score):
    # n' is 3 or 4 features, annotations of RNNsearch are 2n wide, heads 4 wide.
    of_memory = {
        "additive": 6 * 3 + 3 + 12 * 3 + 3,
        "concat": 6 * 3 + 12 * 3 + 3,
        "scaled_dot": 6 * 3 + 12 * 3,
        "general": 6 * 12,
        "location": 6 * 8,
    }
    of_head = {"additive": 4, "concat": 4, "general": 16, "location": 32}
    if score in of_memory:  # "dot" needs states and annotations of one width
        base = rnn_search("general")
        found = parameter_count(rnn_search(score)) - parameter_count(base) + 6 * 12
        assert found == of_memory[score]
    of_stack = {
        "additive": 6 * 4 + 4 + 6 * 4 + 4,
        "concat": 6 * 4 + 6 * 4 + 4,
        "scaled_dot": 6 * 4 + 6 * 4,
        "general": 36,
        "location": 48,
        "dot": 0,
    }
    found = parameter_count(luong(score)) - parameter_count(luong("dot"))
    assert found == of_stack[score]
    found = parameter_count(transformer(scoring=make_scoring(score, max_length=8)))
    heads = 3 * 3 * 2  # of three attentions in three layers
    assert found - parameter_count(transformer()) == heads * of_head.get(score, 0)


@pytest.mark.parametrize("locality", LOCALITIES)
def test_every_locality_works_in_recurrent_decoders(locality):
    more = 6 * 6 + 6 if locality == "local_p" else 0
    found = parameter_count(luong("dot", locality)) - parameter_count(luong("dot"))
    assert found == more
