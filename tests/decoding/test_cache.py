"""Key-value caches: the order of slots, chunks, and the slots that a hypothesis may attend to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.decoding import BeamHistory, KeyValueCache, KeyValues, Shared
from attn_research.decoding.search import choose, spread

B, K, T, N, H, HV = 2, 3, 5, 4, 6, 7


def sequences(length, *beam_size, seed=0):
    rng = np.random.default_rng(seed)
    shape = B, *beam_size, length, N
    return KeyValues(
        jnp.array(rng.normal(size=(*shape, H)), jnp.float32),
        jnp.array(rng.normal(size=(*shape, HV)), jnp.float32),
    )


@pytest.mark.parametrize("sizes", [(5,), (1, 1, 1, 1, 1), (2, 3), (4, 1)])
def test_chunks_of_any_size_fill_slots_ordered_by_position_then_beam_index(sizes):
    whole = sequences(T, K)
    cache, start = KeyValueCache.make(whole, T + 1, K), 0
    for size in sizes:
        chunk = jax.tree.map(lambda x, a=start, b=start + size: x[:, :, a:b], whole)
        cache = cache.write(chunk, jnp.int32(start))
        start += size
    for found, written in zip(cache.slots(), whole, strict=True):
        assert found.shape == (B, (T + 1) * K, N, written.shape[-1])
        for t in range(T):
            for k in range(K):
                np.testing.assert_array_equal(found[:, t * K + k], written[:, k, t])
        assert not found[:, T * K :].any()


def test_a_filled_cache_equals_the_sequence():
    sequence = sequences(T)
    for found, expected in zip(KeyValueCache.filled(sequence).slots(), sequence, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_spread_cache_is_repeated_for_each_hypothesis_and_never_reordered():
    sequence = sequences(T)
    cache = spread(KeyValueCache.filled(sequence), K)
    assert cache.beam_size == K
    for found, expected in zip(cache.slots(), sequence, strict=True):
        np.testing.assert_array_equal(found, np.repeat(expected, K, axis=1))
    moved = choose(cache, jnp.zeros((B, K), jnp.int32))
    np.testing.assert_array_equal(moved.keys, cache.keys)


def test_a_hypothesis_attends_to_the_slots_of_its_own_path():
    rng = np.random.default_rng(3)
    history, paths = spread(BeamHistory.empty(B, T + 1), K), [[[] for _ in range(K)]] * B
    for num_tokens in (1, 2, 1, 1):
        start = int(history.length)
        history = history.append(num_tokens)
        paths = [
            [
                [*path, *((start + i) * K + k for i in range(num_tokens))]
                for k, path in enumerate(paths[b])
            ]
            for b in range(B)
        ]
        positions, bias = history.visibility(num_tokens)
        np.testing.assert_array_equal(positions.query, np.tile(start + np.arange(num_tokens), K))
        np.testing.assert_array_equal(positions.key, np.repeat(np.arange(T + 1), K))
        assert bias.shape == (B, 1, K * num_tokens, (T + 1) * K)
        # A causal mask leaves out the slots that are not written yet.
        visible = (np.asarray(bias)[:, 0] == 0) & (
            np.asarray(positions.key) <= np.asarray(positions.query)[:, None]
        )
        for b in range(B):
            for k in range(K):
                for i in range(num_tokens):
                    expected = paths[b][k][: start + i + 1]
                    found = np.flatnonzero(visible[b, k * num_tokens + i])
                    assert found.tolist() == sorted(expected)
        parents = rng.integers(0, K, (B, K))
        history = choose(history, jnp.array(parents, jnp.int32))
        paths = [[paths[b][parent] for parent in parents[b]] for b in range(B)]
    assert int(history.length) == T
    np.testing.assert_array_equal(history.last_positions(2), [T - 2, T - 1])


def test_padding_in_any_chunk_takes_no_position():
    history = BeamHistory.padded(B, 8)
    seen = []
    for valid in ([[0, 0, 1], [1, 1, 1]], [[1, 1], [0, 0]], [[0], [1]]):
        history = history.append(len(valid[0]), jnp.array(valid, bool))
        seen.append(np.asarray(history.last_positions(len(valid[0]))))
    expected = [[[-1, -1, 0], [0, 1, 2]], [[1, 2], [-1, -1]], [[-1], [3]]]
    for found, wanted in zip(seen, expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    history = history.append(1)  # no padding
    positions, bias = history.visibility(1)
    slots = [[-1, -1, 0, 1, 2, -1, 3, -1], [0, 1, 2, -1, -1, 3, 4, -1]]
    np.testing.assert_array_equal(positions.key, slots)
    np.testing.assert_array_equal(positions.query, [[3], [4]])
    assert bias is None
    history = choose(spread(history, K), jnp.array([[1, 0, 0], [2, 2, 1]]))
    positions, bias = history.append(1).visibility(1)
    np.testing.assert_array_equal(positions.query, [[4] * K, [5] * K])
    slots = np.array([[*slots[0][:7], 4], [*slots[1][:7], 5]])
    np.testing.assert_array_equal(positions.key, np.repeat(slots, K, axis=1))
    assert bias.shape == (B, 1, K, 8 * K)
    with pytest.raises(ValueError, match=r"begin with BeamHistory\.padded"):
        BeamHistory.empty(B, 4).append(1, jnp.ones((B, 1), bool))


def test_shared_state_is_neither_repeated_nor_reordered():
    state = Shared((jnp.arange(3.0), jnp.ones((5, 2)))), jnp.arange(B)[:, None]
    shared, own = choose(spread(state, K), jnp.zeros((B, K), jnp.int32))
    assert own.shape == (B, K)
    for found, expected in zip(shared.value, state[0].value, strict=True):
        np.testing.assert_array_equal(found, expected)
