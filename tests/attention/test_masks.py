"""Masks as written-out matrices, their algebra, their layouts, and their tracing."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import (
    Around,
    Causal,
    Dense,
    Full,
    Mask,
    Padding,
    Positions,
    Segments,
    Window,
)
from attn_research.attention.masks import Tile
from attn_research.attention.positions import grid
from attn_research.trees import pytree
from tests.attention.written import assert_written, written

WRITTEN = {
    "full": (Full(), ["1111", "1111", "1111"]),
    "causal": (Causal(), ["1000", "1100", "1110"]),
    "window 1 0": (Window(1, 0), ["1000", "1100", "0110"]),
    "window 0 1": (Window(0, 1), ["1100", "0110", "0011"]),
    "window 1 2": (Window(1, 2), ["1110", "1111", "0111"]),
    "window 0 0": (Window(0, 0), ["1000", "0100", "0010"]),
    "not causal": (~Causal(), ["0111", "0011", "0001"]),
    "and": (Causal() & Window(1, 1), ["1000", "1100", "0110"]),
    "or": (Causal() | Window(0, 1), ["1100", "1110", "1111"]),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_structural_masks_written_out(name):
    assert_written(*WRITTEN[name])


def test_array_masks_written_out():
    valid = np.array([[1, 1, 0, 0], [0, 1, 1, 1]], bool)
    q_ids, k_ids = np.array([[0, 0, 1], [2, 5, 5]]), np.array([[0, 1, 1, 3], [5, 2, 2, 2]])
    padding, segments = (
        Padding(jnp.asarray(valid)),
        Segments(jnp.asarray(q_ids), jnp.asarray(k_ids)),
    )
    assert padding.dense(3, 4).shape == segments.dense(3, 4).shape == (2, 1, 3, 4)
    np.testing.assert_array_equal(padding.dense(3, 4)[0, 0], written(["1100"] * 3))
    np.testing.assert_array_equal(padding.dense(3, 4)[1, 0], written(["0111"] * 3))
    np.testing.assert_array_equal(segments.dense(3, 4)[0, 0], written(["1000", "1000", "0110"]))
    np.testing.assert_array_equal(segments.dense(3, 4)[1, 0], written(["0111", "1000", "1000"]))
    both = (Causal() & padding).dense(3, 4)
    np.testing.assert_array_equal(both[1, 0], written(["0000", "0100", "0110"]))


def test_dense_masks_are_indexed_by_positions():
    allowed = np.array([written(["110", "011"]), written(["100", "001"])])
    mask = Dense(jnp.asarray(allowed))
    np.testing.assert_array_equal(mask.dense(2, 3), allowed[:, None])
    ends = np.pad(allowed, [(0, 0), (0, 1), (0, 1)])
    np.testing.assert_array_equal(mask.dense(3, 4), ends[:, None])
    # A query with keys of its own, as where keys are gathered.
    q_pos, k_pos = np.array([1, 0]).reshape(1, 1, 2, 1), np.array([[2, 0], [1, 2]])[None, None]
    np.testing.assert_array_equal(mask(q_pos, k_pos)[:, 0], [[[1, 0], [1, 0]], [[1, 0], [0, 0]]])
    mask.check((2,), 2, 3)
    mask.check((2,), None, None)
    for size in ((2,), 3, 3), ((2,), 2, 4), ((3,), 2, 3):
        with pytest.raises(ValueError, match=r"Dense\(allowed\) has shape \(2, 2, 3\)"):
            mask.check(*size)
    with pytest.raises(ValueError, match=r"Dense\(allowed\) has dtype int"):
        Dense(jnp.asarray(allowed.astype(int))).check((2,), 2, 3)


def test_around_written_out():
    # Whole centers have a key more than those between two; some keys, or all, may be past the ends.
    around = Around(jnp.array([[1.0, 1.5, 2.25], [-1.0, 4.5, 9.0]]), 1).dense(3, 4)
    np.testing.assert_array_equal(around[0, 0], written(["1110", "0110", "0011"]))
    np.testing.assert_array_equal(around[1, 0], written(["1000", "0000", "0000"]))


def test_around_measures_distances_in_float32():
    center = jnp.array([[299.0]], jnp.bfloat16)  # rounds to 300, as would 299 and 301
    around = Around(center, 0).dense(1, 310)
    assert np.flatnonzero(around[0, 0, 0]).tolist() == [300]


def test_centers_belong_to_the_queries_of_the_call():
    around = Around(jnp.array([[1.0, 2.0]]), 0)
    q_pos, k_pos = grid(np.array([7, 8]), np.arange(4), rank=4)
    np.testing.assert_array_equal(around(q_pos, k_pos)[0, 0], written(["0100", "0010"]))
    with pytest.raises(ValueError, match=r"has shape \(1, 2\): give one for each of the 3"):
        around.dense(3, 4)


@pytest.mark.parametrize("left, right", list(itertools.product(range(4), repeat=2)))
def test_window_lists_the_visible_keys_of_each_query(left, right):
    dense = Window(left, right).dense(6, 9)
    for t in range(6):
        assert np.flatnonzero(dense[t]).tolist() == [
            s for s in range(9) if t - left <= s <= t + right
        ]


def test_negative_window_sizes_are_refused():
    with pytest.raises(ValueError, match="neither is negative"):
        Window(-1, 0)
    with pytest.raises(ValueError, match=r"half_width=-1\): it must not be negative"):
        Around(np.zeros((1, 3), np.float32), -1)


def near(rng, *shape):
    """Numbers that floats can barely tell from whole and half ones."""
    doubled = rng.integers(-8, 60, shape).astype(np.float32)
    return jnp.asarray(np.nextafter(doubled, doubled + rng.integers(-1, 2, shape)) / 2, np.float32)


CENTERS = near(np.random.default_rng(0), 2, 300)
BOUNDED = {
    "window": (Window(2, 5), 8),
    "around": (Around(CENTERS, 3), 7),
    "around one": (Around(CENTERS, 0), 1),
    "narrower of two": (Window(0, 1) & Around(CENTERS, 3) & Full(), 2),
    "bounded on one side alone": (Causal() & (Window(1, 4) & ~Around(CENTERS, 3)), 6),
}


@pytest.mark.parametrize("name", BOUNDED)
def test_span_contains_every_key_of_a_query(name):
    mask, width = BOUNDED[name]
    num_keys = 24
    q_pos, k_pos = grid(np.arange(300) % num_keys, np.arange(num_keys), rank=4)
    start, got = mask.span(q_pos)
    assert got == width
    assert np.issubdtype(start.dtype, np.signedinteger)
    inside = (start <= k_pos) & (k_pos < start + width)
    assert not np.any(mask(q_pos, k_pos) & ~inside)


def test_masks_without_bounds_have_no_span():
    for mask in (Full(), Causal(), Window(1, 1) | Causal(), ~Window(1, 1), Causal() & ARRAYS[0]):
        assert mask.span(np.arange(3)[:, None]) is None


STRUCTURES = [Full(), Causal(), Window(2, 1), ~Window(0, 3), Causal() & ~Window(1, 0)]
ARRAYS = [
    Padding(jnp.arange(7)[None] < jnp.array([[4], [0]])),
    Segments(jnp.array([[0, 0, 1, 1, 2], [3, 3, 3, 4, 4]]), jnp.array([[0, 1, 1, 2, 2, 2, 3]] * 2)),
    Around(jnp.array([[0.5, 1, 2, 9, -1], [5, 3.25, 2, 1, 0]]), 1),
    Dense(jnp.asarray(np.random.default_rng(0).random((2, 5, 7)) < 0.5)),
]


@pytest.mark.parametrize("a, b", list(itertools.combinations(STRUCTURES + ARRAYS, 2)))
def test_masks_form_a_boolean_algebra(a, b):
    def equal(left, right):
        same(left.dense(5, 7), right.dense(5, 7))

    def same(left, right):
        np.testing.assert_array_equal(*np.broadcast_arrays(left, right))

    equal(~(a & b), ~a | ~b)
    equal(~(a | b), ~a & ~b)
    equal(~~a, a)
    equal(a & b, b & a)
    equal(a & (a | b), a)
    equal(a & ~a, ~Full())
    same((a & b).dense(5, 7), np.asarray(a.dense(5, 7)) & np.asarray(b.dense(5, 7)))
    same((a | b).dense(5, 7), np.asarray(a.dense(5, 7)) | np.asarray(b.dense(5, 7)))


@pytest.mark.parametrize("mask", STRUCTURES, ids=str)
def test_traced_positions_give_the_same_rows_as_numpy(mask):
    q_pos, k_pos = grid(np.arange(5), np.arange(7), rank=2)
    assert isinstance(mask(q_pos, k_pos), np.ndarray)
    rows = jax.jit(lambda q_pos: jnp.broadcast_to(mask(q_pos, k_pos), (5, 7)))(q_pos)
    np.testing.assert_array_equal(rows, mask.dense(5, 7))


def test_positions_of_each_batch_element():
    query, key = np.array([[0, 1, 2], [4, 5, 6]]), np.arange(7)
    q_pos, k_pos = grid(query, key, rank=4)
    assert q_pos.shape == (2, 1, 3, 1) and k_pos.shape == (1, 1, 1, 7)
    asked = (Causal() & Window(1, 0) & Padding(np.arange(7)[None] != [[0], [4]]))(q_pos, k_pos)
    np.testing.assert_array_equal(asked[0, 0], written(["0000000", "0100000", "0110000"]))
    np.testing.assert_array_equal(asked[1, 0], written(["0001000", "0000010", "0000011"]))


def test_keys_past_the_end_of_an_array_are_masked():
    q_pos, k_pos = grid(np.arange(4), np.arange(4), rank=4)
    valid, ids = np.ones((1, 2), bool), np.zeros((1, 2), int)
    ends = written(["1100"] * 4)
    np.testing.assert_array_equal(
        jnp.broadcast_to(Padding(valid)(q_pos, k_pos), (1, 1, 4, 4))[0, 0], ends
    )
    np.testing.assert_array_equal(Segments(ids, ids)(q_pos, k_pos)[0, 0], ends & ends.T)


def test_positions_of_another_rank_are_refused():
    with pytest.raises(ValueError, match=r"spread them to \[\*B, 1, T, 1\]"):
        ARRAYS[0](np.arange(5)[:, None], np.arange(7)[None, :])


def test_a_new_mask_needs_only_a_predicate():
    @pytree
    @dataclasses.dataclass(frozen=True)
    class Even(Mask):
        def __call__(self, q_pos, k_pos):
            return (q_pos + k_pos) % 2 == 0

    np.testing.assert_array_equal((Even() & Causal()).dense(2, 3), written(["100", "010"]))
    assert (Even().layout(5, 7, 2) == Tile.PARTIAL).all()


def test_masks_of_equal_structure_are_equal_with_equal_hashes():
    assert Causal() & Window(1, 2) == Causal() & Window(1, 2)
    assert hash(~Causal() | Full()) == hash(~Causal() | Full())
    assert Window(1, 2) != Window(2, 1)
    assert Causal() & Full() != Causal() | Full()


def test_equal_masks_trace_once():
    traces = []

    @jax.jit
    def rows(mask, q_pos, k_pos):
        traces.append(mask)
        return jnp.any(mask(q_pos, k_pos))

    q_pos, k_pos = grid(np.arange(5), np.arange(7), rank=4)
    for valid in (np.ones((2, 7), bool), np.zeros((2, 7), bool)):
        rows(Causal() & Padding(jnp.asarray(valid)), q_pos, k_pos)
    assert len(traces) == 1
    rows(Window(1, 1) & Padding(jnp.asarray(valid)), q_pos, k_pos)
    assert len(traces) == 2


def test_positions_of_another_length_are_refused():
    Positions(query=np.arange(5), key=np.zeros((2, 7), int)).check((2,), 5, 7)
    with pytest.raises(ValueError, match=r"Positions\(query\) has shape \(4,\): give \(5,\) or"):
        Positions(query=np.arange(4)).check((2,), 5, 7)


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: Causal() and Padding(jnp.ones((1, 3), bool)),
        lambda: Causal() or Window(1, 1),
        lambda: not Causal(),
        lambda: 1 if Full() else 0,
    ],
)
def test_masks_have_no_truth_value(mistake):
    with pytest.raises(TypeError, match=r"join masks by & \| ~, not by `and`, `or`, `not`"):
        mistake()


@pytest.mark.parametrize(
    ("mistake", "reason"),
    [
        (lambda: Causal & Window(1, 1), r"Causal is a class: write Causal\(\) & ..."),
        (lambda: Causal() | Full, r"Full is a class: write Full\(\) | ..."),
        (lambda: Causal() & True, "& joins masks, and bool is none"),
        (lambda: "causal" | Full(), "joins masks, and str is none"),
        (lambda: Causal() & np.ones((3, 3), bool), "& joins masks, and ndarray is none"),
    ],
)
def test_what_is_no_mask_is_not_joined(mistake, reason):
    with pytest.raises(TypeError, match=reason):
        mistake()
