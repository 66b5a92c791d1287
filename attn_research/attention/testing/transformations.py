"""Transformations and modes of JAX, and what attention gives under each.

Each is a function of an attention, `attention(query, key, value) -> context`, and returns arrays:
those of an implementation must be those of the reference. Eight devices are needed.
"""

import functools
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from attn_research.attention import Causal, Window, attend
from attn_research.types import Array, PyTree

Attention = Callable[[Array, Array, Array], Array]

B, T, S, N, H = 8, 24, 300, 8, 4
NUM_DEVICES = 8  # over which arrays are sharded
# Few keys for each query, for an implementation that gathers those.
MASK = Causal() & Window(20, 0)
COLLECTIVES = "all-gather", "all-reduce", "all-to-all", "collective-permute", "reduce-scatter"


def make_attention(implementation: str, **options: Any) -> Attention:
    """Attention by one implementation, with the mask that all of them support."""

    def attention(query: Array, key: Array, value: Array) -> Array:
        options.setdefault("mask", MASK)
        return attend(query, key, value, implementation=implementation, **options).context

    return attention


def inputs(dtype: Any = "float32") -> tuple[Array, Array, Array]:
    """Query, key and value."""
    rng = np.random.default_rng(0)
    shapes = (B, T, N, H), (B, S, N, H), (B, S, N, H)
    return tuple(jnp.asarray(rng.normal(size=shape), jnp.dtype(dtype)) for shape in shapes)


def loss(attention: Attention) -> Callable[..., Array]:
    """A function of query, key and value to a number, none of whose derivatives is zero."""
    return lambda *arrays: jnp.sum(jnp.sin(attention(*arrays)).astype(jnp.float32))


def gradients(attention: Attention) -> Callable[..., PyTree]:
    """The gradients by query, key and value."""
    return jax.grad(loss(attention), (0, 1, 2))


def _tangents(arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    return tuple(jnp.cos(3 * array) for array in arrays)


def _norms_of_gradients(attention: Attention) -> Callable[..., Array]:
    return lambda *arrays: sum(jnp.sum(g**2) for g in gradients(attention)(*arrays))


def _linearized(attention: Attention) -> PyTree:
    context, pushforward = jax.linearize(attention, *inputs())
    return context, pushforward(*_tangents(inputs()))


def _mapped(attention: Attention) -> PyTree:
    query, key, value = inputs()
    queries = jnp.stack([query, 2 * query])
    both = jax.vmap(attention, (0, None, None)), jax.vmap(gradients(attention), (0, None, None))
    return [jax.jit(function)(queries, key, value) for function in both]


def _scanned(attention: Attention) -> PyTree:
    query, key, value = inputs()

    def of_scan(query: Array) -> Array:
        def step(query: Array, _: None) -> tuple[Array, None]:
            return query + attention(query, key, value), None

        return jnp.sum(lax.scan(step, query, None, length=2)[0] ** 2)

    return jax.jit(jax.value_and_grad(of_scan))(query)


def _shard_mapped(attention: Attention) -> PyTree:
    spec = PartitionSpec("data", None, "tensor")
    mesh = Mesh(np.array(jax.devices()[:NUM_DEVICES]).reshape(4, 2), ("data", "tensor"))

    def of_device(*arrays: Array) -> tuple:
        context, tangent = jax.jvp(attention, arrays, _tangents(arrays))
        return context, tangent, gradients(attention)(*arrays)

    found = jax.shard_map(of_device, mesh=mesh, in_specs=(spec,) * 3, out_specs=spec)
    return jax.jit(found)(*inputs())


def _partitioned(axes: tuple[str | None, ...]) -> Callable[[Attention], PyTree]:
    """By `jit` of arrays sharded over all devices: without communication, results sharded too."""

    def run(attention: Attention) -> PyTree:
        mesh = Mesh(np.array(jax.devices()[:NUM_DEVICES]), ("data",))
        sharding = NamedSharding(mesh, PartitionSpec(*axes))
        arrays = jax.device_put(inputs(), sharding)
        both = jax.jit(lambda *arrays: (attention(*arrays), gradients(attention)(*arrays)))
        compiled = both.lower(*arrays).compile()
        found = compiled(*arrays)
        assert all(x.sharding.is_equivalent_to(sharding, x.ndim) for x in jax.tree.leaves(found))
        called = re.findall(rf"\b({'|'.join(COLLECTIVES)})(?:-start)?\(", compiled.as_text())
        assert not called, f"communicates by {', '.join(sorted(set(called)))}"
        return found

    return run


def _explicit(attention: Attention) -> PyTree:
    types = (AxisType.Explicit,) * 2
    devices = np.array(jax.devices()[:NUM_DEVICES]).reshape(4, 2)
    mesh = Mesh(devices, ("data", "tensor"), axis_types=types)
    with jax.set_mesh(mesh):
        sharding = NamedSharding(mesh, PartitionSpec("data", None, "tensor"))
        arrays = jax.device_put(inputs(), sharding)
        found = jax.jit(attention)(*arrays), jax.jit(gradients(attention))(*arrays)
        return jax.tree.map(np.asarray, found)


def _in_mode(name: str, value: Any, dtype: str = "float32") -> Callable[[Attention], PyTree]:
    """With a setting of JAX, an operation at a time."""

    def run(attention: Attention) -> PyTree:
        before = getattr(jax.config, name)
        jax.config.update(name, value)
        try:
            arrays = inputs(dtype)
            return jax.tree.map(np.asarray, (attention(*arrays), gradients(attention)(*arrays)))
        finally:
            jax.config.update(name, before)

    return run


def _in_dtype(dtype: str) -> Callable[[Attention], PyTree]:
    return lambda attention: (attention(*inputs(dtype)), gradients(attention)(*inputs(dtype)))


def _cut(axis: int, size: int) -> Callable[[Attention], PyTree]:
    """With an axis of the size 0 or 1: 0 of the batch, 1 of the queries, 2 of the keys."""

    def run(attention: Attention) -> PyTree:
        query, key, value = inputs()
        if axis == 0:
            query, key, value = (array[:size] for array in (query, key, value))
        elif axis == 1:
            query = query[:, :size]
        else:
            key, value = key[:, :size], value[:, :size]
        both = jax.jit(lambda *arrays: (attention(*arrays), gradients(attention)(*arrays)))
        return both(query, key, value)

    return run


TRANSFORMATIONS: dict[str, Callable[[Attention], PyTree]] = {
    "jit": lambda attention: jax.jit(attention)(*inputs()),
    "vmap": _mapped,
    "scan": _scanned,
    "grad": lambda attention: jax.jit(gradients(attention))(*inputs()),
    "checkpoint": lambda attention: jax.jit(gradients(jax.checkpoint(attention)))(*inputs()),
    "jvp": lambda attention: jax.jit(lambda *arrays: jax.jvp(attention, arrays, _tangents(arrays)))(
        *inputs()
    ),
    "linearize": _linearized,
    "Hessian-vector product": lambda attention: jax.jit(
        lambda *arrays: jax.jvp(gradients(attention), arrays, _tangents(arrays))
    )(*inputs()),
    "grad of grad": lambda attention: jax.jit(jax.grad(_norms_of_gradients(attention), (0, 1, 2)))(
        *inputs()
    ),
    "shard_map": _shard_mapped,
    "jit, batch sharded": _partitioned(("data",)),
    "jit, heads sharded": _partitioned((None, None, "data")),
    "Explicit mesh": _explicit,
    "float16": _in_dtype("float16"),
    "bfloat16": _in_dtype("bfloat16"),
    "float64": _in_mode("jax_enable_x64", True, "float64"),
    "x64 mode, float32": _in_mode("jax_enable_x64", True),
    "strict promotion": _in_mode("jax_numpy_dtype_promotion", "strict"),
    "strict promotion, bfloat16": _in_mode("jax_numpy_dtype_promotion", "strict", "bfloat16"),
    "debug_infs": _in_mode("jax_debug_infs", True),
    "debug_nans": _in_mode("jax_debug_nans", True),
    "no sequences": _cut(0, 0),
    "no queries": _cut(1, 0),
    "no keys": _cut(2, 0),
    "one query": _cut(1, 1),
    "one key": _cut(2, 1),
}
TOLERANCE = {"float16": 2e-2, "bfloat16": 1e-1, "strict promotion, bfloat16": 1e-1}


@functools.cache
def _of_reference(name: str) -> PyTree:
    return TRANSFORMATIONS[name](make_attention("reference"))


def outcome(implementation: str, name: str) -> str:
    """ "equal"; the reason of a refusal; or what differs from the reference, after "wrong: "."""
    transformation, tolerance = TRANSFORMATIONS[name], TOLERANCE.get(name, 2e-4)
    try:
        found = transformation(make_attention(implementation))
    except NotImplementedError as refusal:
        return str(refusal)
    except Exception as error:  # whatever an implementation does wrong
        text = str(error).strip() or type(error).__name__
        return f"wrong: {type(error).__name__}: {text.splitlines()[0]}"
    expected = _of_reference(name)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        if a.shape != b.shape:
            return f"wrong: shape {a.shape} for {b.shape}"
        error = np.abs(a - b).max(initial=0) / max(1, np.abs(b).max(initial=0))
        if not error <= tolerance:
            return f"wrong: {error:.1e} of the largest entry"
    return "equal"
