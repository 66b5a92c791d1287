"""A fast program with a backward pass of its own, closed under every transformation of JAX.

`jax.custom_vjp` has no forward mode, and no derivatives of its backward pass unless that has some.
Here a fast program stands beside a plain one, which JAX can differentiate. Reverse mode of first
order runs the backward pass given; every other derivative is that of the plain program.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive, unmapped_aval
from jax.interpreters import ad, batching, mlir

from attn_research.loops import varying_axes
from attn_research.types import Array, PyTree

Leaves = list[Array]


@dataclasses.dataclass(frozen=True, eq=False)
class Linear:
    """A function of residuals and of arrays that it is linear in: leaves to leaves.

    `run` computes it; `plain` is equal to it, and JAX can differentiate that.
    """

    run: Callable[[Leaves, Leaves], list[Array]]
    plain: Callable[[Leaves, Leaves], list[Array]]


def part_floats(tree: PyTree) -> tuple[Leaves, Leaves, Callable[[Leaves, Leaves], PyTree]]:
    """The leaves of a tree that are floats, the others, and the function that makes it of both.

    Such are the operands and the constants of `with_backward`.
    """
    leaves, structure = jax.tree.flatten(tree)
    is_float = [jnp.issubdtype(jnp.result_type(leaf), jnp.floating) for leaf in leaves]

    def merge(floats: Leaves, others: Leaves) -> PyTree:
        rest = {True: iter(floats), False: iter(others)}
        return structure.unflatten(next(rest[each]) for each in is_float)

    floats, others = (
        [leaf for leaf, each in zip(leaves, is_float, strict=True) if each == kind]
        for kind in (True, False)
    )
    return floats, others, merge


def with_backward(
    plain: Callable[[PyTree, PyTree], PyTree],
    forward: Callable[[PyTree, PyTree], PyTree],
    backward: Callable[[PyTree, PyTree, PyTree, PyTree], PyTree],
    forward_saving: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]] | None = None,
) -> Callable[[PyTree, PyTree], PyTree]:
    """`forward(operands, constants)`, with its derivatives.

    `plain` has the same values. `backward(operands, constants, saved, cotangents)` gives the
    cotangents of the operands, which are floats; no gradient reaches the constants. What is saved
    are the outputs, or what `forward_saving` returns beside them where a derivative is asked for.
    """

    @jax.custom_jvp
    def call(operands: PyTree, constants: PyTree) -> PyTree:
        return forward(operands, constants)

    if forward_saving is not None:
        saving = _differentiated_as(call, forward_saving)

    @call.defjvp
    def jvp(primals: tuple, tangents: tuple) -> tuple[PyTree, PyTree]:
        operands, constants = primals
        if forward_saving is None:
            outputs = saved = call(operands, constants)
        else:
            outputs, saved = saving(operands, constants)
        residuals, structure = jax.tree.flatten((operands, constants, saved))
        structures = jax.tree.structure(operands), jax.tree.structure(outputs)

        def pushforward(residuals: Leaves, linear: Leaves) -> list[Array]:
            operands, constants, _ = structure.unflatten(residuals)
            tangents = structures[0].unflatten(linear)
            found = jax.jvp(lambda operands: plain(operands, constants), (operands,), (tangents,))
            return jax.tree.leaves(found[1])

        def pullback(residuals: Leaves, linear: Leaves) -> list[Array]:
            operands, constants, _ = structure.unflatten(residuals)
            _, pull = jax.vjp(lambda operands: plain(operands, constants), operands)
            return jax.tree.leaves(pull(structures[1].unflatten(linear)))

        def run_backward(residuals: Leaves, linear: Leaves) -> list[Array]:
            cotangents = structures[1].unflatten(linear)
            found = jax.tree.leaves(backward(*structure.unflatten(residuals), cotangents))
            return list(map(_sum_over_devices, found, residuals))

        found = linear_p.bind(
            *residuals,
            *jax.tree.leaves(tangents[0]),
            num_residuals=len(residuals),
            here=Linear(pushforward, pushforward),
            transposed=Linear(run_backward, pullback),
            outputs=tuple(jax.typeof(x).to_tangent_aval() for x in jax.tree.leaves(outputs)),
        )
        return outputs, structures[1].unflatten(found)

    return call


def _differentiated_as(
    call: Callable[[PyTree, PyTree], PyTree],
    forward_saving: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]],
) -> Callable[[PyTree, PyTree], tuple[PyTree, PyTree]]:
    """`forward_saving`, the derivatives of whose outputs are those of `call`.

    What it saves has none: all but a gradient of first order is computed from the operands.
    """

    @jax.custom_jvp
    def saving(operands: PyTree, constants: PyTree) -> tuple[PyTree, PyTree]:
        return forward_saving(operands, constants)

    @saving.defjvp
    def jvp(primals: tuple, tangents: tuple) -> tuple[tuple, tuple]:
        operands, constants = primals
        found = saving(operands, constants)
        _, d_outputs = jax.jvp(lambda x: call(x, constants), (operands,), (tangents[0],))
        return found, (d_outputs, jax.tree.map(_no_tangent, found[1]))

    return saving


def _no_tangent(leaf: Array) -> Array | np.ndarray:
    aval = jax.typeof(leaf).to_tangent_aval()
    if aval.dtype == jax.dtypes.float0:
        return np.zeros(aval.shape, aval.dtype)
    return jnp.zeros_like(leaf)


def first_order_only(
    function: Callable[[PyTree, PyTree], PyTree], refusal: str
) -> Callable[[PyTree, PyTree], PyTree]:
    """`function(operands, constants)`, whose gradients by operands alone can be computed.

    Every other derivative raises NotImplementedError(refusal), where JAX would name no way out.
    """

    def plain(operands: PyTree, constants: PyTree) -> PyTree:
        raise NotImplementedError(refusal)

    def saving(operands: PyTree, constants: PyTree) -> tuple[PyTree, PyTree]:
        return jax.vjp(lambda operands: function(operands, constants), operands)

    def backward(operands: PyTree, constants: PyTree, pull: PyTree, cotangents: PyTree) -> PyTree:
        (found,) = pull(cotangents)
        return found

    return with_backward(plain, function, backward, saving)


def _sum_over_devices(cotangent: Array, operand: Array) -> Array:
    """The cotangent of an operand that devices of a `shard_map` share: the sum of theirs."""
    shared = set(varying_axes(cotangent)) - set(varying_axes(operand))
    return lax.psum(cotangent, tuple(shared)) if shared else cotangent


linear_p = Primitive("linear_with_transpose")
linear_p.multiple_results = True


@linear_p.def_impl
def _run(*arrays: Array, num_residuals: int, here: Linear, **_: Any) -> list[Array]:
    return here.run(list(arrays[:num_residuals]), list(arrays[num_residuals:]))


@linear_p.def_abstract_eval
def _shapes(*_: Any, outputs: tuple, **__: Any) -> list:
    return list(outputs)


def _jvp(primals: Sequence[Any], tangents: Sequence[Any], **params: Any) -> tuple[list, list]:
    count, here = params["num_residuals"], params["here"]
    residuals, linear = list(primals[:count]), list(primals[count:])
    values = linear_p.bind(*primals, **params)
    found = [ad.Zero(aval) for aval in params["outputs"]]
    if not all(type(t) is ad.Zero for t in tangents[count:]):
        of_linear = [ad.instantiate_zeros(t) for t in tangents[count:]]
        found = linear_p.bind(*residuals, *of_linear, **params)
    moving = [i for i, t in enumerate(tangents[:count]) if type(t) is not ad.Zero]
    if moving:

        def of_residuals(chosen: list[Array]) -> list[Array]:
            leaves = list(residuals)
            for index, leaf in zip(moving, chosen, strict=True):
                leaves[index] = leaf
            return here.plain(leaves, linear)

        chosen = [residuals[i] for i in moving], [tangents[i] for i in moving]
        _, more = jax.jvp(of_residuals, (chosen[0],), (chosen[1],))
        found = [ad.add_tangents(a, b) for a, b in zip(found, more, strict=True)]
    return values, found


def _transpose(cotangents: Sequence[Any], *arrays: Any, **params: Any) -> list:
    count = params["num_residuals"]
    linear = [x.aval for x in arrays[count:]]
    found = linear_p.bind(
        *arrays[:count],
        *(ad.instantiate_zeros(cotangent) for cotangent in cotangents),
        num_residuals=count,
        here=params["transposed"],
        transposed=params["here"],
        outputs=tuple(aval.to_tangent_aval() for aval in linear),
    )
    return [None] * count + found


def _batch(arrays: Sequence[Any], axes: Sequence[int | None], **params: Any) -> tuple[list, list]:
    count = params["num_residuals"]
    (size,) = {x.shape[axis] for x, axis in zip(arrays, axes, strict=True) if axis is not None}
    residuals = list(arrays[:count])
    # Broadcast, so that the transpose of an array that all share is the sum of theirs.
    linear = [
        jnp.broadcast_to(x, (size, *x.shape)) if axis is None else jnp.moveaxis(x, axis, 0)
        for x, axis in zip(arrays[count:], axes[count:], strict=True)
    ]
    in_axes = list(axes[:count]), 0

    def mapped(function: Linear) -> Linear:
        return Linear(*(jax.vmap(each, in_axes) for each in (function.run, function.plain)))

    found = linear_p.bind(
        *residuals,
        *linear,
        num_residuals=count,
        here=mapped(params["here"]),
        transposed=mapped(params["transposed"]),
        outputs=tuple(unmapped_aval(size, 0, aval) for aval in params["outputs"]),
    )
    return found, [0] * len(found)


ad.primitive_jvps[linear_p] = _jvp
ad.primitive_transposes[linear_p] = _transpose
batching.primitive_batchers[linear_p] = _batch
mlir.register_lowering(linear_p, mlir.lower_fun(_run, multiple_results=True))
