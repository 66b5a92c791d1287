"""Sparse masks as written-out matrices, masks by head and layer, and random blocks."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import (
    BlockWindow,
    ByHead,
    ByLayer,
    Causal,
    Dilated,
    Global,
    GlobalTokens,
    Prefix,
    RandomBlocks,
    Strided,
    Window,
    longformer,
    prefix_lm,
    sparse_transformer,
    streaming,
)
from attn_research.attention.positions import grid
from tests.attention.written import assert_written, written

WRITTEN = {
    "dilated 1 1 2": (Dilated(1, 1, 2), ["1010", "0101", "1010"]),
    "strided 2": (Strided(2), ["1010", "0101", "1010"]),
    "block window 2 0 1": (BlockWindow(2, 0, 1), ["1111", "1111", "0011"]),
    "block window 2 1 0": (BlockWindow(2, 1, 0), ["1100", "1100", "1111"]),
    "global 1 2": (Global(1, 2), ["0100", "1111", "0100"]),
    "prefix 2": (Prefix(2), ["1100", "1100", "1100"]),
    "prefix lm": (prefix_lm(2), ["1100", "1100", "1110"]),
    "sinks": (streaming(1, 1), ["1000", "1100", "1010"]),
    "longformer": (longformer(0), ["1111", "1100", "1010"]),
    "sparse transformer": (sparse_transformer(2), ["1000", "1100", "1110"]),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_masks_written_out(name):
    assert_written(*WRITTEN[name])


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: Dilated(1, 1, 0),
        lambda: Strided(0),
        lambda: BlockWindow(0, 1, 1),
        lambda: Global(3, 2),
        lambda: Prefix(-1),
        lambda: RandomBlocks(1, 0, 8),
        lambda: ByHead(()),
        lambda: streaming(0),
    ],
)
def test_sizes_that_make_no_sense_are_refused(mistake):
    with pytest.raises(ValueError, match=r"1 or more|0 or more|give"):
        mistake()


def test_masks_by_head_and_layer_written_out():
    by_head = ByHead((Window(0, 0), Causal()))
    rows = [written(["1000", "0100", "0010"]), written(["1000", "1100", "1110"])]
    np.testing.assert_array_equal(by_head.dense(3, 4), rows)
    np.testing.assert_array_equal(
        (~by_head & Prefix(3)).dense(3, 4)[0], ~rows[0] & Prefix(3).dense(3, 4)
    )
    layers = ByLayer((by_head, Window(0, 0), Causal()))
    assert layers.of_layer(0) == by_head and layers.of_layer(2) == Causal()
    traced = [layers.of_layer(jnp.int32(index)).dense(3, 4) for index in range(3)]
    np.testing.assert_array_equal(traced[0], rows)
    np.testing.assert_array_equal(jnp.broadcast_to(traced[2], (2, 3, 4))[0], rows[1])
    with pytest.raises(ValueError, match=r"attend with that of one, mask.of_layer\(index\)"):
        layers.dense(3, 4)
    with pytest.raises(ValueError, match="masks of 2 and 3 heads are joined"):
        _ = (by_head & ByHead((Causal(),) * 3)).num_heads


def test_global_tokens_written_out():
    query, key = np.array([[0, 1, 0]], bool), np.array([[0, 0, 0, 1]], bool)
    mask = GlobalTokens(jnp.asarray(query), jnp.asarray(key))
    np.testing.assert_array_equal(mask.dense(3, 4)[0, 0], written(["0001", "1111", "0001"]))
    with pytest.raises(ValueError, match=r"GlobalTokens\(key\) has dtype int"):
        GlobalTokens(jnp.asarray(query), jnp.zeros((1, 4), int)).check((1,), 3, 4)


def test_random_blocks_are_as_many_and_where_they_may_be():
    mask = RandomBlocks(3, 4, 64, ends=2, near=1, num_heads=5)
    blocks = mask.dense(64, 64)[:, ::4, ::4]  # [heads, 16, 16]
    np.testing.assert_array_equal(mask.dense(64, 64), np.kron(blocks, np.ones((1, 4, 4))) > 0)
    assert (blocks.sum(axis=-1) == 3).all()
    assert not blocks[:, :, :2].any() and not blocks[:, :, -2:].any()
    assert not (blocks & BlockWindow(1, 1, 1).dense(16, 16)).any()
    # Every block that may be drawn is drawn about as often.
    many = dataclasses.replace(mask, num_heads=400).dense(64, 64)[:, ::4, ::4]
    shares = many.mean(axis=0)[8, 2:14]
    allowed = np.abs(np.arange(2, 14) - 8) > 1
    np.testing.assert_allclose(shares[allowed], 3 / allowed.sum(), atol=0.12)


def test_random_blocks_differ_by_head_layer_and_seed_and_by_nothing_else():
    mask = RandomBlocks(2, 2, 40, num_heads=3)
    rows = mask.dense(40, 40)
    for other in (mask.of_layer(1), dataclasses.replace(mask, seed=1)):
        assert (other.dense(40, 40) != rows).any(axis=(1, 2)).all()
    assert (rows[0] != rows[1]).any() and (rows[1] != rows[2]).any()
    np.testing.assert_array_equal(mask.of_layer(0).dense(40, 40), rows)
    np.testing.assert_array_equal(
        mask.of_layer(jnp.int32(1)).dense(40, 40), mask.of_layer(1).dense(40, 40)
    )
    np.testing.assert_array_equal(mask.dense(7, 40), rows[:, :7])
    later, k_pos = grid(np.arange(30, 40), np.arange(40), rank=3)
    np.testing.assert_array_equal(mask(later, k_pos), rows[:, 30:])


@pytest.mark.parametrize("length", [1, 2, 5, 12])
def test_few_blocks_are_all_drawn_once(length):
    blocks = RandomBlocks(20, 1, length).dense(length, length)
    assert blocks.all()
