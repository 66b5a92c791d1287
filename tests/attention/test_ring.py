"""Ring attention over eight devices, forward and backward, beside one device."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from attn_research.attention import (
    Additive,
    Causal,
    Padding,
    attend,
    attend_on_ring,
)
from attn_research.attention.backends.xla_flash import run_time, tiling
from attn_research.attention.testing.cases import make_masks, random_arrays

B, T, S, N, K, H = 2, 32, 64, 4, 2, 3
MESH = Mesh(np.array(jax.devices()[:8]), ("sequence",))
ARRAYS = random_arrays(np.random.default_rng(0), (B, T, N, H), (B, S, K, H), (B, S, K, 5))


def with_gradients(attention, arrays=ARRAYS):
    def loss(*arrays):
        context = attention(*arrays)
        return jnp.sum(jnp.sin(context.astype(jnp.float32))), context

    (_, context), gradients = jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))(*arrays)
    return context, gradients


def whole(mask):
    return lambda *arrays: attend(*arrays, mask=mask, implementation="reference").context


def assert_equal(found, expected, atol=3e-6):
    for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(np.float32(a), np.float32(b), rtol=2e-6, atol=atol)


# Of structure alone, with arrays of each kind, by head, and empty.
MASKS = (
    "causal & padding & window",
    "future of the segment",
    "window or padding",
    "strided",
    "global",
    "prefix",
    "global tokens",
    "by head",
    "random blocks",
    "empty",
)


@pytest.mark.parametrize("name", MASKS)
def test_ring_equals_one_device(name, monkeypatch):
    monkeypatch.setattr(tiling, "KEY_TILE", 8)
    monkeypatch.setattr(tiling, "QUERY_TILE", 8)
    mask, _ = make_masks(B, T, S, N)[name]
    assert_equal(with_gradients(attend_on_ring(MESH, mask=mask)), with_gradients(whole(mask)))


def test_lengths_that_are_no_multiples_of_tiles_and_half_precision():
    arrays = random_arrays(
        np.random.default_rng(1), (1, 40, 3, 4), (1, 24, 1, 4), (1, 24, 1, 4), dtype="bfloat16"
    )
    mask = Causal() & Padding(jnp.arange(24)[None] < 21)
    found = with_gradients(attend_on_ring(MESH, mask=mask), arrays)
    assert_equal(found, with_gradients(whole(mask), arrays), atol=3e-2)


def test_tiles_that_the_mask_empties_are_not_visited(monkeypatch):
    monkeypatch.setattr(tiling, "KEY_TILE", 8)
    monkeypatch.setattr(tiling, "QUERY_TILE", 16)
    seen = []
    visit = run_time.RunTimeVisits.visit

    def counting(self, *given):
        jax.debug.callback(lambda counts: seen.append(int(counts[:, 1].sum())), self.counts)
        return visit(self, *given)

    monkeypatch.setattr(run_time.RunTimeVisits, "visit", counting)
    query, key = random_arrays(np.random.default_rng(0), (1, 128, 1, 4), (1, 128, 1, 4))
    attend_on_ring(MESH, mask=Causal())(query, key, key)
    jax.effects_barrier()
    assert len(seen) == 8 * 8  # devices times steps, of one tile of queries and two of keys
    assert sum(seen) == 2 * (8 * 9 // 2)


def test_only_neighbors_communicate():
    shapes = [jax.ShapeDtypeStruct((2, 64, 4, 8), jnp.float32)] * 3
    run = jax.jit(jax.grad(lambda *x: jnp.sum(attend_on_ring(MESH, mask=Causal())(*x) ** 2)))
    text = run.lower(*shapes).compile().as_text()
    names = r"all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter"
    assert set(re.findall(rf"\b({names})(?:-start)?\(", text)) == {"collective-permute"}


def test_data_and_sequence_are_divided_together():
    mesh = Mesh(np.array(jax.devices()[:8]).reshape(2, 4), ("data", "sequence"))
    attention = attend_on_ring(mesh, batch_axis="data", mask=Causal())
    assert_equal(with_gradients(attention), with_gradients(whole(Causal())))


def test_what_is_refused():
    query, key, value = ARRAYS
    with pytest.raises(ValueError, match=r"30 queries and 64 keys .* give multiples of 8"):
        attend_on_ring(MESH)(query[:, :30], key, value)
    with pytest.raises(NotImplementedError, match="the score Additive is not for ring attention"):
        attend_on_ring(MESH, score=Additive(jnp.ones(H)))(query, key, value)
