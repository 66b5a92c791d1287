"""What a function costs, counted from its shapes; nothing is run or allocated."""

import math
from collections.abc import Callable

import jax
from jax.extend import core


def matmul_flops(function: Callable, *shapes) -> int:
    """FLOPs of matrix products and convolutions: 2 for each multiply-add, loops counted in full.

    Zeros around and between the places of an image are counted as if they were data. `shapes` are
    arrays or `jax.ShapeDtypeStruct`. A loop whose number of turns depends on data counts once.
    """
    return _flops(jax.make_jaxpr(function)(*shapes).jaxpr)


def _flops(jaxpr: core.Jaxpr) -> int:
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            turns = math.prod(shape[axis] for axis in contracted)
            total += 2 * turns * math.prod(equation.outvars[0].aval.shape)
        if equation.primitive.name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            outputs = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
            turns = math.prod(kernel) // outputs
            total += 2 * turns * math.prod(equation.outvars[0].aval.shape)
        times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        total += times * sum(_flops(inner) for inner in inner_jaxprs(equation.params))
    return total


def inner_jaxprs(params: dict) -> list[core.Jaxpr]:
    """The programs that an equation with these parameters holds."""
    leaves = jax.tree.leaves(
        list(params.values()), is_leaf=lambda x: isinstance(x, core.Jaxpr | core.ClosedJaxpr)
    )
    found = [x.jaxpr if isinstance(x, core.ClosedJaxpr) else x for x in leaves]
    return [x for x in found if isinstance(x, core.Jaxpr)]
