"""Masks by tile: each rule equals its mask, and its kinds of tiles are true."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import (
    Around,
    Causal,
    Full,
    Mask,
    Padding,
    Positions,
    Window,
)
from attn_research.attention.backends.tiles.rules import call_positions, tile_rule
from attn_research.attention.masks import Tile
from attn_research.attention.positions import grid
from attn_research.trees import pytree
from tests.attention.inputs import three_segments

B, T, S = 2, 21, 27
RNG = np.random.default_rng(0)
VALID = Padding(jnp.asarray(np.arange(S) < np.array([[9], [26]])))
SEGMENTS = three_segments(B, T, S)
AROUND = Around(jnp.asarray(np.sort(RNG.uniform(-3, S, (B, T))).astype(np.float32)), 4)
MASKS = {
    "full": Full(),
    "causal": Causal(),
    "padding": VALID,
    "segments": SEGMENTS,
    "around": AROUND,
    "window & padding": Window(5, 2) & VALID,
    "causal & segments | full & padding": Causal() & SEGMENTS | Full() & VALID,
    "not around & not full": ~AROUND & ~(~Full()),
}
SHORTER = Positions(query=2 * jnp.arange(T)), Positions(key=jnp.asarray([np.arange(S) + 3] * B))
LATER = {"counted": Positions(), "queries": SHORTER[0], "keys": SHORTER[1]}


@pytest.mark.parametrize("positions", LATER)
@pytest.mark.parametrize("name", MASKS)
def test_a_tile_rule_equals_its_mask(name, positions):
    mask, given = MASKS[name], LATER[positions]
    at = call_positions(given, (B,), T, S)
    q_pos, k_pos = grid(jnp.asarray(at.query), jnp.asarray(at.key), rank=4)
    expected = np.broadcast_to(mask(q_pos, k_pos), (B, 1, T, S))[:, 0]
    rule = tile_rule(mask, at)
    allowed = rule.allowed(
        q_pos[:, 0],
        k_pos[:, 0],
        tuple(each[..., :, None] for each in rule.queries),
        tuple(each[..., None, :] for each in rule.keys),
    )
    np.testing.assert_array_equal(np.broadcast_to(allowed, (B, T, S)), expected)

    for tile in (4, 6), (8, 8), (32, 5):
        kinds = np.broadcast_to(rule.kinds(tile), (B, -(-T // tile[0]), -(-S // tile[1])))
        for b, row, column in np.ndindex(kinds.shape):
            rows, columns = (
                slice(i * n, (i + 1) * n) for i, n in zip((row, column), tile, strict=True)
            )
            seen, kind = expected[b, rows, columns], kinds[b, row, column]
            assert kind != Tile.EMPTY or not seen.any()
            assert kind != Tile.FULL or seen.all()


def test_array_masks_classify_tiles():
    at = call_positions(Positions(), (B,), T, S)
    of_segments = tile_rule(SEGMENTS, at).kinds((7, 9))
    np.testing.assert_array_equal(of_segments[0], 2 * np.eye(3))
    np.testing.assert_array_equal(of_segments[1], 2 * np.eye(3, k=1))
    np.testing.assert_array_equal(tile_rule(VALID, at).kinds((7, 9))[:, 0], [[2, 0, 0], [2, 2, 1]])
    both = tile_rule(Causal() & SEGMENTS, at).kinds((7, 9))
    np.testing.assert_array_equal(both, [np.eye(3), np.zeros((3, 3))])


def test_tiles_of_structural_masks_are_known_at_trace_time():
    kinds = tile_rule(Causal() & ~Window(3, 0), call_positions(Positions(), (B,), T, S)).kinds(
        (4, 4)
    )
    assert isinstance(kinds, np.ndarray)


@pytree
@dataclasses.dataclass(frozen=True)
class Listed(Mask):
    """The keys whose positions stand in a list."""

    keys: object

    def __call__(self, q_pos, k_pos):
        return (k_pos[..., None] == self.keys).any(axis=-1) & (q_pos == q_pos)


@pytree
@dataclasses.dataclass(frozen=True)
class Table(Mask):
    """Keys of a table that is no leaf."""

    def __call__(self, q_pos, k_pos):
        return jnp.asarray(np.array([True, False, True]))[k_pos % 3] & (q_pos == q_pos)


def test_masks_without_a_tile_rule_are_refused():
    at = call_positions(Positions(), (B,), T, S)
    with pytest.raises(NotImplementedError, match="the mask Listed has arrays, and no rule"):
        tile_rule(Causal() & Listed(jnp.arange(3)), at)
    with pytest.raises(NotImplementedError, match="the mask Table looks up a table"):
        tile_rule(Table(), at)
