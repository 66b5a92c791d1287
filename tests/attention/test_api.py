"""`attend` by hand and beside `jax.nn`, its options and its refusals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import (
    Additive,
    Around,
    Capture,
    Causal,
    Dot,
    Dropout,
    Full,
    General,
    Padding,
    Positions,
    Segments,
    Window,
    attend,
    explain,
)
from tests.attention.inputs import random_arrays

B, T, S, N, K, H, Hv = 2, 5, 7, 4, 2, 3, 6


ARRAYS = random_arrays((B, T, N, H), (B, S, K, H), (B, S, K, Hv))


# One compilation of a new shape as a whole is faster than one for each operation.
jitted = jax.jit(attend, static_argnames=("implementation", "capture"))


def one_head(*rows):
    return jnp.array(rows, jnp.float32)[:, None]


def test_two_tokens_by_hand():
    # Scores 0 and log 3 share as 1/4 and 3/4; the first row sees the first token alone.
    key = one_head([0.0], [np.log(3)])
    out = jitted(one_head([1.0], [1.0]), key, one_head([4.0], [8.0]), mask=Causal(), capture="all")
    np.testing.assert_allclose(out.context.ravel(), [4, 7], rtol=1e-6)
    np.testing.assert_allclose(out.weights, [[[1, 0], [0.25, 0.75]]], rtol=1e-6)


def test_three_tokens_by_hand():
    # Width 4 halves the scores: 2 log 2 becomes log 2. A bias of log 2 doubles a share.
    key = one_head([0.0, 0, 0, 0], [2 * np.log(2), 0, 0, 0], [9.0, 9, 9, 9])
    value = one_head([3.0, 0], [0, 6], [100, 100])
    query, valid = one_head([1.0, 0, 0, 0]), Padding(jnp.array([True, True, False]))
    np.testing.assert_allclose(
        jitted(query, key, value, mask=valid).context.ravel(), [1, 4], rtol=1e-6
    )
    bias = jnp.log(jnp.array([4.0, 1, 1])).reshape(1, 1, 3)
    np.testing.assert_allclose(
        jitted(query, key, value, mask=valid, bias=bias).context.ravel(), [2, 2], rtol=1e-6
    )
    np.testing.assert_allclose(
        jitted(query, key, value, score=Dot(), mask=valid).context.ravel(), [0.6, 4.8], rtol=1e-6
    )


@pytest.mark.parametrize("causal", [False, True])
def test_equals_jax_nn_dot_product_attention(causal):
    rng = np.random.default_rng(1)
    shapes = (B, T, N, H), (B, S, K, H), (B, S, K, H), (B, N, T, S)
    query, key, value, bias = (
        jnp.asarray(rng.standard_normal(s).astype(np.float32)) for s in shapes
    )
    ours = jitted(query, key, value, bias=bias, mask=Causal() if causal else Full()).context
    attend_nn = jax.jit(functools.partial(jax.nn.dot_product_attention, is_causal=causal))
    theirs = attend_nn(query, key, value, bias)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_bias_as_a_function_of_positions():
    @jax.tree_util.Partial
    def nearer(q_pos, k_pos):
        return -0.5 * jnp.abs(q_pos - k_pos)

    offset = np.arange(T)[:, None] + 2 - np.arange(S)
    bias = jnp.asarray(-0.5 * np.abs(offset, dtype=np.float32)[None, None])
    positions = Positions(query=2 + jnp.arange(T))
    np.testing.assert_array_equal(
        jitted(*ARRAYS, bias=nearer, positions=positions).context,
        jitted(*ARRAYS, bias=bias, positions=positions).context,
    )
    assert explain(*ARRAYS, bias=nearer)[-1].verdict == "chosen"


def test_weights_are_returned_only_if_captured():
    assert attend(*ARRAYS).weights is None
    every = np.asarray(jitted(*ARRAYS, mask=Causal(), capture="all").weights)
    np.testing.assert_allclose(every.sum(-1), 1, rtol=1e-6)
    some = jitted(*ARRAYS, mask=Causal(), capture=Capture(heads=(3, 0), rows=(1, 2, 4))).weights
    assert some.shape == (B, 2, 3, S)
    np.testing.assert_array_equal(some, every[:, [3, 0]][:, :, [1, 2, 4]])


def test_dropout_applies_to_the_context_and_not_to_captured_weights():
    query, key, _ = ARRAYS
    unit = jnp.asarray(np.broadcast_to(np.eye(S, dtype=np.float32)[:, None], (B, S, K, S)))

    draws = [
        jitted(
            query, key, unit, dropout=Dropout(0.3, jax.random.key(seed, impl="rbg")), capture="all"
        )
        for seed in range(32)
    ]
    kept = np.stack([np.swapaxes(context, 1, 2) for context, _ in draws])
    weights = np.stack([weights for _, weights in draws])
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(kept[kept != 0], weights[kept != 0] / 0.7, rtol=1e-6)
    assert abs((kept == 0).mean() - 0.3) < 0.02  # four standard deviations of 8960 draws
    assert ((kept == 0) != (kept[0] == 0)).any((1, 2, 3, 4))[1:].all()


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_invalid_dropout_rates_are_refused(rate):
    with pytest.raises(ValueError, match=r"give a rate in \[0, 1\)"):
        Dropout(rate, jax.random.key(0))


def test_equal_arguments_trace_once():
    traces = []

    @functools.partial(jax.jit, static_argnames=("implementation", "capture"))
    def run(*arrays, **options):
        traces.append(options)
        return attend(*arrays, **options)

    def call(fill, left=2):
        run.eval_shape(  # traces, and compiles nothing
            *ARRAYS,
            score=Additive(jnp.asarray(np.full(H, fill, np.float32))),
            mask=Window(left, 0) & Padding(jnp.asarray(np.full((B, S), fill > 0))),
            dropout=Dropout(0.1, jax.random.key(int(fill))),
            positions=Positions(query=jnp.asarray(np.arange(T) + int(fill))),
            capture=Capture(heads=(0,), rows=(1, 2)),
        )

    call(0.0)
    call(1.0)
    assert len(traces) == 1
    call(1.0, left=3)
    assert len(traces) == 2


def shape(*sizes, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(sizes, dtype)


SHAPES = shape(B, T, N, H), shape(B, S, K, H), shape(B, S, K, Hv)
REFUSED = {
    "heads in groups": (
        (shape(B, T, 3, H), *SHAPES[1:]),
        {},
        r"3 query heads are not a multiple of 2 key heads",
    ),
    "lengths of key and value": (
        (*SHAPES[:2], shape(B, 8, K, Hv)),
        {},
        r"value \(2, 8, 2, 6\): key and value differ in length or heads",
    ),
    "heads of key and value": ((*SHAPES[:2], shape(B, S, 4, Hv)), {}, r"length or heads"),
    "batch": ((shape(1, T, N, H), *SHAPES[1:]), {}, r"the leading batch axes differ"),
    "rank": ((shape(T, N, H), *SHAPES[1:]), {}, r"give \[\*B, length, heads, width\]"),
    "integers": ((shape(B, T, N, H, dtype=jnp.int32), *SHAPES[1:]), {}, r"int32.*give floats"),
    "width": ((shape(B, T, N, 4), *SHAPES[1:]), {}, r"query width 4 is not key width 3"),
    "an array as mask": (
        SHAPES,
        {"mask": np.ones((B, S), bool)},
        r"mask is of type ndarray: give a Mask, such as Padding\(valid\)",
    ),
    "padding of floats": (
        SHAPES,
        {"mask": Causal() & ~Padding(shape(B, S))},
        r"dtype float32: give booleans, true where the key is real",
    ),
    "padding of another length": (
        SHAPES,
        {"mask": Padding(shape(B, 8, dtype=bool))},
        r"Padding\(valid\) has shape \(2, 8\): query and key need \(2, 7\)",
    ),
    "padding of another batch": (
        SHAPES,
        {
            "mask": Causal() | Padding(shape(3, S, dtype=bool)),
            "positions": Positions(key=SHAPES[0]),
        },
        r"Positions\(key\) has shape",
    ),
    "padding of one row": (
        SHAPES,
        {"mask": Padding(shape(S, dtype=bool))},
        r"has shape \(7,\): query and key need \(2, 7\)",
    ),
    "segments of floats": (
        SHAPES,
        {"mask": Segments(shape(B, T), shape(B, S, dtype=int))},
        r"Segments\(q_ids\) has dtype float32: give signed integers",
    ),
    "centers of integers": (
        SHAPES,
        {"mask": Around(shape(B, T, dtype=jnp.int32), 2)},
        r"Around\(center\) has dtype int32: give floats",
    ),
    "centers of the keys": (
        SHAPES,
        {"mask": Full() & Around(shape(B, S), 2)},
        r"Around\(center\) has shape \(2, 7\): query and key need \(2, 5\)",
    ),
    "segments turned round": (
        SHAPES,
        {"mask": Segments(shape(B, S, dtype=int), shape(B, T, dtype=int))},
        r"Segments\(q_ids\) has shape \(2, 7\): query and key need \(2, 5\)",
    ),
    "bias of booleans": (
        SHAPES,
        {"bias": shape(B, 1, T, S, dtype=bool)},
        r"bias is bool: give floats of at least 16 bits, which are added",
    ),
    "bias of another shape": (
        SHAPES,
        {"bias": shape(B, 3, T, S)},
        r"bias has shape \(2, 3, 5, 7\): give \(2, 4, 5, 7\), with 1 where it is shared",
    ),
    "bias of lower rank": ((SHAPES), {"bias": shape(T, S)}, r"bias has shape \(5, 7\)"),
    "capture of nothing known": (SHAPES, {"capture": "some"}, r"capture 'some' is not None"),
    "capture of a head too many": (
        SHAPES,
        {"capture": Capture(heads=(4,), rows=(0,))},
        r"Capture\(heads=\(4,\)\): there are 4, counted from 0",
    ),
    "name": (
        SHAPES,
        {"implementation": "refrence"},
        r"'refrence' is not one of ring, cudnn, hopper, pallas, splash, gathered, tiled, reference",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_invalid_calls_give_a_one_line_error_with_advice(name):
    # `explain` runs the checks of `attend`, and the annotations that tests enforce leave it be.
    given, options, message = REFUSED[name]
    with pytest.raises(ValueError, match=message) as refusal:
        explain(*given, **options)
    assert "\n" not in str(refusal.value)


def test_attend_refuses_what_explain_refuses():
    query, key, value = ARRAYS
    with pytest.raises(ValueError, match="not a multiple"):
        attend(query[:, :, :3], key, value)
    with pytest.raises(
        ValueError,
        match="not one of ring, cudnn, hopper, pallas, splash, gathered, tiled, reference",
    ):
        attend(query, key, value, implementation="fast")


def test_query_and_key_widths_may_differ_with_the_general_score():
    query, key, value = ARRAYS
    context = attend(query[..., :2], key, value, score=General(jnp.ones((2, H)))).context
    assert context.shape == (B, T, N, Hv)


def test_mask_arrays_longer_than_the_keys_need_key_positions():
    query, key, value = ARRAYS
    valid = Padding(jnp.asarray(np.arange(10) < np.array([[6], [3]])))
    with pytest.raises(ValueError, match=r"need \(2, 7\)"):
        attend(query, key, value, mask=valid)
    later = attend(query, key, value, mask=valid, positions=Positions(key=3 + jnp.arange(S)))
    straight = attend(query, key, value, mask=Padding(valid.valid[:, 3:]))
    np.testing.assert_array_equal(later.context, straight.context)
