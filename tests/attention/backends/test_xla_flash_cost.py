"""The cost of XLA flash attention: tiles visited, memory, and the size of the program."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from attn_research.attention import (
    Additive,
    BigBird,
    BlockWindow,
    ByHead,
    Capture,
    Causal,
    Dilated,
    Dropout,
    Full,
    GlobalTokens,
    Padding,
    Sigmoid,
    Window,
    attend,
    big_bird,
    explain,
    longformer,
    prefix_lm,
    streaming,
)
from attn_research.attention.backends.xla_flash import plan, rows, run_time, tiling
from attn_research.training.collectives import collectives
from attn_research.trees import pytree
from tests.attention.explained import verdict
from tests.attention.inputs import random_arrays

DROPOUT = Dropout(0.3, jax.random.key(3))


@pytest.fixture
def small(monkeypatch):
    """Tiles of 16 queries and 8 keys."""
    monkeypatch.setattr(tiling, "QUERY_TILE", 16)
    monkeypatch.setattr(tiling, "KEY_TILE", 8)
    monkeypatch.setattr(tiling, "QUERY_DIVISORS", (1,))
    monkeypatch.setattr(tiling, "KEY_DIVISORS", (1,))


def test_captured_rows_alone_are_computed():
    shapes = [jax.ShapeDtypeStruct((2, 4096, 8, 64), jnp.float32)] * 3

    def flops_and_bytes(capture):
        run = functools.partial(attend, implementation="tiled", capture=capture)
        lowered = jax.jit(run).lower(*shapes)
        return lowered.cost_analysis()["flops"]

    rows = tuple(range(0, 4096, 128))
    some = flops_and_bytes(Capture(heads=(0, 5), rows=rows)) - flops_and_bytes(None)
    assert 0 < some < 4 * 2 * 2 * len(rows) * 4096 * 64


def products(mask, length=64):
    """Products of query and key tiles that a call makes, counted as it runs."""
    calls = []

    @pytree
    @dataclasses.dataclass(frozen=True)
    class Counted(Additive):
        def __call__(self, query, key):
            jax.debug.callback(lambda: calls.append(1))
            return super().__call__(query, key)

        def pairwise(self, query, key):
            _, query, key = super().pairwise(query, key)
            return Counted(jnp.broadcast_to(self.vector, query.shape[-2:])), query, key

    rng = np.random.default_rng(0)
    arrays = [jnp.asarray(rng.standard_normal((1, length, 1, 2), np.float32)) for _ in range(3)]
    attend(*arrays, score=Counted(jnp.ones(2)), mask=mask, implementation="tiled")
    jax.effects_barrier()
    return len(calls)


def test_empty_tiles_are_never_computed(small):
    # 4 x 8 tiles of 16 queries and 8 keys.
    assert products(Full()) == 32
    assert products(Causal()) == 2 + 4 + 6 + 8
    assert products(Causal() & Window(8, 0)) == 2 + 3 + 3 + 3
    assert products(~Full()) == 0


def test_tiles_that_arrays_empty_are_never_computed(small, monkeypatch):
    monkeypatch.setattr(run_time, "LEAST_TILES", 1)
    monkeypatch.setattr(run_time, "partitioning_devices", lambda: 1)
    padding = Padding(jnp.arange(64)[None] < 20)
    assert products(padding) == 4 * 3
    first = jnp.arange(64)[None] < 1
    # Both of a tile of queries on the diagonal, all of the first, and the first of all.
    assert products(longformer(0, GlobalTokens(first, first))) == 8 + 3 * 3
    assert products(longformer(0, GlobalTokens(first, first)) & padding) == 3 + 2 + 1 + 1


SPARSE = {
    "Longformer": longformer(256),
    "BigBird": big_bird(4096, 4, block=32),
    "window": Window(256, 256),
    "streaming": streaming(512),
    "blocks": BlockWindow(64, 1, 1),
    "dilated": Dilated(128, 128, 2),
    "prefix": prefix_lm(64) & Window(256, 0),
    "heads": ByHead((Window(64, 64), Window(256, 256)) * 2),
}


@pytest.mark.parametrize("name", SPARSE)
def test_no_sparse_mask_falls_back_to_all_scores(name):
    shapes = [jax.ShapeDtypeStruct((1, 4096, 4, 64), jnp.float32)] * 3
    found = {row.name: row for row in explain(*shapes, mask=SPARSE[name])}
    (chosen,) = (row for row in found.values() if row.verdict == "chosen")
    assert chosen.name in ("tiled", "gathered")
    every = verdict("tiled", *shapes, mask=Full(), implementation="tiled").flops
    assert found["tiled"].flops < 0.5 * every


def test_explain_counts_the_tiles_of_each_head():
    shapes = [jax.ShapeDtypeStruct((1, 4096, 4, 64), jnp.float32)] * 3

    def flops(mask):
        return verdict("tiled", *shapes, mask=mask, implementation="tiled").flops

    narrow, wide = flops(Window(256, 0)), flops(Window(2048, 0))
    heads = ByHead((Window(256, 0), Window(2048, 0), Window(256, 0), Window(2048, 0)))
    assert flops(heads) == (narrow + wide) // 2
    # 512 of 4096 keys, in tiles that take more.
    assert flops(big_bird(4096, 4)) < 0.8 * flops(Full())


def test_full_tiles_are_computed_without_the_mask():
    calls = []

    @pytree
    @dataclasses.dataclass(frozen=True)
    class Counting(Full):
        def __call__(self, q_pos, k_pos):
            calls.append(1)
            return super().__call__(q_pos, k_pos)

    array = jax.ShapeDtypeStruct((1, 64, 1, 8), jnp.float32)
    run = functools.partial(attend, mask=Counting(), implementation="tiled")
    jax.eval_shape(jax.grad(lambda *a: run(*a).context.sum()), array, array, array)
    assert not calls


def test_costs_follow_the_mask():
    def flops(mask):
        shape = jax.ShapeDtypeStruct((1, 16384, 1, 64), jnp.float32)
        return verdict("tiled", shape, shape, shape, mask=mask, implementation="tiled").flops

    assert flops(Full()) > 4 * 64 * 16384**2
    assert flops(Causal()) < 0.55 * flops(Full())
    assert flops(Causal() & Window(255, 0)) < 0.07 * flops(Full())


LINEAR = [Causal(), Causal() & Window(255, 0), longformer(128), BigBird(64, num_heads=2)]


@pytest.mark.parametrize("mask", LINEAR, ids=str)
def test_memory_is_linear_in_length(mask):
    def temporary_bytes(length):
        def loss(*arrays):
            of_length = mask.of_length(length)
            out = attend(*arrays, mask=of_length, dropout=DROPOUT, implementation="tiled")
            return (out.context**2).sum()

        shape = jax.ShapeDtypeStruct((1, length, 2, 64), jnp.float32)
        compiled = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(shape, shape, shape).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    short, long = temporary_bytes(2048), temporary_bytes(16384)
    assert long < 8 * short
    assert long < 16 * 4 * 2 * 16384 * 64


def test_the_program_does_not_grow_with_the_length():
    def lines(length):
        shape = jax.ShapeDtypeStruct((1, length, 1, 8), jnp.float32)
        run = functools.partial(attend, mask=Causal(), implementation="tiled")
        loss = jax.grad(lambda *arrays: run(*arrays).context.sum(), argnums=(0, 1, 2))
        return len(re.findall(r"\n", jax.jit(loss).lower(shape, shape, shape).as_text()))

    assert lines(65536) == lines(8192)


SLOPES = jnp.array([0.1, 0.2, 0.4, 0.8]).reshape(1, 1, 4, 1, 1)
OPTIONS = {
    "causal": dict(mask=Causal()),
    "window, dropout": dict(mask=Window(6, 6), dropout=DROPOUT),
    "bias": dict(bias=lambda q_pos, k_pos: -0.1 * abs(q_pos - k_pos)),
    "bias by head": dict(bias=lambda q_pos, k_pos: -SLOPES * abs(q_pos - k_pos)),
    "additive": dict(score=Additive(jnp.linspace(-1, 1, 16).reshape(4, 4))),
    "sigmoid": dict(normalizer=Sigmoid(-2.0)),
    "padding": dict(
        mask=Padding(jnp.arange(24)[None, None] < jnp.array([[[24], [9]], [[1], [17]]]))
    ),
}


# Rows of a block: those of two batch elements, of one, or one.
@pytest.mark.parametrize("most", [4, 2, 1])
@pytest.mark.parametrize("name", OPTIONS)
def test_rows_of_one_device_are_one_loop(monkeypatch, name, most):
    monkeypatch.setattr(tiling, "QUERY_DIVISORS", (1,))
    monkeypatch.setattr(tiling, "KEY_DIVISORS", (1,))
    monkeypatch.setattr(plan, "partitioning_devices", lambda: 1)
    monkeypatch.setattr(run_time, "partitioning_devices", lambda: 1)
    monkeypatch.setattr(tiling, "QUERY_TILE", 32)
    monkeypatch.setattr(tiling, "KEY_TILE", 16)
    monkeypatch.setattr(plan, "scores_at_a_time", lambda: (most * 32 * 16, most * 32 * 16))
    arrays = random_arrays((2, 2, 20, 4, 4), (2, 2, 24, 2, 4), (2, 2, 24, 2, 5))

    def loss(query, key, value, implementation):
        found = attend(query, key, value, implementation=implementation, **OPTIONS[name])
        return (found.context**2).sum()

    run = jax.jit(jax.value_and_grad(loss, (0, 1, 2)), static_argnums=3)
    found, expected = (run(*arrays, each) for each in ("tiled", "reference"))
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-5, atol=4e-5), found, expected
    )
    lowered = run.lower(*arrays, "tiled").as_text()
    monkeypatch.setattr(rows, "_contiguous", lambda blocks: False)
    jax.clear_caches()
    nested = jax.jit(jax.value_and_grad(loss, (0, 1, 2)), static_argnums=3)
    fewer = lowered.count("while") < nested.lower(*arrays, "tiled").as_text().count("while")
    # A bias by head, and what each text has of its own, keep the axes apart.
    joint = name not in ("bias by head", "padding")
    assert fewer == (joint and (most < 4 or name == "additive"))  # whose rows are one at a time


@pytest.mark.parametrize("axes", [P("data"), P(None, None, "data")], ids=["batch", "heads"])
def test_padding_of_many_tiles_needs_no_collective_over_devices(axes):
    mesh = Mesh(np.array(jax.devices()), ("data",))
    valid_axes = P("data") if axes == P("data") else P()
    shape, valid = (
        jax.ShapeDtypeStruct(sizes, dtype, sharding=NamedSharding(mesh, its_axes))
        for sizes, dtype, its_axes in (
            ((8, 4096, 8, 8), jnp.float32, axes), ((8, 4096), jnp.bool_, valid_axes),
        )
    )  # fmt: skip

    def gradients(query, key, value, valid, cotangent):
        def context(*arrays):
            mask = Causal() & Padding(valid)
            return attend(*arrays, mask=mask, implementation="tiled").context

        return jax.vjp(context, query, key, value)[1](cotangent)

    compiled = jax.jit(gradients).lower(shape, shape, shape, valid, shape).compile()
    assert collectives(compiled.as_text()) == {}
