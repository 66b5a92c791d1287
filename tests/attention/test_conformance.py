"""Every implementation against the oracle: forward and every gradient, over what it supports."""

import dataclasses
import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import (
    Additive,
    Around,
    Causal,
    Dot,
    Dropout,
    Full,
    Gaussian,
    General,
    Location,
    Padding,
    Positions,
    ScaledDot,
    Segments,
    Window,
    api,
    attend,
    cudnn,
    gathered,
    pallas,
    reference,
    softmax,
    splash,
)

# The most keys that one query sees under those masks that bound them.
WIDTHS = {"window": 4, "around": 5, "causal & padding & window": 4}


def few_keys(case):
    narrow = case.mask in WIDTHS and 2 * WIDTHS[case.mask] <= case.sizes[2]
    of_every_key = "location" in case.score or "s" in (case.bias or "")
    return narrow and not of_every_key


def plain_products(case):
    return not ("additive" in case.score or case.bias or case.gaussian)


def in_bands(case):
    halves = case.dtype != "float32" and case.sizes[5] == case.sizes[6] == 8
    return plain_products(case) and halves and case.mask in ("full", "causal")


def joined_by_and(case):
    known = not (case.dropout or case.dtype == "float16")
    return plain_products(case) and known and case.mask not in ("around", "window or padding")


# One row per implementation: the cases it supports. It must refuse the others.
SUPPORTS = {
    "cudnn": in_bands,
    "pallas": plain_products,
    "splash": joined_by_and,
    "gathered": few_keys,
    "tiled": lambda case: True,
    "reference": lambda case: True,
}
# Loops over tiles take seconds to compile: every third case has each score and each mask.
EVERY = {"tiled": 3}
# They multiply weights in the dtype of the values, which rounds them once more.
ROUNDS_WEIGHTS = ("cudnn", "pallas", "splash")
# They give no weights.
NO_WEIGHTS = ("cudnn", "splash")
# A mask of earlier keys that it supports, with padding; the others take no positions.
PAST = {
    "pallas": Causal(),
    "gathered": Window(2, 0),
    "tiled": Causal(),
    "reference": Causal(),
}
IMPLEMENTATIONS = pytest.mark.parametrize("implementation", PAST)


@pytest.fixture(autouse=True)
def kernels_on_a_cpu(monkeypatch):
    """Lets the kernels run here, in tiles that these lengths make several of."""
    monkeypatch.setattr(cudnn, "BACKEND", "xla")
    monkeypatch.setattr(splash, "INTERPRET", True)
    monkeypatch.setattr(pallas, "INTERPRET", True)
    for name, tile in (("FORWARD", (32, 16)), ("OF_QUERIES", (32, 16)), ("OF_KEYS", (16, 32))):
        monkeypatch.setattr(pallas, name, tile)


@dataclasses.dataclass(frozen=True)
class Case:
    score: str = "scaled_dot"
    mask: str = "full"
    bias: str | None = None  # which of the axes b n t s it has; the others are 1
    dtype: str = "float32"
    sizes: tuple[int, ...] = (2, 5, 7, 4, 2, 3, 6)  # B T S N K H Hv
    dropout: float = 0.0
    gaussian: bool = False

    def __str__(self):
        changed = {k: v for k, v in dataclasses.asdict(self).items() if v != getattr(Case, k)}
        return ", ".join(f"{name} {value}" for name, value in changed.items())


# The name in the oracle, the score of a parameter, and the parameter's shape; Hk is H + 1.
SCORES = {
    "dot": ("dot", lambda _: Dot(), None),
    "scaled_dot": ("scaled_dot", lambda _: ScaledDot(), None),
    "general": ("general", General, lambda n, h, s: (h, h + 1)),
    "general_per_head": ("general", General, lambda n, h, s: (n, h, h + 1)),
    "additive": ("additive", Additive, lambda n, h, s: (h,)),
    "additive_per_head": ("additive", Additive, lambda n, h, s: (n, h)),
    "location": ("location", Location, lambda n, h, s: (h, s + 2)),
    "location_per_head": ("location", Location, lambda n, h, s: (n, h, s - 2)),
}


def make_masks(B, T, S):
    """Masks by name, each with who may look by a rule over the indices of batch, query and key."""
    b, t, s = np.indices((B, T, S))
    begin, end = 2 + np.arange(B), S - 1 - np.arange(B)  # batch mates differ
    q_ids, k_ids = (
        np.arange(T) * 3 // T + np.arange(B)[:, None],
        np.tile(np.arange(S) * 3 // S, (B, 1)),
    )
    left_padding = Padding(jnp.asarray(np.arange(S) >= begin[:, None]))
    right_padding = Padding(jnp.asarray(np.arange(S) < end[:, None]))
    center = ((5 * t + 3 * b + 0.5) % (S + 2) - 1).astype(np.float32)[..., 0]  # some are outside
    segments, same = Segments(jnp.asarray(q_ids), jnp.asarray(k_ids)), q_ids[b, t] == k_ids[b, s]
    return {
        "full": (Full(), b == b),
        "causal": (Causal(), s <= t),
        "window": (Window(2, 1), (t - 2 <= s) & (s <= t + 1)),
        "around": (Around(jnp.asarray(center), 2), np.abs(s - center[b, t]) <= 2),
        "padding": (right_padding, s < end[b]),
        "segments": (segments, same),
        "causal & left padding": (Causal() & left_padding, (s <= t) & (s >= begin[b])),
        "causal & padding & window": (
            Causal() & right_padding & Window(3, 0),
            (t - 3 <= s) & (s <= t) & (s < end[b]),
        ),
        "future of the segment": (~Causal() & segments, (s > t) & same),
        "window or padding": (Window(1, 0) | right_padding, (s == t) | (s == t - 1) | (s < end[b])),
        "nowhere": (~Full(), b != b),
    }


MASKS = tuple(make_masks(1, 1, 1))
LENGTHS = [(1, 1), (1, 257), (257, 1), (257, 256)] + [
    tuple(pair) for pair in np.random.default_rng(0).integers(1, 258, (2, 2)).tolist()
]
DROPOUT = Case("additive", "window", "bs", sizes=(2, 5, 7, 4, 2, 3, 7), dropout=0.4)
WIDE = 2, 9, 17, 4, 2, 3, 6
GAUSSIAN = Case("dot", "around", sizes=WIDE, gaussian=True)
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
        Case(score, mask, "nt", sizes=WIDE)
        for score, mask in zip(SCORES, itertools.cycle(WIDTHS), strict=False)
    ),
    Case("additive", "around", "b", "bfloat16", WIDE, gaussian=True),
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
        return CASES[:: EVERY.get(implementation, 1)]
    refused = [case for case in CASES[::9] if not SUPPORTS[implementation](case)]
    return KERNEL_CASES[implementation] + refused


def random_arrays(rng, *shapes, dtype="float32"):
    # NumPy does the rounding, for JAX would compile it for every shape.
    return tuple(jnp.asarray(rng.standard_normal(s).astype(jnp.dtype(dtype))) for s in shapes)


def verify(implementation, case, oracle):
    """Raises AssertionError where the implementation is not the oracle, within stated bounds."""
    B, T, S, N, K, H, Hv = case.sizes
    oracle_score, make_score, parameter_shape = SCORES[case.score]
    Hk = H + 1 if oracle_score == "general" else H
    rng = np.random.default_rng(B * T + S)
    shapes = {"query": (B, T, N, H), "key": (B, S, K, Hk), "value": (B, S, K, Hv)}
    if parameter_shape:
        shapes["parameter"] = parameter_shape(N, H, S)
    if case.bias is not None:
        axes = zip("bnts", (B, N, T, S), strict=True)
        shapes["bias"] = tuple(size if letter in case.bias else 1 for letter, size in axes)
    if case.gaussian:
        shapes["center"] = B, T
    draws = random_arrays(rng, *shapes.values(), dtype=case.dtype)
    arrays = dict(zip(shapes, draws, strict=True))
    if case.gaussian:
        arrays["center"] = S / 2 + S / 4 * arrays["center"]
    if case.dropout:  # against a unit matrix of values the context is the weights after dropout
        unit = np.broadcast_to(np.eye(S, dtype=case.dtype)[:, None], shapes["value"])
        arrays["value"] = jnp.asarray(unit)
    mask, allowed = make_masks(B, T, S)[case.mask]
    dropout = Dropout(case.dropout, jax.random.key(1, impl="rbg")) if case.dropout else None

    def run(arrays, **options):
        return attend(
            arrays["query"],
            arrays["key"],
            arrays["value"],
            score=make_score(arrays.get("parameter")),
            mask=mask,
            bias=arrays.get("bias"),
            normalizer=Gaussian(arrays["center"], S / 4) if case.gaussian else softmax,
            implementation=implementation,
            dropout=dropout,
            **options,
        )

    def forward_and_gradients(arrays):
        capture = None if implementation in NO_WEIGHTS else "all"
        got, pull = jax.vjp(lambda arrays: run(arrays, capture=capture), arrays)
        cotangents = jax.tree.map(lambda x: random_arrays(rng, x.shape, dtype=x.dtype)[0], got)
        return got, cotangents, *pull(cotangents)

    # Loops, and a new shape, compile faster as a whole.
    if implementation in ("tiled", *KERNEL_CASES) or case.sizes != Case.sizes:
        forward_and_gradients = jax.jit(forward_and_gradients)
    got, cotangents, gradients = forward_and_gradients(arrays)

    got = jax.tree.map(np.asarray, got)
    factors = 1.0
    if case.dropout:
        factors = np.where(np.swapaxes(got.context, 1, 2) != 0, 1 / (1 - case.dropout), 0.0)

    exact = {name: np.asarray(array, np.float64) for name, array in arrays.items()}
    context, weights, pull = oracle.attend(
        **exact,
        score=getattr(oracle, oracle_score),
        allowed=allowed[:, None],
        deviation=S / 4,
        factors=factors,
    )
    no_cotangent = np.zeros_like(weights)
    d_context, d_weights = (no_cotangent if c is None else c for c in cotangents)
    expected = pull(*(np.asarray(d, np.float64) for d in (d_context, d_weights)))

    assert got.context.dtype == case.dtype
    if got.weights is not None:
        assert got.weights.dtype == jnp.float32
        assert not got.weights[np.broadcast_to(~allowed[:, None], weights.shape)].any()
        close("weights", got.weights, weights)
    rounded = 2 if implementation in ROUNDS_WEIGHTS and case.dtype != "float32" else 0
    close("context", got.context, context, rounded=rounded)
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        assert gradient.dtype == case.dtype
        summed = {"parameter": B * N * T}
        if case.bias is not None:
            summed["bias"] = B * N * T // math.prod(arrays["bias"].shape[:3])
        rows = summed.get(name, 1)
        close(f"gradient of {name}", gradient, expected[name], rows, rounded)


verify_once = functools.cache(verify)


def close(name, got, expected, rows=1, rounded=0):
    """Equal but for one rounding to the dtype and float32 arithmetic.

    That is 4e-6 of the largest entry or of 1, and half an ulp of it for each row summed over. What
    is `rounded` within has as many half ulps of the dtype more, adding up like random ones.
    """
    half_ulp = float(jnp.finfo(got.dtype).eps) / 2
    arithmetic = 4e-6 + rows * float(jnp.finfo(jnp.float32).eps) / 2
    arithmetic += rounded * math.sqrt(rows) * half_ulp
    np.testing.assert_allclose(
        np.asarray(got, np.float64),
        expected,
        rtol=half_ulp,
        atol=arithmetic * max(1, np.abs(expected).max()),
        err_msg=name,
    )


@pytest.mark.parametrize(
    ("implementation", "case"),
    [(i.name, case) for i in api.IMPLEMENTATIONS for case in cases_of(i.name)],
    ids=str,
)
def test_implementation_equals_oracle(implementation, case, oracle):
    if SUPPORTS[implementation](case):
        verify_once(implementation, case, oracle)
    else:
        with pytest.raises(NotImplementedError):
            verify(implementation, case, oracle)


def put(where, fill, array):
    return jnp.asarray(np.where(where, np.asarray(fill, array.dtype), array))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@IMPLEMENTATIONS
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
@IMPLEMENTATIONS
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
@IMPLEMENTATIONS
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


@IMPLEMENTATIONS
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


def fill_with_lowest(scores, allowed, k_pos):
    return jax.nn.softmax(jnp.where(allowed, scores, jnp.finfo(scores.dtype).min))


def half_softmax(scores, allowed, k_pos):
    return jax.nn.softmax(scores.astype(jnp.bfloat16), where=allowed).astype(scores.dtype)


def off_by_one(query, *arrays, **options):
    options["positions"] = Positions(query=jnp.arange(query.shape[1]) - 1)
    return reference.attend(query, *arrays, **options)


def other_grouping(query, key, value, **options):
    out = reference.attend(query[:, :, ::-1], key, value, **options)
    return out._replace(context=out.context[:, :, ::-1], weights=out.weights[:, ::-1])


def late_dropout(*arrays, dropout, **options):
    context, weights = reference.attend(*arrays, dropout=None, **options)
    return reference.Attended(dropout(context), weights)


def renormalized(scores, allowed, k_pos, *, gaussian):
    weights = gaussian(scores, allowed, k_pos)
    return weights / jnp.maximum(weights.sum(-1, keepdims=True), 1e-30)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Late(Window):
    """A window whose span begins too late: its first key is never gathered."""

    def span(self, q_pos):
        start, width = super().span(q_pos)
        return start + 1, width


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Hasty(Causal):
    """Causal, but takes what it leaves in part for all of a tile."""

    def layout(self, num_queries, num_keys, block):
        return 2 * np.minimum(super().layout(num_queries, num_keys, block), 1)


def unclipped(query, key, value, **options):
    """Gathers past the end as if the keys began anew there."""
    twice = (jnp.concatenate([array, array], axis=1) for array in (key, value))
    out = gathered.attend(query, *twice, **options)
    return out._replace(weights=out.weights[..., : key.shape[1]])


def replacing(change, attend=reference.attend):
    """The reference, or another, with some of its options changed."""
    return lambda *arrays, **options: attend(*arrays, **(options | change(options)))


WRONG = {
    "mean in empty rows": (
        replacing(lambda o: {"normalizer": fill_with_lowest}),
        Case(mask="causal & left padding"),
    ),
    "window off by one": (off_by_one, Case(mask="window")),
    "causal off by one": (off_by_one, Case(mask="causal")),
    "mask turned round": (replacing(lambda o: {"mask": ~o["mask"]}), Case(mask="causal")),
    "padding forgotten": (
        replacing(lambda o: {"mask": o["mask"].a}),
        Case(mask="causal & left padding"),
    ),
    "bias forgotten": (replacing(lambda o: {"bias": None}), Case(bias="bs")),
    "bias without gradient": (
        replacing(lambda o: {"bias": jax.lax.stop_gradient(o["bias"])}),
        Case(bias="bs"),
    ),
    "scale forgotten": (replacing(lambda o: {"score": Dot()}), Case()),
    "parameter without gradient": (
        replacing(lambda o: {"score": jax.lax.stop_gradient(o["score"])}),
        Case(score="additive"),
    ),
    "other grouping of heads": (other_grouping, Case()),
    "dropout forgotten": (
        replacing(lambda o: {"dropout": None}),
        DROPOUT,
    ),
    "dropout of the context": (late_dropout, DROPOUT),
    "softmax in half precision": (replacing(lambda o: {"normalizer": half_softmax}), Case()),
    "Gaussian forgotten": (replacing(lambda o: {"normalizer": softmax}), GAUSSIAN),
    "Gaussian normalized again": (
        replacing(
            lambda o: {"normalizer": functools.partial(renormalized, gaussian=o["normalizer"])}
        ),
        GAUSSIAN,
    ),
    "Gaussian without gradient": (
        replacing(lambda o: {"normalizer": jax.lax.stop_gradient(o["normalizer"])}),
        GAUSSIAN,
    ),
    "gathered one late": (
        replacing(lambda o: {"mask": Late(2, 1)}, gathered.attend),
        Case("dot", "window", sizes=WIDE),
    ),
    "gathered past the end": (unclipped, Case("dot", "window", sizes=(2, 40, 9, 3, 1, 4, 5))),
    "kernels that take tiles for full": (
        replacing(lambda o: {"mask": Hasty()}, pallas.attend),
        Case("dot", "causal", sizes=TILES),
    ),
    "context in float32": (
        lambda q, k, v, **options: reference.attend(q, k, v.astype(jnp.float32), **options),
        Case(dtype="bfloat16"),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_implementation_turns_red(name, oracle, monkeypatch):
    run, case = WRONG[name]
    wrong = api.Implementation("wrong", reference.unsupported, run)
    monkeypatch.setattr(api, "IMPLEMENTATIONS", (*api.IMPLEMENTATIONS, wrong))
    verify_once("reference", case, oracle)
    with pytest.raises(AssertionError):
        verify("wrong", case, oracle)


@pytest.mark.parametrize("score", SCORES)
def test_oracle_gradients_are_central_differences(score, oracle):
    name, _, parameter_shape = SCORES[score]
    rng = np.random.default_rng(3)
    arrays = {
        "query": rng.standard_normal((2, 3, 4, 5)),
        "key": rng.standard_normal((2, 6, 2, 6 if name == "general" else 5)),
        "value": rng.standard_normal((2, 6, 2, 7)),
        "bias": rng.standard_normal((1, 4, 3, 6)),
        "center": rng.uniform(0, 6, (2, 3)),
    }
    if parameter_shape:
        arrays["parameter"] = rng.standard_normal(parameter_shape(4, 5, 6))
    options = {
        "score": getattr(oracle, name),
        "allowed": np.tri(3, 6, 1, bool) & (np.arange(2) == 0)[:, None, None, None],
        "deviation": 1.5,
        "factors": rng.uniform(size=(2, 4, 3, 6)),
    }
    context, weights, pull = oracle.attend(**arrays, **options)
    cotangents = rng.standard_normal(context.shape), rng.standard_normal(weights.shape)
    gradients = pull(*cotangents)
    for name, array in arrays.items():
        step = 1e-5 * rng.standard_normal(array.shape)
        sides = [oracle.attend(**(arrays | {name: array + s}), **options) for s in (step, -step)]
        (high, low) = (
            sum((c * x).sum() for c, x in zip(cotangents, side[:2], strict=True)) for side in sides
        )
        np.testing.assert_allclose(
            (high - low) / 2, (gradients[name] * step).sum(), rtol=1e-6, atol=1e-13
        )
