"""Comparison of trees of arrays."""

import jax
import numpy as np


def assert_trees_close(found, expected, rtol=1e-6, atol=1e-6):
    """Equal up to rounding, leaf by leaf."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)
