"""Ring attention: exact attention over a sequence that a mesh axis divides.

Liu, Zaharia, Abbeel 2023. Each device has T / n queries and as many keys and values. In n steps the
keys and values go once around the ring, each device attends to those that it has, and the results
of the steps are merged by the maximum and the sum of an online softmax. Backward they go around
again, with their gradients, so that memory is linear in T / n in both directions.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from attn_research.attention.backends.capabilities import name_of
from attn_research.attention.backends.xla_flash import backend, backward, online_softmax
from attn_research.attention.backends.xla_flash.online_softmax import Outputs
from attn_research.attention.backends.xla_flash.plan import Plan
from attn_research.attention.backends.xla_flash.run_time import find_kinds
from attn_research.attention.backends.xla_flash.terms import Constants, Operands
from attn_research.attention.by_head import attend_by_head, checked_by_head
from attn_research.attention.call import Attended, AttentionCall
from attn_research.attention.masks import Full, Mask
from attn_research.attention.normalizers import softmax
from attn_research.attention.positions import Positions
from attn_research.attention.scores import Dot, ScaledDot
from attn_research.loops import vary_as
from attn_research.types import Array, Float, Int


def ring_attend(
    query: Float[Array, "*B T N H"],
    key: Float[Array, "*B S K H"],
    value: Float[Array, "*B S K Hv"],
    *,
    mask: Mask = Full(),
    score: Callable[..., Array] = ScaledDot(),
    bias: Callable[..., Array] | None = None,
    axis: str = "sequence",
) -> Float[Array, "*B T N Hv"]:
    """The context of this device's queries in the whole sequence, for use in `jax.shard_map`.

    T queries and S keys are those of a device, the n-th T and S of the sequence on the n-th device
    of the mesh axis. The mask is that of the whole sequence, and its arrays are whole on each
    device. Tiles that it empties are not visited. `bias` is a function of positions, as masks are.
    Gradients reach the operands, and what a bias closes over; there are no other derivatives.

    NotImplementedError for scores with arrays of their own.
    """
    place = lax.axis_index(axis)
    positions = Positions(
        query=place * query.shape[-3] + jnp.arange(query.shape[-3]),
        key=place * key.shape[-3] + jnp.arange(key.shape[-3]),
    )
    mask = mask.of_queries(positions.query)
    if bias is not None and not jax.tree_util.all_leaves([bias]):
        bias = vary_as(bias, place)  # it is traced with its arrays as the steps have them
    call = AttentionCall(
        query, key, value, score=score, mask=mask, bias=bias, positions=positions
    ).checked()
    if reason := unsupported(call):
        raise NotImplementedError(f"ring attention: {reason}")
    run = attend_by_head(functools.partial(_attend, axis=axis), wide=True)
    return run(call).context


def unsupported(call: AttentionCall) -> str | None:
    """The reason why a ring does not take a call, whatever its positions, or None."""
    if not isinstance(call.score, Dot | ScaledDot):
        return f"the score {type(call.score).__name__} has arrays: give ScaledDot() or Dot()"
    if name := call.given("dropout", "capture"):
        return f"{name} is not for a ring: leave it out"
    if call.bias is not None and not callable(call.bias):
        return "bias is an array: give a function of positions"
    if call.normalizer != softmax:
        return f"the normalizer {name_of(call.normalizer)} is not for a ring: give softmax"
    return checked_by_head(backend.unsupported)(call)


def attend_on_ring(
    mesh: Mesh, *, axis: str = "sequence", batch_axis: str | None = None, **options: Any
) -> Callable[[Array, Array, Array], Array]:
    """`ring_attend` of whole arrays [B, T, N, H], with its options, over a mesh axis.

    Lengths are multiples of its size; the axis B may be divided over `batch_axis`, for masks
    without arrays.
    """
    spec = PartitionSpec(batch_axis, axis)

    def attend(query: Array, key: Array, value: Array) -> Array:
        size = mesh.shape[axis]
        if query.shape[1] % size or key.shape[1] % size:
            raise ValueError(
                f"{query.shape[1]} queries and {key.shape[1]} keys over {size} devices of the axis "
                f"{axis!r}: give multiples of {size}, with a mask of padding"
            )
        run = functools.partial(ring_attend, axis=axis, **options)
        return jax.shard_map(run, mesh=mesh, in_specs=(spec,) * 3, out_specs=spec)(
            query, key, value
        )

    return attend


def _attend(call: AttentionCall, *, axis: str) -> Attended:
    ring = lax.axis_size(axis)
    _, plan, operands, constants, _ = backend.prepare(
        call, lambda call, tile, lengths: _kinds_of_whole(call, tile, lengths, ring)
    )
    operands = vary_as(operands, operands, constants, lax.axis_index(axis))
    context = backend.context_of(_around(plan, axis)(operands, constants), call)
    return Attended(context, None)


def _kinds_of_whole(
    call: AttentionCall, tile: tuple[int, int], lengths: tuple[int, int], ring: int
) -> Int[Any, "*#B rows cols"] | None:
    """The kinds of all tiles of the sequence, None where devices do not have whole ones."""
    whole_tiles = all(n % size == 0 for n, size in zip(lengths, tile, strict=True))
    if not whole_tiles or call.mask.per_query:
        return None
    whole = call.replace(positions=None)
    return find_kinds(whole, tile, tuple(ring * n for n in lengths), always=True)


def _around(plan: Plan, axis: str) -> Callable[[Operands, Constants], Outputs]:
    """The outputs of all steps, with their gradients."""
    ring = lax.axis_size(axis)

    def of_source(constants: Constants, step: Array, num_keys: int) -> Constants:
        """The positions, and the kinds of tiles, of the keys that a device has in a step."""
        place = lax.axis_index(axis)
        source = (place - step) % ring
        kinds = constants.kinds
        if kinds is not None:
            rows, columns = (n // ring for n in kinds.shape[-2:])
            kinds = lax.dynamic_slice_in_dim(kinds, place * rows, rows, -2)
            kinds = lax.dynamic_slice_in_dim(kinds, source * columns, columns, -1)
        k_pos = constants.k_pos + (source - place) * num_keys
        return constants._replace(k_pos=k_pos, kinds=kinds)

    def pass_on(arrays: Any) -> Any:
        return lax.ppermute(arrays, axis, [(i, (i + 1) % ring) for i in range(ring)])

    def forward(operands: Operands, constants: Constants) -> Outputs:
        def step(carry: tuple, number: Array) -> tuple[tuple, None]:
            keys, values, outputs = carry
            here = operands._replace(key=keys, value=values)
            found = online_softmax.forward(
                plan, here, of_source(constants, number, plan.terms.num_keys)
            )
            return (*pass_on((keys, values)), merge(outputs, found)), None

        rows = operands.query.shape[:-1]
        zeros = jnp.zeros(rows, operands.query.dtype)
        context = jnp.zeros((*rows, operands.value.shape[-1]), zeros.dtype)
        empty = vary_as(Outputs(context, zeros, zeros), operands)
        carry = operands.key, operands.value, empty
        return lax.scan(step, carry, jnp.arange(ring))[0][2]

    def gradients(saved: tuple, cotangents: Outputs) -> tuple[Operands, None]:
        operands, constants, outputs = saved

        def step(carry: tuple, number: Array) -> tuple[tuple, None]:
            travelling, staying = carry
            keys, values, d_keys, d_values = travelling
            here = operands._replace(key=keys, value=values)
            at_source = of_source(constants, number, plan.terms.num_keys)
            found = backward.backward(plan, here, at_source, outputs, cotangents)
            travelling = keys, values, d_keys + found.key, d_values + found.value
            staying = jax.tree.map(jnp.add, staying, found._replace(key=None, value=None))
            return (pass_on(travelling), staying), None

        zeros = jax.tree.map(jnp.zeros_like, operands)
        travelling = operands.key, operands.value, zeros.key, zeros.value
        carry = travelling, zeros._replace(key=None, value=None)
        (travelling, staying), _ = lax.scan(step, carry, jnp.arange(ring))
        return staying._replace(key=travelling[2], value=travelling[3]), None

    run = jax.custom_vjp(forward)
    run.defvjp(
        lambda operands, constants: (
            (outputs := forward(operands, constants)),
            (operands, constants, outputs),
        ),
        gradients,
    )
    return run


def merge(a: Outputs, b: Outputs) -> Outputs:
    """The outputs of attention to the keys of both."""
    lowest = float(jnp.finfo(a.row_max.dtype).min) / 2
    of_a, of_b = (jnp.where(each.row_sum > 0, each.row_max, lowest) for each in (a, b))
    row_max = jnp.maximum(of_a, of_b)
    sums = a.row_sum * jnp.exp(of_a - row_max), b.row_sum * jnp.exp(of_b - row_max)
    total = sums[0] + sums[1]
    shares = (each / jnp.where(total > 0, total, 1) for each in sums)
    context = sum(
        share[..., None] * each.context for share, each in zip(shares, (a, b), strict=True)
    )
    return Outputs(context, jnp.where(total > 0, row_max, 0), total)
