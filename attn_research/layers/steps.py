"""The loop of a recurrent network over the steps of a sequence.

The gradient by a matrix that all steps share is a sum over steps. Added up within the loop, each
term is a product of only the rows of a batch, and the sum, as large as the matrix, is read and
written at every step. Here the factors of all steps are kept, and one product follows the loop.
"""

import collections
import contextlib
import dataclasses
from collections.abc import Callable, Generator, Mapping, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.core.tracers import current_trace
from flax.linen.dtypes import promote_dtype
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import lax

from attn_research.derivatives import part_floats, with_backward
from attn_research.layers.dense import add_bias, is_dense, multiply_rows
from attn_research.layers.remat import Remat, remat
from attn_research.types import Array, PyTree

Body = Callable[[nn.Module, PyTree, PyTree, PyTree], tuple[PyTree, PyTree]]
OfLayers = dict[tuple[str, ...], list[Array]]  # by the path of a layer, in the order of its calls


def scan_steps(
    body: Body,
    module: nn.Module,
    state: PyTree,
    inputs: PyTree,
    shared: PyTree = None,
    *,
    rngs: Sequence[str] = (),
    policy: Remat = "none",
    reverse: bool = False,
) -> tuple[PyTree, PyTree]:
    """The last state, and the outputs [B, T, ...] of `body(module, shared, state, input)`.

    The body returns the state after a step and an output, both of floats. Inputs are [B, T, ...].
    Arrays that a body takes from around it must come by `shared`. `rngs` names what it draws, anew
    in each step. `policy` is of rematerialization. From the last step to the first if `reverse`.
    """
    loop = _Loop(body, tuple(rngs), policy, reverse)
    if module.is_initializing():
        return loop.run(module, shared, state, inputs)
    network, variables = module.unbind()
    keys = {name: module.make_rng(name) for name in rngs if module.has_rng(name)}
    arrays = variables.get("params", {}), (shared, state, inputs), keys
    floats, others, merge = part_floats(arrays)

    def apply(method: Callable, floats: list[Array], others: list[Array], *taps: OfLayers):
        params, arguments, keys = merge(floats, others)
        return network.apply({"params": params}, *arguments, *taps, rngs=keys, method=method)

    def plain(floats: list[Array], others: list[Array]) -> tuple[PyTree, PyTree]:
        return apply(loop.run, floats, others)

    def forward_saving(floats: list[Array], others: list[Array]) -> tuple[PyTree, PyTree]:
        steps = jax.tree.leaves(inputs)[0].shape[1]
        products = jax.eval_shape(lambda *leaves: apply(loop.products, *leaves), floats, others)
        taps = jax.tree.map(lambda x: jnp.zeros((steps, *x.shape), x.dtype), products)

        def tapped(floats: list[Array], taps: OfLayers) -> tuple[PyTree, OfLayers]:
            return apply(loop.run_tapped, floats, others, taps)

        found, pull, factors = jax.vjp(tapped, floats, taps, has_aux=True)
        return found, (pull, factors)

    def backward(floats, others, saved, cotangents) -> list[Array]:
        pull, factors = saved
        found, d_products = pull(cotangents)
        params, *rest = merge(found, others)
        flat = flatten_dict(params)
        for path in d_products:
            for factor, d_product in zip(factors[path], d_products[path], strict=True):
                product = _over_steps(factor, d_product)
                flat[*path, "kernel"] += product.astype(flat[*path, "kernel"].dtype)
        return part_floats((unflatten_dict(flat), *rest))[0]

    return with_backward(plain, plain, backward, forward_saving)(floats, others)


@dataclasses.dataclass(frozen=True)
class _Loop:
    """A loop as methods of a module: of (shared, state, inputs)."""

    body: Body
    rngs: tuple[str, ...]
    policy: Remat
    reverse: bool

    def run(self, module, shared, state, inputs):
        """The last state, and outputs."""

        def step(module, state, each):
            return self.body(module, shared, state, each)

        return self._scan(step, 1)(module, state, inputs)

    def run_tapped(self, module, shared, state, inputs, taps):
        """The same, and the inputs of layers in all steps, [T, B, ...], as are their taps."""

        def step(module, state, each, taps):
            with _tapped(taps) as (factors, _):
                after, output = self.body(module, shared, state, each)
            return after, (output, dict(factors))

        last, (outputs, factors) = self._scan(step, (1, 0))(module, state, inputs, taps)
        return (last, outputs), factors

    def products(self, module, shared, state, inputs):
        """The products of layers in the first step."""
        with _tapped(None) as (_, products):
            self.body(module, shared, state, jax.tree.map(lambda x: x[:, 0], inputs))
        return dict(products)

    def _scan(self, step, axes):
        return nn.scan(
            remat(step, self.policy),
            variable_broadcast="params",
            split_rngs={"params": False, **dict.fromkeys(self.rngs, True)},
            in_axes=axes,
            out_axes=axes,
            reverse=self.reverse,
        )


@contextlib.contextmanager
def _tapped(
    taps: Mapping[tuple[str, ...], Sequence[Array]] | None,
) -> Generator[tuple[OfLayers, OfLayers]]:
    """The inputs and the products of `Dense` layers, to which taps are added.

    The gradient by a tap is that by the product; none reaches the kernel. Calls within another
    transformation, such as `jax.vmap`, are left alone: what is in there cannot leave it.
    """
    factors, products = collections.defaultdict(list), collections.defaultdict(list)
    outside = current_trace()

    def intercept(call, args, kwargs, context):
        layer = context.module
        if not is_dense(layer) or context.method_name != "__call__" or current_trace() != outside:
            return call(*args, **kwargs)
        kernel = lax.stop_gradient(layer.get_variable("params", "kernel"))
        bias = layer.get_variable("params", "bias") if layer.use_bias else None
        inputs, kernel, bias = promote_dtype(*args, kernel, bias, dtype=layer.dtype)
        product = multiply_rows(inputs, kernel)
        if taps is not None:
            product = product + taps[layer.path][len(factors[layer.path])]
        factors[layer.path].append(inputs)
        products[layer.path].append(product)
        return add_bias(product, bias)

    with nn.intercept_methods(intercept):
        yield factors, products


def _over_steps(factor: Array, d_product: Array) -> Array:
    """The gradient by a matrix: the sum over steps and rows."""
    rows = (x.reshape(-1, x.shape[-1]) for x in (factor, d_product))
    return lax.dot_general(*rows, (((0,), (0,)), ((), ())))
