"""Routing attention: exactness, clusters written out, and the k-means of its centroids."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import Capture, Causal, Full, Padding, attend
from attn_research.attention.routing import routing_attend, update_centroids
from attn_research.attention.testing.cases import random_arrays

B, T, N, H, HV = 2, 14, 3, 4, 5
QUERY, KEY, VALUE, CENTROIDS = random_arrays(
    np.random.default_rng(0), (B, T, N, H), (B, T, N, H), (B, T, N, HV), (N, 4, H)
)
VALID = jnp.arange(T)[None] < jnp.array([[T], [9]])
PADDED = Padding(VALID)


def unit(array):
    array = np.asarray(array, np.float64)
    return array / np.linalg.norm(array, axis=-1, keepdims=True)


def common_clusters(size, valid=None):
    """In how many clusters a query and a key both are, [B, N, T, T], written out."""

    def members(vectors):
        nearness = np.einsum("btnh,nch->bnct", unit(vectors), unit(CENTROIDS))
        if valid is not None:
            nearness = np.where(np.asarray(valid)[:, None, None], nearness, -np.inf)
        rank = np.argsort(np.argsort(-nearness, axis=-1), axis=-1)
        return (rank < size).astype(int)

    return np.einsum("bnct,bncs->bnts", members(QUERY), members(KEY))


def with_gradients(attention):
    def loss(query, key, value):
        found = attention(query, key, value)
        return jnp.sum(jnp.sin(found.context)) + jnp.sum(found.weights**2), found

    return jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))(QUERY, KEY, VALUE)


@pytest.mark.parametrize(
    ("mask", "valid"),
    [(Full(), None), (Causal() & PADDED, None), (Causal(), VALID)],
    ids=["full", "causal and a mask of padding", "causal without padding"],
)
@pytest.mark.parametrize("size", [5, T])
def test_attention_within_clusters_written_out(mask, valid, size):
    count = common_clusters(size, valid)
    options = dict(size=size, mask=mask, valid=valid, capture="all")
    mask = mask if valid is None else mask & Padding(valid)
    bias = jnp.asarray(np.log(np.maximum(count, 1e-30)), jnp.float32)
    bias = jnp.where(count > 0, bias, -jnp.inf)
    reference = {"mask": mask, "bias": bias, "implementation": "reference", "capture": "all"}
    found = with_gradients(lambda *x: routing_attend(*x, CENTROIDS, **options))
    expected = with_gradients(lambda *x: attend(*x, **reference))
    for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_padding_changes_nothing_of_a_text():
    """Neither what attends to what, nor where centroids move."""
    few = tuple(x[1:, :9] for x in (QUERY, KEY, VALUE))
    alone = routing_attend(*few, CENTROIDS, size=5, mask=Causal())
    padded = routing_attend(QUERY, KEY, VALUE, CENTROIDS, size=5, mask=Causal(), valid=VALID)
    np.testing.assert_allclose(padded.context[1, :9], alone.context[0], atol=1e-6)
    np.testing.assert_allclose(
        update_centroids(CENTROIDS, QUERY[1:], 0.5, valid=VALID[1:]),
        update_centroids(CENTROIDS, few[0], 0.5),
        atol=1e-6,
    )


def test_the_same_queries_and_keys_are_in_the_same_clusters():
    weights = routing_attend(QUERY, QUERY, VALUE, CENTROIDS, size=5, capture="all").weights
    queries = np.asarray(weights).any(axis=-1)  # in some cluster: then its own key is too
    np.testing.assert_array_equal(np.asarray(weights)[..., np.arange(T), np.arange(T)] > 0, queries)


def test_one_cluster_of_all_tokens_is_full_attention():
    found = routing_attend(QUERY, KEY, VALUE, CENTROIDS[:, :1], size=T, mask=Causal())
    expected = attend(QUERY, KEY, VALUE, mask=Causal())
    np.testing.assert_allclose(found.context, expected.context, atol=2e-6)


def test_later_tokens_change_no_weight_of_a_causal_query_but_by_the_choice_of_members():
    weights = routing_attend(
        QUERY, KEY, VALUE, CENTROIDS, size=5, mask=Causal(), capture="all"
    ).weights
    assert not np.triu(np.asarray(weights), 1).any()


def test_centroids_come_to_rest_at_the_means_of_their_clusters():
    rng = np.random.default_rng(1)
    middles = np.stack([np.roll(np.eye(H), head, axis=0)[:3] for head in range(N)])
    chosen = rng.integers(0, 3, (1, 90))
    vectors = jnp.asarray(
        middles.transpose(1, 0, 2)[chosen] + 0.02 * rng.standard_normal((1, 90, N, H)), jnp.float32
    )
    centroids = jnp.asarray(middles + 0.3 * rng.standard_normal(middles.shape), jnp.float32)
    for _ in range(60):
        centroids = update_centroids(centroids, vectors, decay=0.7)
    np.testing.assert_allclose(np.linalg.norm(centroids, axis=-1), 1, rtol=1e-5)
    np.testing.assert_allclose(update_centroids(centroids, vectors, 0.7), centroids, atol=1e-4)
    cosines = np.einsum("nch,nch->nc", np.asarray(centroids), middles)
    assert (cosines > 0.99).all()
    far = update_centroids(jnp.concatenate([centroids, -centroids[:, :1]], 1), vectors)
    np.testing.assert_allclose(far[:, -1], -centroids[:, 0], atol=1e-6)  # has no vectors


def test_what_is_refused():
    with pytest.raises(ValueError, match="size=15 of 14 tokens"):
        routing_attend(QUERY, KEY, VALUE, CENTROIDS, size=T + 1)
    with pytest.raises(
        ValueError, match=r"centroids have shape \(2, 4, 4\): give \(3, clusters, 4"
    ):
        routing_attend(QUERY, KEY, VALUE, CENTROIDS[:2], size=5)
    with pytest.raises(ValueError, match='captures all weights: give capture="all"'):
        routing_attend(QUERY, KEY, VALUE, CENTROIDS, size=5, capture=Capture((0,), (0,)))
