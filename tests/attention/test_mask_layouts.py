"""Layouts of masks: the kinds of their tiles, beside the masks written out."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import Causal, Full, Padding, Window
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
