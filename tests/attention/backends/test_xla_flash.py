"""XLA flash attention: equality with the reference, capture, transformations and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import (
    Additive,
    Capture,
    Causal,
    Dot,
    Dropout,
    Gaussian,
    Location,
    Padding,
    Positions,
    Window,
    attend,
)
from attn_research.attention.backends.xla_flash import plan, tiling
from tests.attention.explained import chosen, verdict
from tests.attention.inputs import local_p, random_arrays, three_segments

B, T, S, N, K, H, Hv = 2, 21, 27, 4, 2, 3, 5
jitted = jax.jit(attend, static_argnames=("implementation", "capture"))


@pytest.fixture
def small(monkeypatch):
    """Tiles of 8 x 8, so that these lengths make several, the last of them in part."""
    monkeypatch.setattr(tiling, "QUERY_TILE", 16)  # of two heads each
    monkeypatch.setattr(tiling, "KEY_TILE", 8)


ARRAYS = random_arrays((B, T, N, H), (B, S, K, H), (B, S, K, Hv))
RNG = np.random.default_rng(1)
CENTER = jnp.asarray(RNG.uniform(0, S, (B, T)).astype(np.float32))
VALID = Padding(jnp.asarray(RNG.random((B, S)) < 0.7))
SEGMENTS = three_segments(B, T, S)
LATER = Positions(query=jnp.asarray([np.arange(T) + 3, 2 * np.arange(T)]), key=jnp.arange(S) + 1)
DROPOUT = Dropout(0.3, jax.random.key(3))


@jax.tree_util.Partial
def nearer(q_pos, k_pos):
    return -0.1 * jnp.abs(q_pos - k_pos)


def per_head(slopes):
    """A function of positions that closes over an array, one entry a head."""
    return lambda q_pos, k_pos: -slopes[None, :, None, None] * jnp.abs(q_pos - k_pos)


# Arrays that gradients are taken of, and the options made of them.
CASES = {
    "window and padding": ((), lambda: {"mask": Window(9, 2) & VALID}),
    "not causal or segments": ((), lambda: {"mask": ~Causal() | SEGMENTS}),
    "bias of every score": (random_arrays((B, N, T, S)), lambda bias: {"bias": bias}),
    "bias of keys": (random_arrays((1, N, 1, S)), lambda bias: {"bias": bias, "mask": Causal()}),
    "positions, bias as a function": (
        (),
        lambda: {"mask": Causal() & Window(12, 0), "bias": nearer, "positions": LATER},
    ),
    "bias that closes over an array": (
        random_arrays((N,)),
        lambda slopes: {"bias": per_head(slopes)},
    ),
    "bias of one array for all heads": (
        random_arrays((1,)),
        lambda slope: {"bias": per_head(slope), "mask": Causal()},
    ),
    "location": (random_arrays((H, S - 4)), lambda weight: {"score": Location(weight)}),
    "additive": (
        random_arrays((N, H)),
        lambda vector: {"score": Additive(vector), "mask": Causal()},
    ),
    "Gaussian around": (
        (CENTER,),
        lambda center: local_p(center, 6),
    ),
    "dropout, Gaussian and bias": (
        (CENTER, *random_arrays((1, 1, T, S))),
        lambda center, bias: {
            "normalizer": Gaussian(center, 4.0),
            "bias": bias,
            "dropout": DROPOUT,
            "mask": VALID,
        },
    ),
}


def with_gradients(make_options, learned, implementation, capture="all", arrays=ARRAYS):
    """Context, weights and all gradients."""

    @jax.jit
    def both(*given):
        def run(query, key, value, *learned):
            options = make_options(*learned)
            options |= {"implementation": implementation, "capture": capture}
            return attend(query, key, value, **options)

        out, pull = jax.vjp(run, *given)
        return out, pull(
            jax.tree.map(lambda x: jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape), out)
        )

    return both(*arrays, *learned)


def assert_equal(got, expected, **bounds):
    for a, b in zip(*map(jax.tree.leaves, (got, expected)), strict=True):
        assert a.dtype == b.dtype
        bounds = {"rtol": 1e-5, "atol": 1e-5} | bounds
        np.testing.assert_allclose(np.float32(a), np.float32(b), **bounds)


@pytest.mark.parametrize("name", CASES)
def test_several_tiles_equal_the_reference(name, small):
    learned, make_options = CASES[name]
    both = (with_gradients(make_options, learned, i) for i in ("tiled", "reference"))
    assert_equal(*both)


@pytest.mark.parametrize("name", CASES)
def test_tiles_taken_together_equal_the_reference(name, small, monkeypatch):
    """Of 3 tiles of queries two at a time, of 4 of keys three: the last step has too few."""
    chosen = tiling.Tiling((8, 8), of_queries=2, of_keys=3)
    monkeypatch.setattr(tiling, "choose_tiling", lambda *given, **_: chosen)
    learned, make_options = CASES[name]
    both = (with_gradients(make_options, learned, i) for i in ("tiled", "reference"))
    assert_equal(*both)


@pytest.mark.parametrize("capture", [None, Capture(heads=(3, 0), rows=(20, 1, 2))], ids=str)
def test_some_or_no_weights(capture, small):
    learned, make_options = CASES["dropout, Gaussian and bias"]
    assert_equal(
        *(with_gradients(make_options, learned, i, capture) for i in ("tiled", "reference"))
    )


SIZES = [(1, 257), (257, 1), *np.random.default_rng(0).integers(1, 258, (4, 2)).tolist()]
WIDTHS = [16, 256, *(8 * np.random.default_rng(1).integers(2, 33, 4)).tolist()]


@pytest.mark.parametrize("lengths, width", list(zip(SIZES, WIDTHS, strict=True)), ids=str)
def test_any_length_and_width(lengths, width, monkeypatch):
    monkeypatch.setattr(tiling, "QUERY_TILE", 64)
    monkeypatch.setattr(tiling, "KEY_TILE", 48)
    num_queries, num_keys = lengths
    arrays = random_arrays((1, num_queries, 2, width), *[(1, num_keys, 1, width)] * 2)
    options = lambda: {"mask": Causal() | Window(3, 3)}  # noqa: E731
    assert_equal(
        *(with_gradients(options, (), i, None, arrays) for i in ("tiled", "reference")), atol=5e-5
    )


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_rounded_once(dtype, small):
    halves = tuple(array.astype(dtype) for array in ARRAYS)
    options = lambda: {"mask": Causal() & VALID}  # noqa: E731
    (context, weights), gradients = with_gradients(options, (), "tiled", "all", halves)
    exact = tuple(array.astype(jnp.float32) for array in halves)
    (wide, wide_weights), _ = with_gradients(options, (), "tiled", "all", exact)
    assert context.dtype == gradients[0].dtype == dtype and weights.dtype == jnp.float32
    np.testing.assert_array_equal(weights, wide_weights)
    np.testing.assert_array_equal(context, wide.astype(dtype))


def test_vmap_and_scan_are_the_calls_one_by_one(small):
    query, key, value = ARRAYS
    bias = random_arrays((B, 1, N, 1, S))[0]

    def run(query, key, value, valid, bias):
        def loss(query):
            out = attend(
                query, key, value, mask=Padding(valid), bias=bias[0], implementation="tiled"
            )
            return (out.context**2).sum()

        return jax.grad(loss)(query)

    arrays = query, key, value, VALID.valid, bias
    together = jax.jit(jax.vmap(run))(*arrays)
    _, in_turn = jax.jit(lambda *a: jax.lax.scan(lambda _, each: (None, run(*each)), None, a))(
        *arrays
    )
    np.testing.assert_allclose(together, in_turn, rtol=1e-5, atol=1e-6)


def test_equal_masks_trace_once():
    traces = []

    @jax.jit
    def run(query, key, value, mask):
        traces.append(mask)
        return attend(query, key, value, mask=mask, implementation="tiled").context

    for _ in range(2):
        run.eval_shape(*ARRAYS, Causal() & Window(3, 0))
    assert len(traces) == 1


def weigh_like_a_softmax(scores, allowed, k_pos):
    return jax.nn.softmax(scores, where=allowed)


REFUSED = {
    "normalizer weigh_like_a_softmax needs whole rows of scores": {
        "normalizer": weigh_like_a_softmax
    },
    "score weigh_like_a_softmax has no pairwise form": {"score": weigh_like_a_softmax},
}


@pytest.mark.parametrize("reason", REFUSED)
def test_unsupported_calls_are_refused(reason):
    with pytest.raises(NotImplementedError, match=f"^tiled: the {reason}"):
        attend(*ARRAYS, **REFUSED[reason], implementation="tiled")


def chosen_name(num_queries, num_keys, **options):
    query, key = (jax.ShapeDtypeStruct((2, n, 2, 8), jnp.float32) for n in (num_queries, num_keys))
    return chosen(query, key, key, **options).name


def test_what_is_chosen_where_it_is_left_open():
    assert chosen_name(1024, 1024) == "tiled"
    assert chosen_name(128, 128) == "reference"
    assert chosen_name(1, 4096) == "reference"
    assert chosen_name(1, 4096, mask=Window(10, 10)) == "gathered"
    assert chosen_name(4096, 4096, mask=Window(10, 10)) == "tiled"
    other = jax.tree_util.Partial(weigh_like_a_softmax)
    assert chosen_name(1024, 1024, normalizer=other) == "reference"
    shape = jax.ShapeDtypeStruct((2, 16, 2, 8), jnp.float32)
    row = verdict("tiled", shape, shape, shape)
    assert (row.verdict, row.reason) == ("rejected", "16 x 16 scores are few enough to be whole")


def test_gathered_keys_are_dropped_as_the_others_are():
    options = {"mask": Window(2, 3), "dropout": DROPOUT, "score": Dot()}
    both = (jitted(*ARRAYS, **options, implementation=i) for i in ("gathered", "reference"))
    assert_equal(*both)


BIASES = [
    (1, 3, 1, 20, 24), (2, 1, 1, 20, 24), (2, 3, 2, 20, 24), (1, 1, 2, 20, 24), (1, 1, 1, 1, 24),
    (2, 1, 2, 1, 1), (1, 3, 2, 20, 1),
]  # fmt: skip


@pytest.mark.parametrize("as_function", [False, True])
@pytest.mark.parametrize("shape", BIASES)
def test_a_bias_is_shared_along_any_axes(monkeypatch, shape, as_function):
    monkeypatch.setattr(tiling, "QUERY_TILE", 16)
    monkeypatch.setattr(tiling, "KEY_TILE", 16)
    monkeypatch.setattr(plan, "scores_at_a_time", lambda: (2 * 16 * 16, 16 * 16))
    query, key, value, bias = random_arrays(
        (2, 3, 20, 2, 4), (2, 3, 24, 2, 4), (2, 3, 24, 2, 4), shape
    )
    if as_function:
        bias = bias[..., :1, :1]

    def loss(bias, query, implementation):
        if as_function:
            given = lambda q, k: bias * jnp.cos(0.1 * (q - k).astype(jnp.float32))  # noqa: E731
        else:
            given = bias
        found = attend(query, key, value, bias=given, implementation=implementation, capture="all")
        return (found.context**2).sum() + (found.weights**3).sum()

    found, expected = (
        jax.jit(jax.value_and_grad(loss, (0, 1)), static_argnums=2)(bias, query, name)
        for name in ("tiled", "reference")
    )
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_scores_around_1e20_have_finite_gradients():
    query, key, value = random_arrays((1, 40, 2, 8), (1, 40, 2, 8), (1, 40, 2, 8))

    def loss(value, implementation):
        arrays = 1e10 * query, 1e10 * key, value
        return attend(*arrays, mask=Window(30, 3), implementation=implementation).context.sum()

    found, expected = (jax.grad(loss)(value, name) for name in ("tiled", "reference"))
    np.testing.assert_array_equal(found, expected)


def test_scores_far_from_zero_are_as_exact_as_near_it():
    """The sum of exponentials is kept beside the maximum, not in one log-sum-exp."""
    query, key, value = random_arrays((1, 40, 2, 8), (1, 40, 2, 8), (1, 40, 2, 8))
    bias = jnp.full((1, 1, 1, 1), 2.0**14)
    context, weights = attend(query, key, value, bias=bias, implementation="tiled", capture="all")
    exact = attend(query, key, value, bias=bias, implementation="reference", capture="all")
    np.testing.assert_allclose(weights, exact.weights, rtol=1e-5)
    np.testing.assert_allclose(context, exact.context, rtol=1e-4, atol=1e-6)
