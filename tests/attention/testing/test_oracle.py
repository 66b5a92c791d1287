"""The gradients of the oracle: those derived by hand beside differences of its results."""

import numpy as np
import pytest

from attn_research.attention.testing import oracle
from attn_research.attention.testing.mechanisms import SCORES


def draw(score, rng):
    arrays = {
        "query": rng.standard_normal((2, 3, 4, 5)),
        "key": rng.standard_normal((2, 6, 2, 5 + score.wider_keys)),
        "value": rng.standard_normal((2, 6, 2, 7)),
        "bias": rng.standard_normal((1, 4, 3, 6)),
        "center": rng.uniform(0, 6, (2, 3)),
    }
    shape = score.parameter_shape(4, 5, 6)
    return arrays if shape is None else arrays | {"parameter": np.array(rng.standard_normal(shape))}


@pytest.mark.parametrize("name", SCORES)
def test_gradients_equal_central_differences(name):
    score, rng = SCORES[name], np.random.default_rng(3)
    arrays = draw(score, rng)
    options = {
        "score": score.exact,
        "per_head": score.per_head,
        "allowed": np.tri(3, 6, 1, bool) & (np.arange(2) == 0)[:, None, None, None],
        "deviation": 1.5,
        "factors": rng.uniform(size=(2, 4, 3, 6)),
    }
    context, weights, pull = oracle.attend(**arrays, **options)
    cotangents = rng.standard_normal(context.shape), rng.standard_normal(weights.shape)
    gradients = pull(*cotangents)
    for name, array in arrays.items():
        step = 1e-5 * rng.standard_normal(array.shape)
        sides = [
            oracle.attend(**(arrays | {name: np.asarray(array + s)}), **options)
            for s in (step, -step)
        ]
        (high, low) = (
            sum((c * x).sum() for c, x in zip(cotangents, side[:2], strict=True)) for side in sides
        )
        np.testing.assert_allclose(
            (high - low) / 2, (gradients[name] * step).sum(), rtol=1e-6, atol=1e-13
        )


DERIVED = (oracle.dot, oracle.scaled_dot, oracle.general, oracle.additive, oracle.location)


@pytest.mark.parametrize("score", DERIVED, ids=lambda score: score.__name__)
def test_a_score_without_a_gradient_is_differentiated_numerically(score):
    rng = np.random.default_rng(4)
    q, k, ds = (rng.standard_normal(shape) for shape in ((2, 3, 5), (2, 6, 5), (2, 3, 6)))
    shape = {oracle.general: (5, 5), oracle.additive: (5,), oracle.location: (5, 4)}.get(score)
    parameter = None if shape is None else rng.standard_normal(shape)
    scores, pull = score(q, k, parameter)
    forward, numeric_pull = oracle.differentiate(lambda *a: score(*a)[0], q, k, parameter)
    np.testing.assert_array_equal(forward, scores)
    for numeric, exact in zip(numeric_pull(ds), pull(ds), strict=True):
        if exact is None:
            assert numeric is None
        else:
            np.testing.assert_allclose(numeric, exact, rtol=1e-8, atol=1e-8)


def test_the_gradient_of_a_scalar_parameter():
    def scaled(q, k, scale):
        return scale * np.einsum("bth,bsh->bts", q, k)

    rng = np.random.default_rng(5)
    arrays = [rng.standard_normal(shape) for shape in ((2, 3, 4, 5), (2, 6, 2, 5), (2, 6, 2, 7))]
    context, weights, pull = oracle.attend(*arrays, score=scaled, parameter=np.array(0.5))
    halved = oracle.attend(arrays[0] / 2, *arrays[1:], score=oracle.dot)
    np.testing.assert_allclose(context, halved[0])
    gradients, expected = (f(context, weights) for f in (pull, halved[2]))
    np.testing.assert_allclose(2 * gradients["query"], expected["query"], rtol=1e-7, atol=1e-9)
    assert gradients["parameter"].shape == ()
    by_query = (expected["query"] * arrays[0]).sum()  # scale * q is one product
    np.testing.assert_allclose(gradients["parameter"], by_query, rtol=1e-7)
