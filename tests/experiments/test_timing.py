"""Timing of calls: one program makes every call, in sequence."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.timing import repeated


def test_no_call_of_a_program_is_optimized_away():
    def function(x, y):
        return jnp.sin(x) @ y, x

    x, y = jnp.full((3, 3), 0.5), jnp.full((3, 3), 0.25)
    before, result = [x, y], function(x, y)
    for _ in range(3):
        before = [x.at[0, 0].set(result[0][0, 0]) for x in before]
        result = function(*before)
    found = jax.jit(repeated(function, 4))(x, y)
    jax.tree.map(np.testing.assert_array_almost_equal, found, result)
    assert repeated(function, 1) is function
    # Nothing of a call stands outside the loop but what the first one is.
    text = jax.jit(repeated(function, 4)).lower(x, y).compile().as_text()
    assert text.count(" sine(") == 2
