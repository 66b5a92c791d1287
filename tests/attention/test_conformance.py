"""Every implementation against the oracle: forward and every gradient, over what it supports."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import Causal, Padding, Positions, Segments, Window, api, attend
from attn_research.attention.backends.pallas_gpu import backend as pallas
from attn_research.attention.testing.cases import MASKS, SCORES, Case, pose, random_arrays
from attn_research.attention.testing.comparison import examine
from experiments.conformance.matrix import MECHANISMS, SIZES, interpret_kernels, make_matrix

# The most keys that one query sees under those masks that bound them.
WIDTHS = {"window": 4, "around": 5, "causal & padding & window": 4}


def few_keys(case):
    width = min(WIDTHS.get(name, math.inf) for name in (case.mask, case.local))
    of_every_key = "location" in case.score or "s" in (case.bias or "")
    return 2 * width <= case.sizes[2] and not of_every_key


def plain_products(case):
    of_products = not ("additive" in case.score or case.bias or case.gaussian)
    return of_products and case.mask != "dense"


def in_bands(case):
    halves = case.dtype != "float32" and case.sizes[5] == case.sizes[6] == 8
    return plain_products(case) and halves and case.mask in ("full", "causal")


def joined_by_and(case):
    known = case.mode == "train" and not (case.dropout or case.dtype == "float16")
    joined = case.mask not in ("around", "window or padding", "nowhere")
    return plain_products(case) and known and joined


# One row per implementation: the cases it supports. It must refuse the others.
SUPPORTS = {
    "cudnn": in_bands,
    "hopper": lambda case: False,  # of such widths; others are in test_hopper
    "pallas": plain_products,
    "splash": joined_by_and,
    "gathered": few_keys,
    "tiled": lambda case: True,
    "reference": lambda case: True,
}
# They give no weights.
NO_WEIGHTS = ("cudnn", "splash")
# Loops over tiles take seconds to compile: one case of three, with each score and each mask.
ONE_OF = {"tiled": 3}
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
    monkeypatch.setattr(pallas, "TILES", {256: ((32, 16), (32, 16), (16, 32))})


LENGTHS = [(1, 1), (1, 257), (257, 1), (257, 256)] + [
    tuple(pair) for pair in np.random.default_rng(0).integers(1, 258, (2, 2)).tolist()
]
DROPOUT = Case("additive", "window", "bs", sizes=(2, 5, 7, 4, 2, 3, 7), dropout=0.4)
GAUSSIAN = Case("dot", "around", sizes=SIZES, gaussian=True)
CASES = [
    *(Case(score, mask, bias="nts") for score, mask in itertools.product(SCORES, MASKS)),
    *(
        Case(score, "causal & left padding", bias, dtype)
        for score, bias, dtype in itertools.product(SCORES, (None, "bts"), ("bfloat16", "float16"))
    ),
    *(Case(bias=bias) for bias in ("s", "ns", "bs", "bnts")),
    *(Case(dtype=dtype, mask="padding") for dtype in ("bfloat16", "float16")),
    DROPOUT,
    *(Case(sizes=(2, 5, 7, n, k, 3, 6), mask="window") for n, k in ((1, 1), (3, 3), (6, 1))),
    *(
        Case(score, "causal & left padding", "n", sizes=(2, T, S, 3, 1, 4, 5))
        for (T, S), score in zip(LENGTHS, itertools.cycle(SCORES), strict=False)
    ),
    *(
        Case(score, mask, "nt", sizes=SIZES)
        for score, mask in zip(SCORES, itertools.cycle(WIDTHS), strict=False)
    ),
    Case("additive", "around", "b", "bfloat16", SIZES, gaussian=True),
    *(Case("general", "window", sizes=(2, T, S, 3, 1, 4, 5)) for T, S in ((1, 8), (40, 9))),
    GAUSSIAN,
    Case("location", "padding", "nts", gaussian=True),
    Case(mask="nowhere", gaussian=True),
]
# Kernels that are run an operation at a time take seconds too: they have cases of their own, of
# several tiles, and some of the others to refuse.
TILES, EIGHT = (2, 20, 37, 4, 2, 3, 6), (2, 9, 17, 4, 2, 8, 8)
KERNEL_CASES = {
    "cudnn": [Case(mask=mask, dtype="bfloat16", sizes=EIGHT) for mask in ("full", "causal")]
    + [Case("dot", "causal", dtype="bfloat16", sizes=EIGHT)],
    "hopper": [],
    "pallas": [
        Case("dot", "causal & left padding", sizes=TILES),
        Case("general", "around", sizes=TILES),
        Case("location_per_head", "segments", sizes=TILES),
        Case("scaled_dot", "window or padding", dtype="bfloat16", sizes=TILES),
        Case("general_per_head", "future of the segment", dtype="float16", sizes=TILES),
        Case(mask="causal & padding & window", sizes=(2, 1, 257, 3, 1, 4, 5)),
        Case(mask="window", sizes=(2, 20, 37, 4, 2, 3, 37), dropout=0.4),
        Case("location", "padding", dtype="bfloat16", sizes=TILES),
        Case(mask="full", dtype="float16", sizes=(2, 40, 33, 3, 3, 5, 4)),
        Case("dot", "causal", sizes=(2, 257, 9, 6, 1, 3, 6)),
        Case(mask="nowhere"),
    ],
    "splash": [
        Case("dot", "causal & left padding"),
        Case("general", "segments", dtype="bfloat16"),
        Case("location", "window", sizes=(2, 130, 9, 3, 1, 4, 5)),
    ],
}


def cases_of(implementation):
    if implementation not in KERNEL_CASES:
        # One mask further with each score, whether or not there are three times as many masks.
        turns = ((number + number // len(MASKS), case) for number, case in enumerate(CASES))
        return [case for turn, case in turns if turn % ONE_OF.get(implementation, 1) == 0]
    refused = [case for case in CASES[::9] if not SUPPORTS[implementation](case)]
    return KERNEL_CASES[implementation] + refused


def verify(implementation, case):
    """Raises AssertionError where the implementation is not the oracle, within stated bounds."""
    # Loops, and a new shape, compile faster as a whole.
    as_whole = implementation in ("tiled", *KERNEL_CASES) or case.sizes != Case.sizes
    capture = None if implementation in NO_WEIGHTS else "all"
    transform = jax.jit if as_whole else lambda function: function
    assert not examine(implementation, case, transform, capture).wrong()


@pytest.mark.parametrize(
    ("implementation", "case"),
    [(i.name, case) for i in api.IMPLEMENTATIONS for case in cases_of(i.name)],
    ids=str,
)
def test_implementation_equals_oracle(implementation, case):
    if SUPPORTS[implementation](case):
        verify(implementation, case)
    else:
        with pytest.raises(NotImplementedError):
            verify(implementation, case)


@pytest.mark.parametrize("implementation", SUPPORTS)
def test_of_the_matrix_it_supports_what_it_must(implementation):
    for question in make_matrix([implementation], MECHANISMS, MASKS):
        (case,) = question.cases
        capture = None if implementation in NO_WEIGHTS else "all"
        supported = pose(case, capture).unsupported(implementation) is None
        assert supported == SUPPORTS[implementation](case), str(case)


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
    # Keys that nobody sees get nothing either: those before 2, after the last query, all of mate 1.
    for keys in (key, value):
        assert not keys[0, :2].any() and not keys[0, 5:].any() and not keys[1].any()
    assert value[0, 2:5].all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@OF_POSITIONS
def test_masked_keys_leave_no_trace(implementation, dtype):
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
            # The cache beyond the rows written so far holds what must not be seen.
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
def test_key_positions_are_those_of_a_cache_written_in_a_ring(implementation):
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
def test_batch_axes_are_only_batch_axes(implementation):
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
