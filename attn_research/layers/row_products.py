"""Matrices stored by output, for products with few rows: the steps of a decoder, on a CPU.

A step multiplies every matrix by one row of states for each text. A row-major kernel [in, out] is
then packed anew for each product; stored by output, it is read once in its order. In int8 it is a
quarter as large.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Generator, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from attn_research.layers.dense import add_bias
from attn_research.trees import pytree
from attn_research.types import Array, Float, PyTree

Weights = Literal["float32", "int8"]
FEW = 32  # rows of a product up to which the layout matters
_LEVELS = 127
_BLOCK = 128  # outputs whose int8 weights are converted at a time


@pytree
@dataclasses.dataclass(frozen=True)
class ByOutput:
    """A matrix [in, out] as its outputs' weights; in int8 with a scale for each output."""

    values: Float[Array, "*L out in"] | Any
    scale: Float[Array, "*L out"] | Any = None

    @classmethod
    def quantized(cls, rows: Float[np.ndarray, "*L out in"]) -> "ByOutput":
        """Symmetric int8: each output's largest weight is 127 times its scale."""
        rows = np.asarray(rows, np.float32)
        largest = np.abs(rows).max(axis=-1)
        scale = np.where(largest > 0, largest / _LEVELS, 1).astype(np.float32)
        values = np.rint(rows / scale[..., None]).astype(np.int8)
        return cls(jnp.asarray(values), jnp.asarray(scale))

    @property
    def dtype(self) -> Any:
        """The dtype of products."""
        return self.values.dtype if self.scale is None else self.scale.dtype

    def dense(self) -> Float[Array, "*L out in"]:
        """The weights of all outputs."""
        found = self.values.astype(self.dtype)
        return found if self.scale is None else found * self.scale[..., None]

    def rows(self, ids: Array) -> Float[Array, "*ids in"]:
        """The weights of some outputs."""
        found = jnp.take(self.values, ids, axis=0)
        if self.scale is None:
            return found
        return found.astype(self.dtype) * jnp.take(self.scale, ids, axis=0)[..., None]

    def times(self, inputs: Float[Array, "*B in"]) -> Float[Array, "*B out"]:
        """The product of inputs and the matrix."""
        flat = inputs.reshape(-1, inputs.shape[-1])
        if len(flat) > FEW:
            matrix = self.values.astype(self.dtype)
            product = jax.lax.dot_general(flat, matrix, (((1,), (1,)), ((), ())))
        else:
            # (W xᵀ)ᵀ, which XLA would turn back into the slower x Wᵀ but for the barriers.
            columns = jax.lax.optimization_barrier(flat.T)
            product = jax.lax.optimization_barrier(self._times_columns(columns)).T
        product = product if self.scale is None else product * self.scale[None]
        return product.reshape(*inputs.shape[:-1], -1)

    def _times_columns(self, columns: Float[Array, "in few"]) -> Float[Array, "out few"]:
        if self.values.dtype != jnp.int8:
            return self.values @ columns
        # A block of weights is converted at a time, within the cache of the processor.
        whole = len(self.values) // _BLOCK * _BLOCK
        rest = self.values[whole:].astype(self.dtype) @ columns
        if not whole:
            return rest
        blocks = self.values[:whole].reshape(-1, _BLOCK, len(columns))
        product = jax.lax.map(lambda block: block.astype(self.dtype) @ columns, blocks)
        return jnp.concatenate([product.reshape(whole, -1), rest])


def store_by_output(params: PyTree, weights: Weights = "float32") -> PyTree:
    """Parameters of the same network, for `row_products`: kernels, and embeddings in int8.

    Blocks that are scanned are taken apart, as decoding needs them. Norms and biases stay float32.
    """
    tree = dict(params["params"])
    if "blocks" in tree:
        count = len(jax.tree.leaves(tree["blocks"])[0])
        blocks = tree["blocks"]
        tree["blocks"] = {
            str(number): jax.tree.map(lambda x, i=number: np.asarray(x[i]), blocks)
            for number in range(count)
        }
    return {"params": _stored(tree, weights)}


def _stored(tree: Mapping[str, Any], weights: Weights) -> dict[str, Any]:
    found = {}
    for name, part in tree.items():
        if isinstance(part, Mapping):
            found[name] = _stored(part, weights)
        elif name == "kernel" and np.ndim(part) == 2:
            rows = np.ascontiguousarray(np.asarray(part).T)
            plain = weights == "float32"
            found[name] = ByOutput(jnp.asarray(rows)) if plain else ByOutput.quantized(rows)
        elif name == "embedding" and weights == "int8":
            found[name] = ByOutput.quantized(np.asarray(part))
        else:
            found[name] = jnp.asarray(part)
    return found


def round_to_int8(params: PyTree) -> PyTree:
    """The parameters, in float32, with matrices as `store_by_output` rounds them to int8."""

    def rounded(path: tuple, leaf: Any) -> Any:
        name = path[-1].key
        if name == "kernel" and np.ndim(leaf) > 1:
            return jnp.swapaxes(ByOutput.quantized(np.swapaxes(leaf, -1, -2)).dense(), -1, -2)
        return ByOutput.quantized(leaf).dense() if name == "embedding" else jnp.asarray(leaf)

    return jax.tree_util.tree_map_with_path(rounded, params)


@contextlib.contextmanager
def row_products() -> Generator[None]:
    """Linear layers and embeddings compute with parameters that `store_by_output` made.

    Those with other parameters compute as they do outside, but for products with an embedding.
    """
    with nn.intercept_methods(_intercept):
        yield


def _intercept(call: Callable[..., Any], args: tuple, kwargs: dict[str, Any], context: Any) -> Any:
    module, method = context.module, context.method_name
    if isinstance(module, nn.Dense) and method == "__call__":
        kernel = module.get_variable("params", "kernel")
        if isinstance(kernel, ByOutput):
            bias = module.get_variable("params", "bias") if module.use_bias else None
            return add_bias(kernel.times(*args), bias)
    elif isinstance(module, nn.Embed):
        table = module.embedding if method in ("__call__", "attend") else None
        if isinstance(table, ByOutput) and method == "__call__":
            return table.rows(*args)
        if method == "attend":
            table = table if isinstance(table, ByOutput) else ByOutput(table)
            return table.times(*args)
    return call(*args, **kwargs)
