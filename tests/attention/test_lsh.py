"""Attention within buckets: exactness, the union of rounds, own keys, masks, and the hash."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import (
    Around,
    ByHead,
    Capture,
    Causal,
    Dense,
    Padding,
    Window,
    attend,
)
from attn_research.attention.lsh import (
    bucket_attend,
    bucket_counts,
    lsh_buckets,
    shared_keys,
)
from attn_research.attention.testing.cases import random_arrays

B, T, N, H, HV, CHUNK = 2, 22, 3, 4, 5, 6
QUERY, VALUE = random_arrays(np.random.default_rng(0), (B, T, N, H), (B, T, N, HV))
EYE = jnp.eye(T, dtype=bool)
VALID = jnp.arange(T)[None] < jnp.array([[T], [15]])


def buckets_of(rounds, count=4):
    return jnp.asarray(np.random.default_rng(1).integers(0, count, (B, N, rounds, T)), jnp.int32)


def found_by_rounds(buckets, chunk):
    """The keys that some round finds, [B, N, T, T], written out."""
    union = np.zeros((B, N, T, T), bool)
    for b, n, r in np.ndindex(*buckets.shape[:3]):
        row = np.asarray(buckets[b, n, r])
        rank = np.argsort(np.lexsort((np.arange(T), row)))
        chunks = rank // chunk
        before = chunks[:, None] - chunks[None, :]
        union[b, n] |= (row[:, None] == row[None, :]) & (before >= 0) & (before <= 1)
    return union


def whole(allowed, own=False):
    """The reference under that mask, where own keys count only if there are no others."""
    others = allowed & ~np.eye(T, dtype=bool)
    if not own:
        alone = allowed & np.eye(T, dtype=bool) & ~others.any(-1, keepdims=True)
        allowed = others | alone
    masks = tuple(Dense(jnp.asarray(allowed[:, n])) for n in range(N))

    def attention(query, value):
        options = {"mask": ByHead(masks), "implementation": "reference", "capture": "all"}
        return attend(query, shared_keys(query), value, **options)

    return attention


def with_gradients(attention):
    def loss(query, value):
        found = attention(query, value)
        return jnp.sum(jnp.sin(found.context)) + jnp.sum(found.weights**2), found

    (_, found), gradients = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(QUERY, VALUE)
    return found, gradients


def assert_equal(found, expected):
    for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(a, b, atol=3e-6)


BY_HEAD = ByHead((Causal(), Window(3, 3), Causal()))
CASES = {
    "one bucket, one chunk: all keys": (jnp.zeros((B, N, 1, T), jnp.int32), T, Causal(), True),
    "one bucket, several rounds": (jnp.zeros((B, N, 3, T), jnp.int32), T, Causal(), False),
    "a chunk longer than the text": (buckets_of(2), T + 8, Causal(), False),
    "several rounds": (buckets_of(3), CHUNK, Causal(), False),
    "padding and a window": (buckets_of(2, 3), 5, Window(9, 9) & Padding(VALID), False),
    "by head, with own keys": (
        buckets_of(2),
        CHUNK,
        ByHead((Causal(), Window(3, 3), Causal())),
        True,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_attention_is_softmax_over_the_union_of_rounds(name):
    buckets, chunk, mask, own = CASES[name]
    allowed = found_by_rounds(buckets, chunk) & np.asarray(mask.dense(T, T))
    if "all keys" in name:
        np.testing.assert_array_equal(allowed[0, 0], Causal().dense(T, T))

    def attention(query, value):
        options = {"chunk": chunk, "mask": mask, "own": own, "capture": "all"}
        return bucket_attend(query, value, buckets, **options)

    assert_equal(with_gradients(attention), with_gradients(whole(allowed, own)))


def test_queries_without_keys_are_zero_and_halves_are_rounded_once():
    half = QUERY.astype(jnp.bfloat16), VALUE.astype(jnp.bfloat16)
    options = {"chunk": CHUNK, "mask": Padding(VALID & (jnp.arange(B)[:, None] > 0))}
    context, weights = bucket_attend(*half, buckets_of(2), **options)
    assert context.dtype == jnp.bfloat16 and weights is None and not context[0].any()
    exact = bucket_attend(
        *(x.astype(jnp.float32) for x in half),
        buckets_of(2),
        key=shared_keys(half[0]).astype(jnp.float32),
        **options,
    )
    np.testing.assert_allclose(np.float32(context), exact.context, atol=8e-3, rtol=8e-3)


def test_near_vectors_collide_as_often_as_angles_say():
    """Two buckets are a random hyperplane: they part two vectors at an angle with p = angle / π."""
    angle, rounds = 0.6, 4000
    pair = jnp.asarray([[1.0, 0], [np.cos(angle), np.sin(angle)]])[None, :, None]
    found = lsh_buckets(pair, jax.random.key(0), num_buckets=2, num_rounds=rounds)[0, 0]
    assert abs(float((found[:, 0] != found[:, 1]).mean()) - angle / np.pi) < 0.02
    many = lsh_buckets(QUERY, jax.random.key(1), num_buckets=8, num_rounds=50)
    assert many.shape == (B, N, 50, T) and set(np.unique(many)) == set(range(8))
    opposite = lsh_buckets(-QUERY, jax.random.key(1), num_buckets=8, num_rounds=50)
    np.testing.assert_array_equal(opposite, (many + 4) % 8)


def test_many_buckets_are_pairs_of_two_hashes():
    assert bucket_counts(1024, 64) == (32,) and bucket_counts(5, 64) == (2,)
    for length in (4160, 32_768, 100_000):
        first, second = bucket_counts(length, 64)
        assert first % 2 == second % 2 == 0
        assert 0 <= first * second - 2 * length / 64 < 2 * first
    pairs = lsh_buckets(QUERY, jax.random.key(1), num_buckets=(4, 6), num_rounds=50)
    assert set(np.unique(pairs)) == set(range(24))
    # Vectors that agree in one hash are told apart by the other, and opposites differ in both.
    first, second = np.asarray(pairs) // 6, np.asarray(pairs) % 6
    opposite = lsh_buckets(-QUERY, jax.random.key(1), num_buckets=(4, 6), num_rounds=50)
    np.testing.assert_array_equal(opposite // 6, (first + 2) % 4)
    np.testing.assert_array_equal(opposite % 6, (second + 3) % 6)


def test_memory_and_flops_are_linear_in_length():
    def cost(length):
        shapes = [jax.ShapeDtypeStruct((1, length, 2, 8), jnp.float32)] * 2

        def loss(query, value):
            counts = bucket_counts(length, 16)
            buckets = lsh_buckets(query, jax.random.key(0), num_buckets=counts, num_rounds=2)
            return jnp.sum(bucket_attend(query, value, buckets, chunk=16, mask=Causal()).context)

        compiled = jax.jit(jax.grad(loss)).lower(*shapes).compile()
        return compiled.memory_analysis().temp_size_in_bytes, compiled.cost_analysis()["flops"]

    for many, few in zip(cost(8192), cost(4096), strict=True):
        assert many < 2.3 * few


def test_later_values_reach_no_earlier_context():
    options = dict(chunk=CHUNK, mask=Causal())

    def changed(place):
        values = VALUE, VALUE.at[:, place].add(1)
        before, after = (bucket_attend(QUERY, x, buckets_of(3), **options).context for x in values)
        return np.abs(before - after).max(axis=(0, 2, 3)) > 0

    assert not changed(T - 1)[:-1].any()
    assert changed(0)[1:].any()


def test_what_is_refused():
    attention = functools.partial(bucket_attend, QUERY, VALUE, chunk=CHUNK)
    with pytest.raises(ValueError, match=r"buckets have shape .* give \(2, 3, 2, 22\)"):
        attention(buckets_of(2)[:, :1])
    with pytest.raises(ValueError, match="each head has its own keys"):
        bucket_attend(QUERY[:, :9], VALUE, buckets_of(2), chunk=CHUNK, key=QUERY)
    with pytest.raises(ValueError, match="num_buckets=3: half are opposites"):
        lsh_buckets(QUERY, jax.random.key(0), num_buckets=3, num_rounds=1)
    with pytest.raises(ValueError, match='captures all weights: give capture="all"'):
        attention(buckets_of(2), capture=Capture((0,), (0,)))
    with pytest.raises(ValueError, match="such as Around, for attention by content"):
        attention(buckets_of(2), mask=Around(jnp.zeros((B, T)), 3) & Causal())
