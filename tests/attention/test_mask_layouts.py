"""Layouts of masks: the kinds of their tiles, beside the masks written out."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import (
    BlockWindow,
    ByHead,
    Causal,
    Dilated,
    Full,
    Global,
    Padding,
    Prefix,
    RandomBlocks,
    Strided,
    Window,
    big_bird,
)
from attn_research.attention.masks import Tile


def tiles_of(dense, block):
    """The layout read off the dense mask."""
    rows = []
    for t in range(0, dense.shape[0], block):
        rows.append([])
        for s in range(0, dense.shape[1], block):
            tile = dense[t : t + block, s : s + block]
            rows[-1].append(Tile.FULL if tile.all() else Tile.PARTIAL if tile.any() else Tile.EMPTY)
    return np.array(rows)


SIZES = [(1, 1, 1), (5, 7, 1), (5, 7, 2), (7, 5, 3), (6, 6, 3), (8, 3, 16), (17, 31, 4), (40, 9, 5)]


@pytest.mark.parametrize("size", SIZES)
def test_layout_of_bands_is_exact(size):
    T, S, block = size
    bands = [Full(), Causal(), *(Window(left, right) for left in (0, 1, 4) for right in (0, 2, 7))]
    for mask in bands + [~mask for mask in bands]:
        layout = mask.layout(T, S, block)
        assert layout.dtype == np.int8
        np.testing.assert_array_equal(layout, tiles_of(mask.dense(T, S), block), str(mask))


SPARSE = [
    *(Dilated(left, right, step) for left in (0, 2) for right in (0, 3) for step in (1, 2, 5)),
    *(Strided(stride) for stride in (1, 2, 5, 50)),
    *(BlockWindow(block, left, 1) for block in (1, 3, 8) for left in (0, 2)),
    *(Global(start, start + n) for start in (0, 3) for n in (0, 1, 6)),
    *(Prefix(length) for length in (0, 1, 5, 50)),
]


@pytest.mark.parametrize("size", SIZES)
def test_layout_of_sparse_masks_is_exact(size):
    T, S, block = size
    for mask in SPARSE + [~mask for mask in SPARSE]:
        layout = mask.layout(T, S, block)
        assert layout.dtype == np.int8
        np.testing.assert_array_equal(layout, tiles_of(mask.dense(T, S), block), str(mask))


@pytest.mark.parametrize("size", SIZES)
def test_kinds_of_random_blocks_are_those_of_each_head(size):
    T, S, block = size
    for unit in (1, 3, 8):
        mask = RandomBlocks(2, unit, max(T, S), num_heads=3, near=0, ends=1)
        dense = mask.dense(T, S)
        kinds = mask.kinds((T, S), (block, block))
        expected = [tiles_of(dense[head], block) for head in range(3)]
        np.testing.assert_array_equal(kinds, expected)
        for head in range(3):
            of_head = mask.of_head(head)
            np.testing.assert_array_equal(of_head.dense(T, S), dense[head])
            np.testing.assert_array_equal(of_head.layout(T, S, block), expected[head])
        common = np.where(np.ptp(expected, axis=0), Tile.PARTIAL, expected[0])
        np.testing.assert_array_equal(mask.layout(T, S, block), common)


def test_layout_of_a_mask_by_head_is_what_all_heads_have_in_common():
    layout = ByHead((Causal(), Window(0, 3), Causal())).layout(6, 6, 3)
    np.testing.assert_array_equal(layout, [[1, 1], [1, 1]])
    assert ByHead((Causal(), Window(1, 0))).layout(6, 6, 3)[0, 1] == Tile.EMPTY


def test_big_bird_scores_512_keys_of_4096():
    """Table 8 of Zaheer et al. 2020: (2 + 3 + 3) blocks of 64, for all but the first and last."""
    mask = big_bird(4096, 2)
    keys = [mask.of_head(head).layout(4096, 4096, 64).astype(bool).sum(axis=1) for head in (0, 1)]
    assert (np.array(keys)[:, 2:-2] == 8).all() and (np.array(keys)[:, [0, -1]] == 64).all()


@pytest.mark.parametrize("size", SIZES)
def test_layout_of_compositions_is_exact_or_partial(size):
    T, S, block = size
    blocks = [Causal(), Window(3, 1), ~Window(1, 4), Full()]
    for a, b, c in itertools.permutations(blocks, 3):
        for mask in (a & b, a | b, ~(a & ~b) | c, (a | b) & ~c):
            layout, exact = mask.layout(T, S, block), tiles_of(mask.dense(T, S), block)
            assert ((layout == exact) | (layout == Tile.PARTIAL)).all(), mask


def test_layout_of_arrays_is_partial_unless_a_structural_mask_decides():
    padding = Padding(jnp.arange(7)[None] < jnp.array([[4], [0]]))
    assert (padding.layout(5, 7, 2) == Tile.PARTIAL).all()
    causal = Causal().layout(5, 7, 2)
    np.testing.assert_array_equal(
        (Causal() & padding).layout(5, 7, 2), np.minimum(causal, Tile.PARTIAL)
    )
    np.testing.assert_array_equal(
        (Causal() | padding).layout(5, 7, 2), np.maximum(causal, Tile.PARTIAL)
    )


def test_layout_of_a_million_positions():
    length, block = 1 << 20, 1024
    causal = Causal().layout(length, length, block)
    assert causal.shape == (1024, 1024)
    assert (causal == Tile.PARTIAL).sum() == 1024
    assert (causal == Tile.FULL).sum() == 1024 * 1023 // 2
    window = (Causal() & Window(4095, 0)).layout(length, length, block)
    seen = (window != Tile.EMPTY).sum(axis=1)
    assert seen.max() == 5 and seen.sum() == 1 + 2 + 3 + 4 + 5 * 1020
