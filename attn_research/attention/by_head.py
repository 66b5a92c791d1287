"""Masks that differ by head or layer, for implementations that know none: heads as a batch axis.

A call [*B, T, N, H] becomes one of a single head, [*B, N, T, 1, H], whose masks, biases and
normalizers have an entry for each of the N. Groups of heads that share keys get copies of them.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange

from attn_research.attention.call import Attended, AttentionCall, Capture
from attn_research.attention.scores import Dot, ScaledDot
from attn_research.types import Array, wide_dtype


def attend_by_head(
    attend: Callable[[AttentionCall], Attended], *, wide: bool = False
) -> Callable[..., Attended]:
    """`attend`, for calls whose mask varies as well; with `wide` in float32 or wider.

    The gradients of keys that heads share are then added before they are rounded.
    """

    @functools.wraps(attend)
    def run(call: AttentionCall) -> Attended:
        if not call.mask.varies:
            return attend(call)
        operands = call
        if wide:
            arrays = {name: getattr(call, name) for name in ("query", "key", "value")}
            arrays = {name: array.astype(wide_dtype(array)) for name, array in arrays.items()}
            operands = call.replace(**arrays)
        context, weights = attend(heads_as_batch(operands))
        context = rearrange(context, "... n t 1 h -> ... t n h").astype(call.value.dtype)
        if weights is not None:
            weights = weights[..., 0, :, :]
            if isinstance(call.capture, Capture):
                weights = jnp.take(weights, jnp.asarray(call.capture.heads), axis=-3)
        return Attended(context, weights)

    return run


def checked_by_head(check: Callable[[AttentionCall], Any]) -> Callable[[AttentionCall], Any]:
    """A function of calls of shapes, such as `unsupported`, for calls whose mask varies as well."""

    @functools.wraps(check)
    def of_call(call: AttentionCall) -> Any:
        if not call.mask.varies:
            return check(call)
        return unsupported_by_head(call) or check(shapes_by_head(call))

    return of_call


def cost_by_head(
    cost: Callable[[AttentionCall], tuple[int, int]],
) -> Callable[[AttentionCall], tuple[int, int]]:
    """The cost of a call whose mask may vary: the mean of those that all heads would have."""

    @functools.wraps(cost)
    def of_call(call: AttentionCall) -> tuple[int, int]:
        if not call.mask.varies:
            return cost(call)
        shapes, num_heads = shapes_by_head(call), call.heads[0]
        masks = [call.mask.of_head(number) for number in range(num_heads)]
        costs = [cost(shapes.replace(mask=mask)) for mask in masks]
        return tuple(round(sum(each) / num_heads) for each in zip(*costs, strict=True))

    return of_call


def unsupported_by_head(call: AttentionCall) -> str | None:
    """The reason why heads cannot be a batch axis, or None."""
    if isinstance(call.score, Dot | ScaledDot):
        return None
    name = type(call.score).__name__
    return f"the mask differs by head or layer, and the score {name} has arrays: use reference"


def shapes_by_head(call: AttentionCall) -> AttentionCall:
    """The shapes of `heads_as_batch`."""
    bias = call.bias if callable(call.bias) else None
    shapes = call.replace(bias=None if bias else call.bias).abstract(heads_as_batch)
    return shapes.replace(bias=_of_one_head(bias)) if bias else shapes


def heads_as_batch(call: AttentionCall) -> AttentionCall:
    """The call with its heads as the last batch axis, N of one head each."""
    batch, num_heads = call.batch, call.heads[0]

    def of_heads(array: Array) -> Array:
        """[*B, S, K, H] as [*B, N, S, 1, H]."""
        array = rearrange(array, "... s k h -> ... k s 1 h")
        copies = num_heads // array.shape[-4]
        return array if copies == 1 else jnp.repeat(array, copies, axis=-4)

    def of_batch(array: Array) -> Array:
        """[*B, ...] as [*B, N, ...]; what is no array stays."""
        if not hasattr(array, "shape"):
            return array
        shape = *batch, num_heads, *array.shape[len(batch) :]
        return jnp.broadcast_to(jnp.expand_dims(jnp.asarray(array), len(batch)), shape)

    def of_positions(positions: Array | None) -> Array | None:
        return positions if positions is None or positions.ndim == 1 else of_batch(positions)

    bias, capture = call.bias, call.capture
    if callable(bias):
        bias = _of_one_head(bias)
    elif bias is not None:
        bias = jnp.expand_dims(bias, -3)
    if isinstance(capture, Capture):
        capture = Capture((0,), capture.rows)
    return call.replace(
        query=of_heads(call.query),
        key=of_heads(call.key),
        value=of_heads(call.value),
        mask=call.mask.of_heads(batch, num_heads),
        normalizer=jax.tree.map(of_batch, call.normalizer),
        bias=bias,
        positions=jax.tree.map(of_positions, call.positions),
        capture=capture,
    )


def _of_one_head(bias: Callable[..., Array]) -> Callable[..., Array]:
    """A bias [*#B, #N, #T, #S] of positions [*#B, 1, T, 1], as one [*#B, #N, 1, #T, #S]."""

    def of_heads(q_pos: Array, k_pos: Array) -> Array:
        # Positions differ by batch element, never by head.
        return jnp.expand_dims(bias(q_pos[..., 0, :, :, :], k_pos[..., 0, :, :, :]), -3)

    return of_heads
