"""Calls of attention: arguments of a wrong kind or dtype are refused by name."""

import re

import jax.numpy as jnp
import pytest

from attn_research.attention import Causal, Dot, Gaussian
from attn_research.attention.call import AttentionCall


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"score": "dot"}, "score is 'dot', a str: give ScaledDot()"),
        ({"score": Dot}, "score is the class Dot: write Dot(...)"),
        ({"score": None}, "score is None"),
        ({"normalizer": "softmax"}, "normalizer is 'softmax', a str"),
        ({"normalizer": Gaussian}, "normalizer is the class Gaussian"),
        ({"mask": Causal}, "mask is the class Causal: write Causal(...)"),
        ({"mask": "causal"}, "mask is of type str"),
        ({"bias": "alibi"}, "bias is 'alibi', a str"),
        ({"bias": Dot}, "bias is the class Dot"),
        ({"dropout": 0.1}, "dropout is of type float: give Dropout(...) or None"),
        ({"positions": jnp.arange(3)}, "give Positions(...) or None"),
        ({"bias": jnp.zeros((1, 1, 1, 1), "float8_e5m2")}, "bias is float8_e5m2"),
    ],
)
def test_strings_classes_and_arrays_for_other_parts_are_refused(options, reason):
    array = jnp.ones((1, 3, 2, 4))
    with pytest.raises(ValueError, match=re.escape(reason)):
        AttentionCall(array, array, array, **options).checked()


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "int32", "bool"])
def test_dtypes_without_sums_and_products_are_refused(dtype):
    array = jnp.ones((1, 3, 2, 4))
    with pytest.raises(ValueError, match=f"{dtype}.*: give floats of at least 16 bits"):
        AttentionCall(array.astype(dtype), array, array).checked()
