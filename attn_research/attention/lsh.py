"""Attention among keys of the same bucket, and the locality-sensitive hash of Reformer.

Kitaev, Kaiser, Levskaya 2020, section 2. In each of several rounds the positions are sorted by
bucket, and a chunk of them attends to itself and to the chunk before it. Time and memory of that
grow with T times the chunk, and memory not with the rounds; those of the hash grow with T times the
number of buckets, or its square root where `bucket_counts` factors it.
"""

import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jax import lax

from attn_research.attention.by_content import allowed_in_groups, check_captures_all
from attn_research.attention.call import Attended, AttentionCall, Capture
from attn_research.attention.masks import Full, Mask
from attn_research.types import Array, Float, Int, Key, wide_dtype

PADDING = np.iinfo(np.int32).max  # its bucket
WHOLE = 128  # buckets of one hash, at most, before their number is factored
OWN = 1e5  # taken from the score of a query and its own key, which counts where it is alone


def bucket_counts(length: int, chunk: int) -> tuple[int, ...]:
    """The numbers of buckets for `lsh_buckets` by which two fill a chunk of `chunk` positions.

    Of more than 128, two factors of at least that product: two hashes with few buckets cost less
    than one with many.
    """
    count = max(2, 2 * -(-length // chunk))
    if count <= WHOLE:
        return (count,)
    first = 2 * math.ceil(count**0.5 / 2)
    return first, 2 * math.ceil(count / first / 2)


def lsh_buckets(
    vectors: Float[Array, "*B T N H"],
    key: Key[Array, ""],
    *,
    num_buckets: int | tuple[int, ...],
    num_rounds: int,
) -> Int[Array, "*B N rounds T"]:
    """Buckets of angular hashing, argmax[xR; -xR] of a random matrix R for each head and round.

    Section 2, equation 6; vectors in a small angle fall into one bucket more often than others. The
    number of buckets is even. Several numbers are those of several hashes, and a bucket is one of
    each: their product in all.
    """
    counts = (num_buckets,) if isinstance(num_buckets, int) else num_buckets
    for count in counts:
        if count % 2 or count < 2:
            raise ValueError(f"num_buckets={count}: half are opposites, so give 2, 4, ...")
    num_heads, width = vectors.shape[-2:]
    wide = vectors.astype(wide_dtype(vectors))

    def hashed(key: Array, count: int) -> Array:
        matrices = jax.random.normal(key, (num_heads, width, num_rounds, count // 2), wide.dtype)
        rotated = jnp.einsum("...tnh,nhri->...nrti", wide, matrices)
        both = jnp.concatenate([rotated, -rotated], axis=-1)
        return both.argmax(axis=-1).astype(jnp.int32)

    keys = [key] if len(counts) == 1 else jax.random.split(key, len(counts))
    found = jnp.int32(0)
    for each, count in zip(keys, counts, strict=True):
        found = found * count + hashed(each, count)
    return lax.stop_gradient(found)


def shared_keys(query: Float[Array, "*B T N H"]) -> Float[Array, "*B T N H"]:
    """The keys of shared-QK attention, queries of length 1; of zeros, zeros. Section 2."""
    wide = query.astype(wide_dtype(query))
    squares = jnp.sum(wide * wide, axis=-1, keepdims=True)
    return (wide * lax.rsqrt(jnp.maximum(squares, 1e-12))).astype(query.dtype)


def bucket_attend(
    query: Float[Array, "*B T N H"],
    value: Float[Array, "*B S N Hv"],
    buckets: Int[Array, "*_"],
    *,
    chunk: int,
    key: Float[Array, "*B S N H"] | None = None,
    mask: Mask = Full(),
    own: bool = False,
    capture: Literal["all"] | Capture | None = None,
) -> Attended:
    """Attention of each query to the keys that some round puts into its bucket and near it.

    `buckets` are [*B, N, rounds, T], such as those of `lsh_buckets`, and not negative. Near are the
    keys of the query's chunk of `chunk` positions, sorted by bucket and position, and of the chunk
    before. A key that several rounds find counts once: the correction of its multiplicity in
    section 2, "Multi-round LSH attention". The weights are thus those of softmax over the union of
    the rounds. `key` is `shared_keys(query)` where None, scores are scaled by 1 / √H, and the mask
    is one of `attend`. Without `own` a query attends to its own key only where it may attend to no
    other, as with shared queries and keys. A query that may attend to no key has context 0.
    """
    key = shared_keys(query) if key is None else key
    call = AttentionCall(query, key, value, mask=mask, capture=capture).checked()
    _check(call, buckets, chunk)
    length, dtype = call.lengths[0], wide_dtype(query, key, value)
    more = -length % chunk
    rows = *call.batch, call.heads[0]

    def padded(array: Array) -> Array:
        array = rearrange(array.astype(dtype), "... t n h -> ... n t h")
        return jnp.pad(array, [(0, 0)] * len(rows) + [(0, more), (0, 0)])

    operands = tuple(map(padded, (query, key, value)))
    order = _sort(buckets, more)
    rule = mask.of_heads(call.batch, call.heads[0])

    @jax.checkpoint
    def of_round(operands: tuple[Array, ...], number: Array) -> _Partial:
        index = jnp.take(order.index, number, axis=-2)  # the position of each place in the order
        query, key, value = (_in_chunks(_gather(x, index), chunk) for x in operands)
        key, value = map(_with_previous, (key, value))
        q_index = index.reshape(*rows, -1, chunk)
        k_index = _with_previous(q_index[..., None] + 1)[..., 0] - 1  # -1 before the first
        scores = jnp.einsum("...cqh,...ckh->...cqk", query, key) * query.shape[-1] ** -0.5
        here, times = _found(order, chunk, number, (q_index, k_index))
        may = here & _allowed(rule, order, q_index, k_index)
        scores = scores - jnp.log(jnp.maximum(times, 1).astype(dtype))
        if not own:
            is_own = q_index[..., :, None] == k_index[..., None, :]
            scores = jnp.where(is_own, scores - OWN, scores)
        lowest = jnp.finfo(dtype).min
        row_max = lax.stop_gradient(jnp.where(may, scores, lowest).max(axis=-1))
        probs = jnp.where(may, jnp.exp(jnp.where(may, scores - row_max[..., None], 0)), 0)
        found = row_max, probs.sum(axis=-1), jnp.einsum("...cqk,...ckh->...cqh", probs, value)
        place = jnp.argsort(index, axis=-1)  # back into the order of positions
        flat = (x.reshape(*rows, length + more, -1) for x in found)
        row_max, total, context = (_gather(x, place) for x in flat)
        weights = _scatter(probs, q_index, k_index, length + more) if capture else context[..., :0]
        return _Partial(row_max, total, context, weights)

    def step(so_far: _Partial, number: Array) -> tuple[_Partial, None]:
        found = of_round(operands, number)
        row_max = jnp.maximum(so_far.row_max, found.row_max)
        a, b = (jnp.exp(each.row_max - row_max) for each in (so_far, found))
        sums = (a * x + b * y for x, y in zip(so_far[1:], found[1:], strict=True))
        return _Partial(row_max, *sums), None

    shapes = jax.eval_shape(of_round, operands, jnp.int32(0))
    start = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    start = start._replace(row_max=jnp.full_like(start.row_max, jnp.finfo(dtype).min))
    found, _ = lax.scan(step, start, jnp.arange(buckets.shape[-2]))
    share = jnp.where(found.total > 0, 1 / jnp.where(found.total > 0, found.total, 1), 0)
    context = rearrange((found.context * share)[..., :length, :], "... n t h -> ... t n h")
    weights = (found.weights * share)[..., :length, :length] if capture else None
    return Attended(context.astype(value.dtype), weights)


class _Partial(NamedTuple):
    """Sums over the keys of some rounds, in the order of positions."""

    row_max: Float[Array, "*B N T 1"]
    total: Float[Array, "*B N T 1"]
    context: Float[Array, "*B N T Hv"]
    weights: Float[Array, "*B N T S"]


class _Order(NamedTuple):
    """Positions sorted by bucket in each round, and of each position its bucket and chunk rank.

    Padding has the greatest index and a bucket of its own.
    """

    index: Int[Array, "*B N rounds T"]
    buckets: Int[Array, "*B N rounds T"]
    ranks: Int[Array, "*B N rounds T"]


def _sort(buckets: Array, more: int) -> _Order:
    around = [(0, 0)] * (buckets.ndim - 1) + [(0, more)]
    buckets = jnp.pad(buckets, around, constant_values=PADDING)
    index = jnp.argsort(buckets, axis=-1, stable=True).astype(jnp.int32)
    ranks = jnp.argsort(index, axis=-1).astype(jnp.int32)
    return _Order(index, buckets, ranks)


def _found(
    order: _Order, chunk: int, round_number: Array, places: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Which keys a round finds for a query, and how many rounds do.

    [*B, N, chunks, queries, keys], of positions [*B, N, chunks, queries] and [*B, N, chunks, keys].
    """
    here, times = jnp.zeros((), bool), jnp.zeros((), jnp.int32)
    for number in range(order.buckets.shape[-2]):
        tables = order.buckets[..., number, :], order.ranks[..., number, :] // chunk
        same, before = (
            _at(table, places[0])[..., :, None] - _at(table, places[1])[..., None, :]
            for table in tables
        )
        found = (same == 0) & (before >= 0) & (before <= 1)
        here, times = here | (found & (number == round_number)), times + found
    return here, times


def _allowed(mask: Mask, order: _Order, q_index: Array, k_index: Array) -> Array:
    """The mask of queries and keys by position, false for keys of padding and before the first."""
    real = (k_index >= 0) & (_at(order.buckets[..., 0, :], k_index) < PADDING)
    return allowed_in_groups(mask, q_index, k_index) & real[..., None, :]


def _at(table: Int[Array, "*B N T"], index: Int[Array, "*B N chunks S"]) -> Array:
    flat = jnp.maximum(index, 0).reshape(*table.shape[:-1], -1)
    return jnp.take_along_axis(table, flat, axis=-1).reshape(index.shape)


def _gather(array: Float[Array, "*B N T H"], index: Int[Array, "*B N S"]) -> Array:
    return jnp.take_along_axis(array, index[..., None], axis=-2)


def _in_chunks(array: Array, chunk: int) -> Array:
    """[..., T, H] as [..., chunks, chunk, H]."""
    return array.reshape(*array.shape[:-2], -1, chunk, array.shape[-1])


def _with_previous(array: Array) -> Array:
    """Each chunk [..., chunks, chunk, H] after the one before it, zeros before the first."""
    before = jnp.pad(array, [(0, 0)] * (array.ndim - 3) + [(1, 0), (0, 0), (0, 0)])[..., :-1, :, :]
    return jnp.concatenate([before, array], axis=-2)


def _scatter(probs: Array, q_index: Array, k_index: Array, length: int) -> Array:
    """The weights of a round [*B, N, T, T], in the order of positions."""
    lead = q_index.shape[:-2]

    def one(probs: Array, q_index: Array, k_index: Array) -> Array:
        rows = jnp.broadcast_to(q_index[..., :, None], probs.shape)
        columns = jnp.broadcast_to(k_index[..., None, :], probs.shape)
        columns = jnp.where(columns < 0, length, columns)
        return jnp.zeros((length, length), probs.dtype).at[rows, columns].add(probs, mode="drop")

    for _ in lead:
        one = jax.vmap(one)
    return one(probs, q_index, k_index)


def _check(call: AttentionCall, buckets: Array, chunk: int) -> None:
    (length, num_keys), (num_heads, num_kv_heads) = call.lengths, call.heads
    if length != num_keys or num_heads != num_kv_heads:
        raise ValueError(
            f"query {call.query.shape}, key {call.key.shape}: buckets are of one sequence, where "
            "each head has its own keys"
        )
    needed = (*call.batch, num_heads, buckets.shape[-2], length)
    if buckets.shape != needed:
        raise ValueError(f"buckets have shape {buckets.shape}: give {needed}")
    if chunk < 1:
        raise ValueError(f"chunk={chunk}: give 1 or more")
    check_captures_all(call)
