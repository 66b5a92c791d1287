"""Ring attention over eight devices, forward and backward, beside one device."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, PartitionSpec

from attn_research.attention import (
    Additive,
    ALiBi,
    Causal,
    Dropout,
    Padding,
    Positions,
    attend,
    attend_on_ring,
    explain,
    sparsemax,
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


@pytest.mark.parametrize("name", make_masks(B, T, S, N))
def test_ring_equals_one_device(name, monkeypatch):
    monkeypatch.setattr(tiling, "KEY_TILE", 8)
    monkeypatch.setattr(tiling, "QUERY_TILE", 8)
    mask, _ = make_masks(B, T, S, N)[name]
    assert_equal(with_gradients(attend_on_ring(MESH, mask=mask)), with_gradients(whole(mask)))


# The axes of training: those of the batch are manual, where attention finds the one of sequences.
AXES = ("data", "fsdp", "tensor", "sequence")
DIVIDED = Mesh(
    np.array(jax.devices()[:8]).reshape(1, 1, 1, 8), AXES, axis_types=(AxisType.Auto,) * 4
)


def in_divided_program(attention):
    def run(*arrays):
        spec = PartitionSpec(("data", "fsdp"))
        specs = tuple(spec if each.ndim == 4 else PartitionSpec() for each in arrays)
        return jax.shard_map(
            attention, mesh=DIVIDED, in_specs=specs, out_specs=spec, axis_names={"data", "fsdp"},
            check_vma=False,
        )(*arrays)  # fmt: skip

    return run


@pytest.mark.parametrize("name", make_masks(2, 33, 61, 4))
def test_attend_in_a_divided_program_of_odd_lengths(name):
    mask, _ = make_masks(2, 33, 61, 4)[name]
    arrays = random_arrays(np.random.default_rng(0), (2, 33, 4, 3), (2, 61, 2, 3), (2, 61, 2, 5))

    def attention(*arrays):
        return attend(*arrays, mask=mask).context

    found = with_gradients(in_divided_program(attention), arrays)
    assert_equal(found, with_gradients(whole(mask), arrays))


def test_a_learned_bias_of_positions_in_a_divided_program():
    slopes = jnp.array([0.5, 0.25, 0.1, 1.0])

    def of_ring(query, key, value, slopes):
        def attention(*arrays):
            options = dict(mask=Causal(), bias=ALiBi(arrays[3]))
            return attend(*arrays[:3], **options).context

        return in_divided_program(attention)(query, key, value, slopes)

    def whole(query, key, value, slopes):
        options = dict(mask=Causal(), bias=ALiBi(slopes), implementation="reference")
        return attend(query, key, value, **options).context

    def gradients(attention):
        def loss(*arrays):
            return jnp.sum(jnp.sin(attention(*arrays)))

        return jax.jit(jax.value_and_grad(loss, (0, 1, 2, 3)))(*ARRAYS, slopes)

    assert_equal(gradients(of_ring), gradients(whole), atol=2e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"capture": "all"}, "capture is not for a ring"),
        ({"dropout": Dropout(0.1, jax.random.key(0))}, "dropout is not for a ring"),
        ({"bias": jnp.zeros((1, 1, T, S))}, "bias is an array: give a function of positions"),
        ({"normalizer": sparsemax}, "^ring: the normalizer Sparsemax is not for a ring"),
        ({"positions": Positions(query=jnp.arange(T))}, "positions of its own are not for a ring"),
    ],
)
def test_what_a_divided_program_refuses(options, message):
    def attention(*arrays):
        return attend(*arrays, **options).context

    with pytest.raises(NotImplementedError, match=message):
        jax.eval_shape(in_divided_program(attention), *ARRAYS)

    def with_closure(query, key, value):
        def bias(q_pos, k_pos):
            return query[0, 0, 0, 0] * (q_pos - k_pos)

        return attend(query, key, value, bias=bias).context

    with pytest.raises(NotImplementedError, match="bias is a function that closes over arrays"):
        jax.eval_shape(in_divided_program(with_closure), *ARRAYS)
    (first, *_) = explain(*ARRAYS, **options)
    assert (first.name, first.reason) == ("ring", "no mesh axis 'sequence' divides this program")


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
    with pytest.raises(NotImplementedError, match="the score Additive has arrays"):
        attend_on_ring(MESH, score=Additive(jnp.ones(H)))(query, key, value)
