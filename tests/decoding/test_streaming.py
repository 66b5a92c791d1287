"""Streaming caches: states of a whole text under its mask, at constant memory."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import Full, Prefix, Rotary, Window, streaming
from attn_research.decoding import generate
from attn_research.decoding.streaming import Ring, begin_stream
from attn_research.layers.decoders import StreamingDecoder
from attn_research.layers.embeddings import LearnedPositions, LinearBiases
from attn_research.models.gpt import GPT

WINDOW, SINKS, CHUNK, T, VOCABULARY = 5, 2, 3, 31, 11


@functools.cache
def network():
    return GPT(
        VOCABULARY, 2, 12, 20, 3, num_kv_heads=1, rotary=Rotary(4), mask=streaming(WINDOW, SINKS)
    )


IDS = jnp.asarray(np.random.default_rng(0).integers(0, VOCABULARY, (2, T)))


@functools.cache
def variables():
    return network().init(jax.random.key(0), IDS)


@functools.cache
def whole():
    return jax.jit(network().apply)(variables(), IDS).logits


def begin(chunk=CHUNK, batch_size=2):
    sizes = {"window": WINDOW, "sinks": SINKS, "chunk": chunk}
    return begin_stream(network(), variables(), batch_size, **sizes)


@jax.jit
def extend(state, tokens):
    found = network().apply(variables(), state, tokens[:, None], method="extend")
    return network().apply(variables(), found.states[:, 0], method="logits"), found.state


@pytest.mark.parametrize("sizes", [[1] * T, [3] * 10 + [1], [2, 1, 3] * 5 + [1]], ids=str)
def test_a_stream_in_chunks_of_any_size_is_the_whole_text(sizes):
    state, logits, start = begin(), [], 0
    for size in sizes:
        found, state = extend(state, IDS[:, start : start + size])
        logits.append(found)
        start += size
    np.testing.assert_allclose(jnp.concatenate(logits, axis=1), whole(), atol=1e-5)


def test_the_state_does_not_grow_and_holds_sinks_and_the_last_tokens():
    state = begin()
    sizes = [leaf.shape for leaf in jax.tree.leaves(state)]
    for start in range(0, 30, 3):
        _, state = extend(state, IDS[:, start : start + 3])
    assert [leaf.shape for leaf in jax.tree.leaves(state)] == sizes
    held = np.asarray(state.history.positions)
    assert held[:SINKS].tolist() == list(range(SINKS))
    assert sorted(held[SINKS:].tolist()) == list(range(30 - WINDOW - CHUNK + 1, 30))
    temporary = extend.lower(state, IDS[:, :3]).compile().memory_analysis().temp_size_in_bytes
    assert temporary < 1 << 20


def test_a_mask_on_both_sides_streams_too_for_a_decoder_is_causal():
    both = network().clone(mask=Window(WINDOW - 1, WINDOW - 1) | Prefix(SINKS))
    state = begin_stream(both, variables(), 2, window=WINDOW, sinks=SINKS, chunk=CHUNK)
    assert jax.tree.structure(state) == jax.tree.structure(begin())
    np.testing.assert_allclose(both.apply(variables(), IDS).logits, whole(), atol=1e-5)


def test_slots_of_a_window_and_a_chunk_are_all_different():
    ring = Ring(SINKS, WINDOW + CHUNK - 1, CHUNK)
    for start in range(40):
        needed = [*range(SINKS), *range(max(SINKS, start - WINDOW + 1), start + CHUNK)]
        slots = np.asarray(ring.slots_of(jnp.asarray(needed)))
        assert len(set(slots.tolist())) == len(needed) and slots.max() < ring.num_slots


def test_generation_goes_on_past_the_slots():
    prompt, state, found = IDS[:, :9].astype(jnp.int32), begin(1), []
    for token in prompt.T:
        logits, state = extend(state, token[:, None])
    for _ in range(20):
        found.append(logits[:, 0].argmax(-1).astype(jnp.int32))
        logits, state = extend(state, found[-1][:, None])
    found = jnp.stack(found, axis=1)
    text = jnp.concatenate([prompt, found], axis=1)
    logits = jax.jit(network().apply)(variables(), text).logits
    np.testing.assert_array_equal(found, logits[:, 8:-1].argmax(-1))


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"build it with mask=streaming\(6, 2\)"):
        begin_stream(network(), variables(), 2, window=6, sinks=2)
    table = network().clone(positions=LearnedPositions(40), rotary=None)
    with pytest.raises(ValueError, match="a table of 40 positions, and a stream goes on"):
        begin_stream(table, variables(), 2, window=WINDOW, sinks=SINKS)
    with pytest.raises(ValueError, match="4 tokens at once in a stream of chunks of 3"):
        extend(begin(), IDS[:, :4])
    with pytest.raises(ValueError, match="padding in a stream of several texts"):
        begin().history.append(1, jnp.ones((2, 1), bool))
    plain = network().clone(mask=Full())
    with pytest.raises(ValueError, match="has a mask of its own"):
        StreamingDecoder.of(network(), WINDOW, SINKS)
    decoder = StreamingDecoder.of(plain, WINDOW, SINKS)
    with pytest.raises(ValueError, match="a stream is of one text"):
        generate(decoder, (variables(),), [[1, 2], [3]], num_tokens=2, chunk=CHUNK)


@pytest.mark.parametrize("length", [1, 2, 3, 8, 9])
def test_prompts_of_any_length_are_continued_as_whole_texts(length):
    """The first chunk of a prompt has padding before its tokens."""
    decoder = StreamingDecoder.of(network().clone(mask=Full()), WINDOW, SINKS)
    decoder = dataclasses.replace(decoder, chunk=CHUNK)
    prompt = IDS[0, :length].tolist()
    options = dict(num_tokens=20, chunk=CHUNK)
    (found,) = generate(decoder, (variables(),), [prompt], **options)
    text = jnp.asarray([[*prompt, *found.tokens]])
    logits = jax.jit(network().apply)(variables(), text).logits
    assert list(found.tokens) == logits[0, length - 1 : -1].argmax(-1).tolist()


def test_biases_of_positions_stream_too():
    biased = network().clone(rotary=None, position_bias=LinearBiases())
    params = biased.init(jax.random.key(0), IDS)
    decoder = StreamingDecoder.of(biased.clone(mask=Full()), WINDOW, SINKS)
    (found,) = generate(decoder, (params,), [IDS[1, :4].tolist()], num_tokens=16, chunk=CHUNK)
    text = jnp.asarray([[*IDS[1, :4].tolist(), *found.tokens]])
    logits = biased.apply(params, text).logits
    assert list(found.tokens) == logits[0, 3:-1].argmax(-1).tolist()
