"""Sparsemax, 1.5-entmax, sigmoid and top-k: by hand, by the oracle, their derivatives and edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from attn_research.attention import Sigmoid, TopK, attend, entmax15, softmax, sparsemax
from attn_research.attention.backends.xla_flash import tiling
from attn_research.attention.testing.cases import Case, prepare
from attn_research.attention.testing.comparison import compare

K_POS = np.arange(3)[None, None, None]
ODD = 2, 19, 35, 4, 2, 3, 6
NAMES = "sparsemax", "entmax15", "sigmoid"


def weights_of(normalizer, rows, allowed=True):
    rows = jnp.asarray(rows, jnp.float32)[None, None]
    allowed = jnp.broadcast_to(jnp.asarray(allowed), rows.shape)
    return np.asarray(normalizer(rows, allowed, K_POS))[0, 0]


def test_weights_by_hand():
    np.testing.assert_allclose(weights_of(sparsemax, [[0.5, 0, -1], [2, 0, 0]])[0], [0.75, 0.25, 0])
    np.testing.assert_array_equal(weights_of(sparsemax, [[2.0, 0, 0]]), [[1, 0, 0]])
    np.testing.assert_allclose(weights_of(sparsemax, [[1.0, 1, 1]]), [[1 / 3] * 3], rtol=1e-6)
    # With scores 0 and -x the weights are a² and (a - x/2)²: x = 1 gives a = (1 + √7) / 4.
    a = (1 + np.sqrt(7)) / 4
    expected = [[a**2, (a - 0.5) ** 2, 0]]
    np.testing.assert_allclose(weights_of(entmax15, [[0, -1.0, -9]]), expected, rtol=1e-6)
    np.testing.assert_allclose(weights_of(Sigmoid(), [[0.0, 0, 0]]), [[0.5] * 3])
    np.testing.assert_allclose(weights_of(Sigmoid(-np.log(3)), [[0.0, 0, 0]]), [[0.25] * 3])
    np.testing.assert_allclose(weights_of(TopK(2), [[0, np.log(3), -1.0]]), [[0.25, 0.75, 0]])


@pytest.mark.parametrize("normalizer", [sparsemax, entmax15, Sigmoid(), TopK(2)], ids=str)
def test_masked_scores_have_no_part_and_empty_rows_are_zero(normalizer):
    rows = np.array([[0, 1, np.nan], [5, np.inf, -3], [0.5, -np.inf, 0.25], [-np.inf] * 3])
    allowed = np.array([[1, 1, 0], [0, 0, 0], [1, 1, 1], [1, 1, 1]], bool)
    got = weights_of(normalizer, rows, allowed)
    np.testing.assert_allclose(got[0], weights_of(normalizer, [[0.0, 1, -99]])[0], atol=1e-6)
    assert not got[1].any() and not got[3].any() and got[2, 1] == 0 and got[0, 2] == 0


@pytest.mark.parametrize("normalizer", [sparsemax, entmax15, Sigmoid(0.5), TopK(3)], ids=str)
def test_derivatives_of_both_directions(normalizer):
    rng = np.random.default_rng(0)
    allowed = jnp.asarray(rng.random((1, 2, 3, 7)) < 0.8)
    with jax.enable_x64(True):
        scores = jnp.asarray(rng.standard_normal(allowed.shape))

        def weigh(scores):
            return normalizer(jnp.asarray(scores), allowed, np.arange(7)[None, None, None])

        check_grads(weigh, (scores,), order=1, modes=("fwd", "rev"))


def test_top_k_of_all_keys_is_its_inner_normalizer():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((4, 3))
    np.testing.assert_array_equal(weights_of(TopK(3), rows), weights_of(softmax, rows))
    np.testing.assert_array_equal(weights_of(TopK(9, sparsemax), rows), weights_of(sparsemax, rows))
    with pytest.raises(ValueError, match=r"TopK\(count=0\): give 1 or more"):
        TopK(0)


CASES = [
    *(("reference", Case(mask="causal & left padding", bias="nts", normalizer=n)) for n in NAMES),
    *(("reference", Case("additive", "by head", normalizer=name)) for name in NAMES),
    ("reference", Case(mask="around", normalizer="sigmoid", gaussian=True)),
    ("gathered", Case(mask="window", sizes=ODD, normalizer="entmax15")),
    ("tiled", Case(mask="causal & left padding", sizes=ODD, bias="n", normalizer="sigmoid")),
    ("tiled", Case("general", "global tokens", sizes=ODD, normalizer="sigmoid")),
    ("tiled", Case(mask="by head", sizes=ODD, dtype="bfloat16", normalizer="sigmoid")),
    ("tiled", Case(mask="padding", sizes=ODD, mode="prefill", normalizer="sigmoid")),
]


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(tiling, "QUERY_TILE", 16)
    monkeypatch.setattr(tiling, "KEY_TILE", 8)


@pytest.mark.parametrize(("implementation", "case"), CASES, ids=str)
def test_implementation_equals_oracle(implementation, case, small):
    assert not compare(implementation, case).wrong()


def test_who_takes_them():
    for name in NAMES:
        case = prepare(Case(normalizer=name))
        refused = {each: case.unsupported(each) for each in ("tiled", "pallas", "cudnn")}
        assert (refused["tiled"] is None) == (name == "sigmoid")
        assert all(refused[each] for each in ("pallas", "cudnn"))
    reason = prepare(Case(normalizer="sparsemax")).unsupported("tiled")
    assert reason == "the normalizer Sparsemax needs whole rows of scores: use reference"


def test_second_derivatives_of_tiles_are_those_of_the_reference(small):
    rng = np.random.default_rng(0)
    query, key = (jnp.asarray(rng.standard_normal((1, 20, 2, 4)), jnp.float32) for _ in range(2))

    def norm(query, implementation):
        def loss(query):
            options = {"normalizer": Sigmoid(-1.0), "implementation": implementation}
            return jnp.sum(attend(query, key, key, **options).context ** 2)

        return jnp.sum(jax.grad(loss)(query) ** 2)

    found, expected = (
        jax.jit(jax.grad(norm), static_argnums=1)(query, i) for i in ("tiled", "reference")
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
