"""Calls on meshes with Explicit axes, where the sharding of an array is part of its type."""

from collections.abc import Callable

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from attn_research.attention.call import Attended, AttentionCall


def run_on_mesh(run: Callable[[AttentionCall], Attended], call: AttentionCall) -> Attended:
    """`run(call)`, in which XLA chooses shardings where the arrays of a call have Explicit ones.

    The context is sharded as the query is, without its last axis, and so are the weights.
    """
    run_arrays, arrays = call.split(run)
    mesh = next((mesh for mesh in map(_mesh, arrays) if mesh is not None), None)
    if mesh is None:
        return run(call)
    query = jax.typeof(call.query).sharding.spec
    *batch, queries, heads, _ = (*query, *(None,) * (call.query.ndim - len(query)))
    context = NamedSharding(mesh, PartitionSpec(*batch, queries, heads, None))
    weights = NamedSharding(mesh, PartitionSpec(*batch, heads, queries, None))
    specs = Attended(context, None if call.capture is None else weights)
    return jax.sharding.auto_axes(run_arrays, out_sharding=specs)(arrays)


def _mesh(array: jax.Array) -> jax.sharding.AbstractMesh | None:
    """The mesh of an array with a sharding over Explicit axes."""
    mesh = jax.typeof(array).sharding.mesh
    return mesh if AxisType.Explicit in getattr(mesh, "axis_types", ()) else None
