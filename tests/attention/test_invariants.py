"""Properties of every implementation: empty rows, masked keys, cached decoding and batch axes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import Causal, Padding, Positions, Segments, Window, attend
from attn_research.attention.backends.pallas_gpu import backend as pallas_gpu
from attn_research.attention.testing.cases import random_arrays
from attn_research.attention.testing.interpret import interpret_kernels

# A mask of earlier keys that it supports, with padding; the others take no positions.
PAST = {
    "pallas": Causal(),
    "gathered": Window(2, 0),
    "tiled": Causal(),
    "reference": Causal(),
}
OF_POSITIONS = pytest.mark.parametrize("implementation", PAST)


@pytest.fixture(autouse=True)
def kernels_on_a_cpu(monkeypatch):
    """Lets the kernels run here, in tiles that these lengths make several of."""
    interpret_kernels(monkeypatch.setattr)
    monkeypatch.setattr(pallas_gpu, "TILES", {256: ((32, 16), (32, 16), (16, 32))})


def put(where, fill, array):
    return jnp.asarray(np.where(where, np.asarray(fill, array.dtype), array))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@OF_POSITIONS
def test_empty_rows_are_exactly_zero(implementation, dtype):
    rng = np.random.default_rng(4)
    arrays = random_arrays(rng, (2, 5, 4, 3), (2, 7, 2, 3), (2, 7, 2, 6), dtype=dtype)
    valid = np.arange(7) >= np.array([[2], [7]])  # rows 0 and 1, and all of the second batch mate

    @jax.jit
    def run(*arrays):
        mask = PAST[implementation] & Padding(jnp.asarray(valid))
        return attend(*arrays, mask=mask, implementation=implementation, capture="all")

    out, pull = jax.vjp(run, *arrays)
    query, key, value = map(np.asarray, pull(jax.tree.map(np.ones_like, out)))
    context, weights = map(np.asarray, out)
    for rows in (context, query):
        assert not rows[0, :2].any() and not rows[1].any()
    assert not weights[0, :, :2].any() and not weights[1].any()
    assert context[0, 2:].all() and query[0, 3:].all()
    # Keys without a query get no gradient either: before 2, after the last query, all of mate 1.
    for keys in (key, value):
        assert not keys[0, :2].any() and not keys[0, 5:].any() and not keys[1].any()
    assert value[0, 2:5].all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@OF_POSITIONS
def test_masked_keys_have_no_effect(implementation, dtype):
    rng = np.random.default_rng(5)
    query, key, value = random_arrays(rng, (2, 5, 4, 3), (2, 7, 2, 3), (2, 7, 2, 6), dtype=dtype)
    valid = np.arange(7) < np.array([[2], [4]])
    mask, hidden = PAST[implementation] & Padding(jnp.asarray(valid)), ~valid[..., None, None]

    @jax.jit
    def run(*arrays):
        return attend(*arrays, mask=mask, implementation=implementation, capture="all")

    def gradients_and_output(fill):
        largest = float(jnp.finfo(dtype).max) * fill
        arrays = query, put(hidden, largest, key), put(hidden, -largest, value)
        out, pull = jax.vjp(run, *arrays)
        return out, pull(jax.tree.map(np.ones_like, out))

    for plain, full in zip(*map(jax.tree.leaves, map(gradients_and_output, (0, 1))), strict=True):
        np.testing.assert_array_equal(plain, full)
    spoiled = put(hidden, np.nan, key)
    out = attend(query, spoiled, value, mask=mask, implementation=implementation)
    assert np.isfinite(np.asarray(out.context, np.float32)).all()


@pytest.mark.parametrize("chunk", [1, 3])
@OF_POSITIONS
def test_cached_decoding_equals_the_full_pass(implementation, chunk):
    rng = np.random.default_rng(6)
    query, key, value = random_arrays(rng, (2, 9, 4, 3), (2, 9, 2, 3), (2, 9, 2, 6))
    valid = jnp.asarray(np.arange(9) >= np.array([[0], [2]]))
    ids = jnp.asarray(np.arange(9) // np.array([[4], [5]]))

    @functools.partial(jax.jit, static_argnums=0)
    def both(combine, *arrays):
        mask = combine(*arrays)
        run = functools.partial(attend, mask=mask, implementation=implementation, capture="all")

        def step(_, start):
            rows = jax.lax.dynamic_slice_in_dim(query, start, chunk, axis=1)
            # The cache beyond the rows written so far holds values that must have no effect.
            written = (jnp.arange(9) < start + chunk)[None, :, None, None]
            keys, values = jnp.where(written, key, 1e9), jnp.where(written, value, 1e9)
            return None, run(rows, keys, values, positions=Positions(start + jnp.arange(chunk)))

        return run(query, key, value), jax.lax.scan(step, None, jnp.arange(0, 9, chunk))[1]

    for combine in (
        lambda valid, ids: Window(2, 0),
        lambda valid, ids: PAST[implementation] & Padding(valid) & Segments(ids, ids),
    ):
        full, steps = both(combine, valid, ids)
        context = np.concatenate(steps.context, axis=1)
        weights = np.concatenate(steps.weights, axis=2)
        np.testing.assert_allclose(context, full.context, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(weights, full.weights, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("implementation", ["pallas", "tiled", "reference"])  # of all positions
def test_key_positions_support_a_ring_buffer_cache(implementation):
    rng = np.random.default_rng(7)
    query, key, value = random_arrays(rng, (2, 1, 4, 3), (2, 7, 2, 3), (2, 7, 2, 6))
    order = np.array([4, 5, 6, 0, 1, 2, 3])
    run = jax.jit(functools.partial(attend, mask=Window(2, 0), implementation=implementation))
    straight = run(query, key, value, positions=Positions(query=jnp.array([5])))
    ring = run(
        query,
        *(jnp.asarray(np.asarray(array)[:, order]) for array in (key, value)),
        positions=Positions(query=jnp.array([[5], [5]]), key=jnp.asarray([order, order])),
    )
    np.testing.assert_allclose(ring.context, straight.context, rtol=1e-6, atol=1e-6)


@OF_POSITIONS
def test_batch_axes_equal_flattened_and_mapped_calls(implementation):
    rng = np.random.default_rng(8)
    shapes = (2, 3, 5, 4, 3), (2, 3, 7, 2, 3), (2, 3, 7, 2, 6)
    query, key, value = random_arrays(rng, *shapes)
    valid = jnp.asarray(rng.random((2, 3, 7)) < 0.6)

    @jax.jit
    def run(query, key, value, valid):
        mask = PAST[implementation] & Padding(valid)
        return attend(query, key, value, mask=mask, implementation=implementation).context

    two = run(query, key, value, valid)
    one = run(*(x.reshape(6, *x.shape[2:]) for x in (query, key, value, valid)))
    mapped = jax.jit(jax.vmap(jax.vmap(run)))(query, key, value, valid)  # no batch axis inside
    np.testing.assert_allclose(one.reshape(two.shape), two, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(mapped, two, rtol=1e-6, atol=1e-6)
