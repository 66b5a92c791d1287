"""Dense layers over rows of any number of axes, multiplied as one matrix."""

import functools
import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from attn_research.attention.backends.divided import num_parts
from attn_research.types import Array, Float

MANY = 256  # rows of a product


def multiply_rows(
    inputs: Float[Array, "*B in"],
    kernel: Float[Array, "in out"],
    dimension_numbers: lax.DotDimensionNumbers = (((-1,), (0,)), ((), ())),
    precision: lax.PrecisionLike = None,
    preferred_element_type=None,
) -> Float[Array, "*B out"]:
    """`lax.dot_general` of the last axis of inputs, whose other axes are made one.

    Of a product with several leading axes XLA's gradient by the kernel transposes the larger factor
    on a CPU, element by element, which takes longer than the product; that of two matrices reads
    both where they are. A gradient of more rows than columns takes up to twice as long on one core
    as its transpose. So there a kernel with more inputs than outputs is transposed first, for all
    products; the gradient by the inputs needs the copy, which is kept until then.
    """
    if num_parts() > 1:  # one axis of all could not be divided as the second is
        numbers = (((inputs.ndim - 1,), dimension_numbers[0][1]), ((), ()))
        return lax.dot_general(
            inputs, kernel, numbers, precision, preferred_element_type=preferred_element_type
        )
    rows = inputs.reshape(math.prod(inputs.shape[:-1]), inputs.shape[-1])
    ((_, contracted), _) = dimension_numbers
    if contracted == (0,) and kernel.shape[0] > kernel.shape[1] and _many_on_cpu(rows):
        kernel, contracted = lax.optimization_barrier(kernel.T), (1,)
    numbers = (((1,), contracted), ((), ()))
    found = lax.dot_general(
        rows, kernel, numbers, precision, preferred_element_type=preferred_element_type
    )
    return found.reshape(*inputs.shape[:-1], found.shape[-1])


def _many_on_cpu(rows: Float[Array, "B in"]) -> bool:
    """Whether a product on a CPU takes much longer than copies of its kernel."""
    return rows.shape[0] >= MANY and jax.default_backend() == "cpu"


Dense = functools.partial(nn.Dense, dot_general=multiply_rows)


def add_bias(
    product: Float[Array, "*B out"], bias: Float[Array, "out"] | None
) -> Float[Array, "*B out"]:
    """The sum of a product and the bias of its layer, if there is one."""
    return product if bias is None else product + jnp.expand_dims(bias, range(product.ndim - 1))


def is_dense(layer: nn.Module) -> bool:
    """Whether a layer is a `Dense` with products of the default precision."""
    return (
        isinstance(layer, nn.Dense)
        and layer.dot_general is multiply_rows
        and layer.precision is None
    )
