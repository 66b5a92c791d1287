"""The cost of a function in FLOPs, from shapes alone; nothing is run or allocated."""

import math
from collections.abc import Callable

import jax
from jax.extend import core


def matmul_flops(function: Callable, *shapes) -> int:
    """FLOPs of matrix products and convolutions: 2 for each multiply-add, loops counted in full.

    Padding and dilation of an image count as data. `shapes` are arrays or `jax.ShapeDtypeStruct`. A
    loop whose trip count depends on data counts once.
    """
    return _flops(jax.make_jaxpr(function)(*shapes).jaxpr)


def _flops(jaxpr: core.Jaxpr) -> int:
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            products = math.prod(shape[axis] for axis in contracted)
            total += 2 * products * math.prod(equation.outvars[0].aval.shape)
        if equation.primitive.name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            outputs = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
            products = math.prod(kernel) // outputs
            total += 2 * products * math.prod(equation.outvars[0].aval.shape)
        times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        total += times * sum(_flops(inner) for inner in inner_jaxprs(equation.params))
    return total


def inner_jaxprs(params: dict) -> list[core.Jaxpr]:
    """The inner programs of an equation with these parameters."""
    leaves = jax.tree.leaves(
        list(params.values()), is_leaf=lambda x: isinstance(x, core.Jaxpr | core.ClosedJaxpr)
    )
    found = [x.jaxpr if isinstance(x, core.ClosedJaxpr) else x for x in leaves]
    return [x for x in found if isinstance(x, core.Jaxpr)]
