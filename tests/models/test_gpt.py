"""GPT: parameter counts as published, chunks with every kind of position, beams, refusals."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import Rotary, TopK, Window
from attn_research.layers.embeddings import BucketedBiases, LearnedPositions, LinearBiases
from attn_research.models.gpt import GPT, GPT1_BLOCK, LLAMA_BLOCK, SIZES
from tests.models.shapes import decoder_shapes, num_parameters


def count(network):
    return num_parameters(decoder_shapes(network))


COUNTS = {
    "small": 124_439_808,
    "medium": 354_823_168,
    "large": 774_030_080,
    "xl": 1_557_611_200,
}


@pytest.mark.parametrize("size", SIZES)
def test_parameter_counts_of_gpt2(size):
    positions = LearnedPositions(1024)
    network = GPT(50_257, *SIZES[size], positions=positions, attention_bias=True)
    assert count(network) == COUNTS[size]


def test_parameter_counts_of_gpt_and_of_a_small_llama():
    positions = LearnedPositions(512)
    sizes = SIZES["small"]
    gpt = GPT(40_478, *sizes, positions=positions, attention_bias=True, block=GPT1_BLOCK)
    assert count(gpt) == 116_534_784
    llama = dict(block=LLAMA_BLOCK, rotary=Rotary(64, 100_000.0), num_kv_heads=3)
    assert count(GPT(49_152, 30, 576, 1536, 9, **llama)) == 134_515_008  # SmolLM2-135M
    assert count(GPT(49_152, 30, 576, 1536, 9, **llama, tied=False)) == 134_515_008 + 49_152 * 576


VOCAB, T, WIDTH = 11, 6, 4
IDS = jnp.array(np.random.default_rng(3).integers(1, VOCAB, (2, T)), jnp.int32)
KINDS = {
    "gpt": dict(block=GPT1_BLOCK, positions=LearnedPositions(T), attention_bias=True),
    "alibi": dict(position_bias=LinearBiases()),
    "t5": dict(position_bias=BucketedBiases(6, 4, bidirectional=False), mask=Window(4, 0)),
    "top_k": dict(normalizer=TopK(2), rotary=Rotary(WIDTH, 50.0)),
    "llama": dict(block=LLAMA_BLOCK, rotary=Rotary(WIDTH, 50.0), num_kv_heads=1, tied=False),
}


@functools.cache
def make_case(kind):
    network = GPT(VOCAB, 2, 12, 10, 3, **KINDS[kind])
    shapes = jax.eval_shape(network.init, jax.random.key(0), IDS)
    rng = np.random.default_rng(0)
    draw = jax.tree.map(lambda x: jnp.array(0.5 * rng.normal(size=x.shape), jnp.float32), shapes)
    return network, draw, jax.jit(network.apply, static_argnames=("method", "capture"))


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_of_any_size_and_padding_give_the_states_of_the_whole(kind):
    network, params, run = make_case(kind)
    whole = run(params, IDS, method="read", capture="all")
    logits = run(params, IDS).logits
    np.testing.assert_allclose(run(params, whole.states, method="logits"), logits, atol=1e-5)
    # The second row has padding in its second chunk, of which each row fills what it has left.
    row = jnp.stack([jnp.r_[IDS[0], 0], jnp.r_[IDS[1, :3], 0, IDS[1, 3:]]])
    valid = jnp.array([[1] * T + [0], [1, 1, 1, 0, 1, 1, 1]], bool)
    if kind == "gpt":
        network = network.clone(positions=LearnedPositions(T + 1))
        table = params["params"]["positions"]["table"]
        more = {"positions": {"table": jnp.pad(table, [(0, 1), (0, 0)])}}
        params = {"params": params["params"] | more}
    extend = jax.jit(functools.partial(network.apply, method="extend", capture="all"))
    state, states, weights = network.apply(params, 2, T + 1, method="begin"), [], []
    for chunk in (slice(0, 2), slice(2, 5), slice(5, 7)):
        found = extend(params, state, row[:, None, chunk], valid[:, chunk])
        state = found.state
        states.append(found.states[:, 0])
        weights.append(found.weights[:, 0])
    states, weights = np.concatenate(states, axis=1), np.concatenate(weights, axis=3)
    for index in range(2):
        real = np.asarray(valid[index])
        np.testing.assert_allclose(states[index][real], whole.states[index], atol=2e-5)
        own = weights[index][:, :, real][..., real]
        np.testing.assert_allclose(own, whole.weights[index], atol=2e-5)


@pytest.mark.parametrize("kind", ["t5", "llama"])
def test_hypotheses_of_a_beam_continue_their_own_texts(kind):
    network, params, run = make_case(kind)
    state = network.apply(params, 2, T, method="begin")
    found = run(params, state, IDS[:, None, :3], method="extend")
    state = found.state
    history = state.history.spread(2)
    blocks = [block._replace(cache=block.cache.spread(2)) for block in state.blocks]
    state = state._replace(blocks=tuple(blocks), history=history)
    texts = jnp.repeat(IDS[:, None, :3], 2, axis=1)
    parents = jnp.array([[1, 0], [1, 1]])
    for token in (jnp.array([[4, 5], [6, 7]]), jnp.array([[8, 9], [1, 2]])):
        found = run(params, state, token, method="step", capture="all")
        texts = jnp.concatenate([texts, token[..., None]], axis=-1)
        flat = texts.reshape(4, -1)
        expected = run(params, flat).logits[:, -1].reshape(2, 2, -1)
        np.testing.assert_allclose(found.logits, expected, atol=2e-5)
        assert found.weights.shape == (2, 2, 2, 3, T)
        state = found.state._replace(history=found.state.history.choose(parents))
        texts = jnp.take_along_axis(texts, parents[..., None], axis=1)


@pytest.mark.parametrize("kind", ["gpt", "alibi", "llama"])
def test_packed_texts_equal_separate_texts(kind):
    _, params, run = make_case(kind)
    row = jnp.array([[3, 4, 5, 6, 7, 8, 9, 10, 0]])
    segments = jnp.array([[1, 1, 1, 1, 1, 2, 2, 2, 0]])
    packed = run(params, row, segments=segments).logits
    np.testing.assert_allclose(packed[:, :5], run(params, row[:, :5]).logits, atol=2e-5)
    np.testing.assert_allclose(packed[:, 5:8], run(params, row[:, 5:8]).logits, atol=2e-5)


def test_later_tokens_change_nothing_before():
    for kind in ("gpt", "llama"):
        _, params, run = make_case(kind)
        changed = IDS.at[:, 3].set((IDS[:, 3] + 1) % VOCAB)
        one, other = run(params, IDS).logits, run(params, changed).logits
        np.testing.assert_array_equal(one[:, :3], other[:, :3])
        assert np.abs(one[:, 3:] - other[:, 3:]).min(axis=-1).max() > 1e-4


def test_matrices_that_end_in_a_residual_connection_start_smaller():
    network = GPT(VOCAB, 8, 48, 96, 3, positions=LearnedPositions(T))
    blocks = jax.jit(network.init)(jax.random.key(0), IDS)["params"]["blocks"]
    for part, names in (("attention", ("query", "key", "value")), ("mlp", ("input",))):
        for name in names:
            np.testing.assert_allclose(blocks[part][name]["kernel"].std(), 0.02, rtol=0.03)
        last = blocks[part]["output"]["kernel"]
        np.testing.assert_allclose(last.std(), 0.02 / math.sqrt(16), rtol=0.03)
    post = GPT(VOCAB, 8, 48, 96, 3, positions=LearnedPositions(T), block=GPT1_BLOCK)
    params = jax.jit(post.init)(jax.random.key(0), IDS)["params"]
    last = params["blocks"]["mlp"]["output"]["kernel"]
    np.testing.assert_allclose(last.std(), 0.02, rtol=0.03)
    assert "norm" not in params


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(num_heads=5), "model_dim 12 is not a multiple of num_heads 5: give head_dim"),
        (dict(rotary=Rotary(6)), "rotary of width 6 for heads of width 4"),
        (dict(positions=LearnedPositions(5)), "text of 6 tokens is longer than 5 positions"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    sizes = dict(num_layers=1, model_dim=12, mlp_dim=10, num_heads=3)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(GPT(VOCAB, **sizes | options).init, jax.random.key(0), IDS)


def test_a_cache_longer_than_the_positions_is_refused():
    network, params, _ = make_case("gpt")
    with pytest.raises(ValueError, match="text of 7 tokens is longer than 6 positions"):
        network.apply(params, 2, T + 1, method="begin")
