"""The oracle's gradients, derived by hand, are those that differences of its results show."""

import numpy as np
import pytest

from attn_research.attention.testing import oracle
from attn_research.attention.testing.cases import SCORES


@pytest.mark.parametrize("score", SCORES)
def test_gradients_are_central_differences(score):
    exact, _, parameter_shape = SCORES[score]
    rng = np.random.default_rng(3)
    arrays = {
        "query": rng.standard_normal((2, 3, 4, 5)),
        "key": rng.standard_normal((2, 6, 2, 6 if exact is oracle.general else 5)),
        "value": rng.standard_normal((2, 6, 2, 7)),
        "bias": rng.standard_normal((1, 4, 3, 6)),
        "center": rng.uniform(0, 6, (2, 3)),
    }
    if parameter_shape:
        arrays["parameter"] = rng.standard_normal(parameter_shape(4, 5, 6))
    options = {
        "score": exact,
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
