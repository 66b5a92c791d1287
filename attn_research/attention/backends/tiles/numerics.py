"""Numbers that kernels of flash attention share; their log-sum-exp and maxima are of base 2."""

import math

import jax.numpy as jnp
import numpy as np

from attn_research.types import Array, Float

# GPUs have an instruction for exponentials of base 2.
LOG2_E, LOG_2 = math.log2(math.e), math.log(2)
# The log-sum-exp of a query that attends to no key: any score less this has the exponential 0.
EMPTY_LOG_SUM = float(np.finfo(np.float32).max)


def softmax_delta(
    d_context: Float[Array, "B T N Hv"],
    context: Float[Array, "B T N Hv"],
    d_log_sum: Float[Array, "B N T"],
) -> Float[Array, "B N T"]:
    """The delta of each query, rowsum(dO · O), less the cotangent of its log-sum-exp.

    The softmax of the backward pass subtracts it from the gradient of each weight; Dao et al. 2022.
    """
    wide = jnp.float32
    return jnp.einsum("btnh,btnh->bnt", d_context.astype(wide), context.astype(wide)) - d_log_sum
