"""Positions: every integer dtype is exact or refused, and nothing is at a negative position."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import (
    Around,
    Causal,
    Dense,
    Full,
    Padding,
    Positions,
    Segments,
    Window,
    attend,
)
from attn_research.attention.positions import signed

T, S = 60, 70
RNG = np.random.default_rng(0)
QUERY, KEY, VALUE = (jnp.asarray(RNG.normal(size=(2, n, 2, 4)), jnp.float32) for n in (T, S, S))
IMPLEMENTATIONS = "reference", "tiled", "gathered"


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32"])
def test_narrow_dtypes_give_the_result_of_int32(dtype, implementation):
    def run(dtype):
        positions = Positions(query=jnp.arange(T).astype(dtype))
        mask = Window(20, 3) | Window(5, 0)
        options = {"mask": Window(20, 3) if implementation == "gathered" else mask}
        return attend(
            QUERY, KEY, VALUE, positions=positions, implementation=implementation, **options
        ).context

    np.testing.assert_array_equal(run(dtype), run("int32"))


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (jnp.arange(T, dtype=jnp.float32), "of dtype float32: give signed integers"),
        (jnp.arange(T, dtype=jnp.uint32), "of dtype uint32: give signed integers"),
        (jnp.ones(T, bool), "of dtype bool: give signed integers"),
        (np.arange(T) + 2**33, "reach past 2147483647"),
    ],
)
def test_positions_that_are_not_exact_are_refused(given, reason):
    with pytest.raises(ValueError, match=rf"Positions\(query\) {reason}"):
        attend(QUERY, KEY, VALUE, positions=Positions(query=given))
    with pytest.raises(ValueError, match=f"positions {reason}"):
        signed(given)


@pytest.mark.parametrize("xp", [np, jnp])
def test_windows_are_exact_up_to_the_ends_of_int32(xp):
    most = 2**31 - 1
    q_pos, k_pos = xp.array([[0], [most]]), xp.array([[0, 1, most]])
    for window, expected in (
        (Window(0, most), [[1, 1, 1], [0, 0, 1]]),
        (Window(most, 0), [[1, 0, 0], [1, 1, 1]]),
        (Window(2**40, 2**40), [[1, 1, 1], [1, 1, 1]]),
        (Window(most - 1, 0), [[1, 0, 0], [0, 1, 1]]),
    ):
        np.testing.assert_array_equal(window(q_pos, k_pos), np.array(expected, bool))
    unsigned = xp.arange(5, dtype=np.uint8)
    expected = np.tri(5, dtype=bool) & ~np.tri(5, k=-3, dtype=bool)
    np.testing.assert_array_equal(Window(2, 0)(unsigned[:, None], unsigned[None]), expected)


# Left padding as other libraries count it: -1 for what is no word.
VALID = jnp.array([[True, False, True, True]])
IDS = jnp.array([[1, 1, 2, 2]])
POS = np.array([-1, 0, 1, 2])
BOTH = (POS[:, None] >= 0) & (POS[None] >= 0)
MASKS = {
    "full": (Full(), BOTH),
    "causal": (Causal(), BOTH & (POS[None] <= POS[:, None])),
    "window": (Window(1, 0), BOTH & (POS[None] <= POS[:, None]) & (POS[None] >= POS[:, None] - 1)),
    "around": (Around(jnp.zeros((1, 4)), 1), BOTH & (np.abs(POS[None]) <= 1)),
    "padding": (Padding(VALID), BOTH & np.array([False, True, False, True])),
    "not padding": (~Padding(VALID), BOTH & np.array([False, False, True, False])),
    "segments": (Segments(IDS, IDS), BOTH & ((POS[:, None] < 2) == (POS[None] < 2))),
    "dense": (Dense(jnp.ones((1, 4, 4), bool)), BOTH),
}  # fmt: skip


@pytest.mark.parametrize("implementation", ["reference", "tiled"])
@pytest.mark.parametrize("name", MASKS)
def test_nothing_is_at_a_negative_position(name, implementation):
    mask, expected = MASKS[name]
    arrays = (array[:1, :4] for array in (QUERY, KEY, VALUE))
    positions = Positions(query=jnp.asarray(POS), key=jnp.asarray(POS))
    found = attend(
        *arrays, mask=mask, positions=positions, capture="all", implementation=implementation
    )
    weights = np.broadcast_to(expected, found.weights.shape)
    np.testing.assert_array_equal(np.asarray(found.weights) > 0, weights)
    np.testing.assert_array_equal(found.context[:, 0], 0)


@pytest.mark.parametrize("name", ["padding", "segments", "dense"])
def test_masks_with_arrays_are_false_before_their_start(name):
    mask, _ = MASKS[name]
    negative, real = jnp.array([-1, -4]), jnp.arange(4)
    for q_pos, k_pos in ((negative, real), (real, negative)):
        if name != "padding" or q_pos is real:
            allowed = mask(q_pos.reshape(1, 1, -1, 1), k_pos.reshape(1, 1, 1, -1))
            assert not allowed.any()


def test_gradients_at_negative_positions_are_zero():
    positions = Positions(query=jnp.arange(T) - 30)

    def loss(query, implementation):
        found = attend(query, KEY, VALUE, positions=positions, implementation=implementation)
        return (found.context**2).sum()

    for implementation in ("reference", "tiled"):
        gradient = jax.grad(loss)(QUERY, implementation)
        np.testing.assert_array_equal(gradient[:, :30], 0)
        assert np.abs(gradient[:, 30:]).min() > 0
