"""Ring attention where XLA divides a program over the mesh axis `sequence`.

The arrays of a call are whole, as the program sees them; here each device of the axis gets its part
of the queries, keys and values, and `ring_attend` does the rest.
"""

from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from attn_research.attention import ring
from attn_research.attention.array_masks import Padding
from attn_research.attention.backends.capabilities import pad_end
from attn_research.attention.backends.xla_flash.terms import split_bias_function
from attn_research.attention.call import Attended, AttentionCall
from attn_research.types import Array, PyTree, Shaped

AXIS = "sequence"
_TRACED = Counter()  # calls that became a ring in this process


def num_parts() -> int:
    """The number of devices among which the program being traced divides its sequences."""
    mesh = jax.sharding.get_abstract_mesh()
    return mesh.shape[AXIS] if not mesh.empty and AXIS in mesh.auto_axes else 1


def num_traced() -> int:
    """The number of calls so far that became a ring, by which a caller tells if there were any."""
    return _TRACED["calls"]


def divide(tree: PyTree) -> PyTree:
    """The tree, whose arrays [B, T, D] each device has a part of, where their length allows it.

    Without this XLA may compute all that stands between two attentions on every device.
    """
    parts = num_parts()

    def constrain(leaf: Any) -> Any:
        if parts == 1 or leaf.ndim != 3 or leaf.shape[1] % parts:
            return leaf
        free = PartitionSpec.UNCONSTRAINED
        return jax.lax.with_sharding_constraint(leaf, PartitionSpec(free, AXIS, free))

    return jax.tree.map(constrain, tree)


def split_tokens(array: Shaped[Array, "B T *rest"]) -> Shaped[Array, "P B T_P *rest"]:
    """The tokens of an array by the device that has them; T is a multiple of the devices."""
    batch, length, *rest = array.shape
    parts = array.reshape(batch, num_parts(), length // num_parts(), *rest)
    free = PartitionSpec.UNCONSTRAINED
    spec = PartitionSpec(AXIS, *[free] * (parts.ndim - 1))
    return jax.lax.with_sharding_constraint(jnp.moveaxis(parts, 1, 0), spec)


def unsupported(call: AttentionCall) -> str | None:
    """The reason why a call is not supported, or None."""
    if num_parts() == 1:
        return f"no mesh axis {AXIS!r} divides this program"
    if not call.counted:
        return "positions of its own are not for a ring: leave them out"
    if call.bias is not None and _closes_over_arrays(call.bias, call.query.ndim):
        return "bias is a function that closes over arrays: give a pytree of them, as ALiBi is"
    return ring.unsupported(call)


def _closes_over_arrays(bias: Any, rank: int) -> bool:
    """Whether a plain function takes arrays of the program from around it."""
    if hasattr(bias, "dtype") or not jax.tree_util.all_leaves([bias]):
        return False
    zeros = jnp.zeros((1,) * rank, jnp.int32)
    _, learned, others, _ = split_bias_function(bias, zeros, zeros)
    return bool(learned or others)


def attend(call: AttentionCall) -> Attended:
    """Attention whose queries, keys and values are divided over the axis."""
    _TRACED["calls"] += 1
    num_queries, call = call.lengths[0], _padded(call, num_parts())
    rest = call.replace(query=None, key=None, value=None)
    of_arrays, arrays = rest.split(lambda call: call)

    def run(query: Array, key: Array, value: Array, arrays: list) -> Array:
        given = of_arrays(arrays)
        options = dict(mask=given.mask, score=given.score, bias=given.bias)
        return ring.ring_attend(query, key, value, axis=AXIS, **options)

    part, whole = PartitionSpec(*[None] * len(call.batch), AXIS), PartitionSpec()
    divided = jax.shard_map(
        run, axis_names={AXIS}, in_specs=(part, part, part, whole), out_specs=part
    )
    context = divided(call.query, call.key, call.value, arrays)
    return Attended(context[..., :num_queries, :, :], None)


def _padded(call: AttentionCall, parts: int) -> AttentionCall:
    """The call with lengths that are multiples of `parts`, whose mask leaves out added keys."""
    num_keys = call.lengths[1]
    more_queries, more_keys = (-length % parts for length in call.lengths)
    axis = len(call.batch)
    call = call.replace(
        query=pad_end(call.query, {axis: more_queries}),
        key=pad_end(call.key, {axis: more_keys}),
        value=pad_end(call.value, {axis: more_keys}),
    )
    if not more_keys:
        return call
    real = jnp.arange(num_keys + more_keys) < num_keys
    real = jnp.broadcast_to(real, (*call.batch, len(real)))
    return call.replace(mask=call.mask & Padding(real))
