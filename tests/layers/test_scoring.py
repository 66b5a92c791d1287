"""The table of scores: for memories, for heads, and what one more line of it takes."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import Full
from attn_research.decoding import BeamHistory, KeyValueCache, Past
from attn_research.layers.attention import MemoryAttention
from attn_research.layers.multihead import MultiHeadAttention
from attn_research.layers.scoring import SCORINGS, Scoring, make_scoring, scoring_of
from attn_research.layers.transformer import DecoderBlock
from attn_research.trees import pytree

B, T, S, D, N, H = 2, 3, 5, 8, 2, 4
STATES = np.float32(np.random.default_rng(0).normal(size=(B, T, D)))
ANNOTATIONS = np.float32(np.random.default_rng(1).normal(size=(B, S, D)))
VALID = np.ones((B, S), bool)


def read_memory(module, states, annotations):
    memory = module.project(annotations, jnp.array(VALID))
    return module(states, memory, capture="all").weights


def read_heads(module, states, annotations):
    return module(states, module.project(annotations), Full(), capture="all").weights


def run(module, method, seed=2):
    """Weights with random parameters, and those."""
    arrays = jnp.array(STATES), jnp.array(ANNOTATIONS)
    init = functools.partial(module.init, method=method)
    shapes = jax.eval_shape(init, jax.random.key(0), *arrays)
    rng = np.random.default_rng(seed)
    params = jax.tree.map(lambda x: jnp.array(rng.normal(size=x.shape), jnp.float32), shapes)
    weights = jax.jit(functools.partial(module.apply, method=method))(params, *arrays)
    return np.asarray(weights), jax.tree.map(np.asarray, params.get("params", {}))


def softmax(scores):
    parts = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return parts / parts.sum(axis=-1, keepdims=True)


def expected_scores(name, p, query, key):
    """The scores [T, S] of one example and one head, written out."""
    match name:
        case "additive" | "concat":
            return np.tanh(query[:, None] + key[None]) @ p["vector"]
        case "dot":
            return query @ key.T
        case "scaled_dot":
            return query @ key.T / np.sqrt(query.shape[-1])
        case "general":
            return query @ p["weight"] @ key.T
        case "location":
            return (query @ p["weight"])[:, : len(key)]


@pytest.mark.parametrize("name", SCORINGS)
def test_every_score_of_memory_attention_by_hand(name):
    scoring = make_scoring(name, features=H, max_length=S + 1)
    weights, params = run(MemoryAttention(scoring), read_memory)
    p = params.get("scoring", {})
    query, key = STATES, ANNOTATIONS
    if name in ("additive", "concat", "scaled_dot"):
        query, key = query @ p["query"]["kernel"], key @ p["key"]["kernel"]
        assert ("bias" in p["query"]) == (name == "additive")
        query = query + p["query"].get("bias", 0.0)
    for b in range(B):
        expected = softmax(expected_scores(name, p, query[b], key[b]))
        np.testing.assert_allclose(weights[b], expected, atol=1e-5)


@pytest.mark.parametrize("name", SCORINGS)
def test_every_score_of_multi_head_attention_by_hand(name):
    heads = MultiHeadAttention(N, H, scoring=make_scoring(name, max_length=S + 1))
    weights, params = run(heads, read_heads)
    query, key = (
        (x @ params[side]["kernel"]).reshape(B, -1, N, H)
        for x, side in ((STATES, "query"), (ANNOTATIONS, "key"))
    )
    for b in range(B):
        for n in range(N):
            p = {key: array[n] for key, array in params.get("scoring", {}).items()}
            expected = softmax(expected_scores(name, p, query[b, :, n], key[b, :, n]))
            np.testing.assert_allclose(weights[b, n], expected, atol=1e-4)


def test_kernel_init_applies_to_matrices_and_to_the_vector_of_concat():
    ones = jax.nn.initializers.ones
    for name in SCORINGS:
        module = MemoryAttention(make_scoring(name, features=H, max_length=S, kernel_init=ones))
        arrays = jnp.array(STATES), jnp.array(ANNOTATIONS)
        params = module.init(jax.random.key(0), *arrays, method=read_memory)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            names = [part.key for part in path]
            drawn = names[-1] in ("kernel", "weight") or name == "concat"
            assert (np.asarray(leaf) == drawn).all(), (name, names)


@pytree
@dataclasses.dataclass(frozen=True)
class Cosine:
    """q · k / |q| |k|."""

    def __call__(self, query, key):
        query, key = (x / jnp.linalg.norm(x, axis=-1, keepdims=True) for x in (query, key))
        return jnp.einsum("...tnh,...snh->...nts", query, key)


@pytree
@dataclasses.dataclass(frozen=True)
class Weighted:
    """Σ_h w_h q_h k_h."""

    weight: jax.Array

    def __call__(self, query, key):
        n = "n" * (self.weight.ndim - 1)
        return jnp.einsum(f"...tnh,...snh,{n}h->...nts", query, key, self.weight)


def test_a_new_entry_of_scorings_works_in_memory_and_multi_head_attention(monkeypatch):
    line = scoring_of(
        Weighted,
        parameter="weight",
        axes=("query",),
        init=jax.nn.initializers.ones,
    )
    monkeypatch.setitem(SCORINGS, "cosine", scoring_of(Cosine))
    monkeypatch.setitem(SCORINGS, "weighted", line)

    def cosine(query, key):
        query, key = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (query, key))
        return softmax(query @ key.T)

    weights, params = run(MemoryAttention(make_scoring("cosine")), read_memory)
    assert not params
    np.testing.assert_allclose(weights[1], cosine(STATES[1], ANNOTATIONS[1]), atol=1e-5)
    weights, params = run(MultiHeadAttention(N, H, scoring=make_scoring("cosine")), read_heads)
    query, key = STATES[1] @ params["query"]["kernel"], ANNOTATIONS[1] @ params["key"]["kernel"]
    np.testing.assert_allclose(weights[1, 1], cosine(query[:, H:], key[:, H:]), atol=1e-5)

    weights, params = run(MemoryAttention(make_scoring("weighted")), read_memory)
    scores = STATES[0] * params["scoring"]["weight"] @ ANNOTATIONS[0].T
    np.testing.assert_allclose(weights[0], softmax(scores), atol=1e-4)
    _, params = run(MultiHeadAttention(N, H, scoring=make_scoring("weighted")), read_heads)
    assert params["scoring"]["weight"].shape == (N, H)


def test_invalid_scorings_are_refused():
    with pytest.raises(ValueError, match="score 'cosine' is not one of additive, concat"):
        make_scoring("cosine")
    with pytest.raises(ValueError, match='"location" has a weight for each index: give max_length'):
        make_scoring("location", features=H)
    arrays = jnp.array(STATES), jnp.array(ANNOTATIONS)
    projected = MultiHeadAttention(N, H, scoring=make_scoring("additive", features=3))
    with pytest.raises(ValueError, match="leave features at None"):
        projected.init(jax.random.key(0), *arrays, method=read_heads)


def test_location_score_is_refused_with_a_cache():
    heads = MultiHeadAttention(N, H, scoring=make_scoring("location", max_length=S))
    block = DecoderBlock(heads, mlp_dim=6)
    states = jnp.array(STATES)
    params = block.init(jax.random.key(0), states, Full())
    chunk = jax.eval_shape(lambda p: _project(block, p, states), params)
    history = BeamHistory.empty(B, S).append(T)
    with pytest.raises(ValueError, match='"location" goes by the index of a key'):
        past = Past(history, KeyValueCache.make(chunk, S))
        block.apply(params, states[:, None], Full(), past=past)


def _project(block, params, states):
    return block.apply(params, states, method=lambda block, x: block.attention.project(x))


def test_equal_options_give_equal_scorings():
    for name in SCORINGS:
        make = functools.partial(make_scoring, name, features=H)
        assert make(max_length=3) == make(max_length=3)
    assert make_scoring("location", max_length=3) != make_scoring("location", max_length=4)


def test_only_the_location_score_depends_on_locations():
    found = {name: make_scoring(name, max_length=3).by_location for name in SCORINGS}
    assert found == {name: name == "location" for name in SCORINGS}
    assert all(isinstance(make_scoring(name, max_length=3), Scoring) for name in SCORINGS)
