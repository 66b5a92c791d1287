"""Blockwise flash attention in plain XLA, in memory linear in length; see `online_softmax`.

Here a call becomes the operands of that: arrays are padded to the whole tiles of a plan, heads put
first, and captured weights recomputed from the log-sum-exp of their queries.
"""

import dataclasses

import jax
import jax.numpy as jnp
from einops import rearrange

from attn_research.attention.backends.capabilities import (
    cost_of_tiles,
    flatten_batch,
    match_heads,
    missing_batch_axes,
    name_of,
    no_pairwise_form,
    pad_end,
    to_wide,
    too_few_scores,
)
from attn_research.attention.backends.recompute_weights import recompute_weights
from attn_research.attention.backends.xla_flash.online_softmax import Differentiable, attend_tiles
from attn_research.attention.backends.xla_flash.plan import Plan, make_plan
from attn_research.attention.backends.xla_flash.terms import Constants, split_bias_function
from attn_research.attention.call import Attended, AttentionCall
from attn_research.attention.normalizers import is_softmax
from attn_research.attention.scores import Dot
from attn_research.types import PyTree

not_preferred = too_few_scores


def unsupported(call: AttentionCall) -> str | None:
    """The reason why a call is not supported, or None."""
    if reason := no_pairwise_form(call):
        return reason
    if not is_softmax(call.normalizer):
        return f"the normalizer {name_of(call.normalizer)} is no softmax, nor one times a factor"
    return missing_batch_axes(call, "mask") or missing_batch_axes(call, "normalizer")


def attend(call: AttentionCall) -> Attended:
    """Attention tile after tile; see `api.attend`."""
    # All are wide from here on, so that gradients are added up before they are rounded.
    call = call.replace(
        normalizer=to_wide(call.normalizer),
        bias=call.bias if callable(call.bias) else to_wide(call.bias),
    )
    batch, rank = call.batch, len(call.batch)
    score, queries, keys = call.score.pairwise(call.query, call.key)
    values = call.value[..., : keys.shape[-3], :, :].astype(queries.dtype)
    keys, values = match_heads(keys, values)
    num_queries, num_heads = queries.shape[-3:-1]
    num_keys, num_kv_heads = keys.shape[-3:-1]
    pair = score, queries, keys
    plan = make_plan(pair, call)
    padding = -num_queries % plan.tile[0], -num_keys % plan.tile[1]
    constants = _constants(call, num_heads // num_kv_heads, padding[0])
    plan, constants, bias = _split_bias(call, plan, constants, padding)

    query_rows = rearrange(queries, "... t (k g) h -> ... k g t h", k=num_kv_heads)
    key_rows, value_rows = (rearrange(each, "... s k h -> ... k s h") for each in (keys, values))
    operands = Differentiable(
        query=pad_end(query_rows.reshape(-1, *query_rows.shape[-3:]), {2: padding[0]}),
        key=pad_end(key_rows.reshape(-1, *key_rows.shape[-2:]), {1: padding[1]}),
        value=pad_end(value_rows.reshape(-1, *value_rows.shape[-2:]), {1: padding[1]}),
        score=score,
        bias=bias,
        normalizer=jax.tree.map(lambda array: flatten_batch(array, rank), call.normalizer),
    )
    context, log_sum = (
        each[:, :, :num_queries].reshape(*batch, num_heads, num_queries, *each.shape[3:])
        for each in attend_tiles(plan, operands, constants)
    )
    weights = recompute_weights(call, pair, log_sum)
    return Attended(jnp.moveaxis(context, -3, -2).astype(call.value.dtype), weights)


def cost(call: AttentionCall) -> tuple[int, int]:
    """FLOPs of the products and exponentials of the tiles visited, and bytes they read and write.

    XLA counts the body of a loop once, so this is counted by hand.
    """
    pair = call.abstract(lambda call: call.score.pairwise(call.query, call.key))
    plan = make_plan(pair, call.replace(dropout=None))
    width, value_width = pair[1].shape[-1], call.value.shape[-1]
    is_dot = isinstance(pair[0], Dot)
    per_score = 2 * (width + value_width) if is_dot else 3 * width + 2 * value_width
    return cost_of_tiles(pair[1], call.value, plan.forward.layout, plan.tile, per_score + 4)


def _constants(call: AttentionCall, group: int, padding: int) -> Constants:
    """The arrays of a call that no gradient reaches."""
    rank, positions = len(call.batch), call.at
    q_pos, k_pos = (
        None if given is None else flatten_batch(given, given.ndim - 1)
        for given in (positions.query, positions.key)
    )
    words = None
    if call.dropout is not None:
        words = call.dropout.rows((*call.batch, call.heads[0], call.lengths[0]))
        words = pad_end(words.reshape(-1, group, call.lengths[0], 2), {2: padding})
    mask = jax.tree.map(lambda array: flatten_batch(array, rank), call.mask)
    return Constants(mask, q_pos, k_pos, words, [])


def _split_bias(
    call: AttentionCall, plan: Plan, constants: Constants, padding: tuple[int, int]
) -> tuple[Plan, Constants, PyTree]:
    """The plan and constants with those of the bias, and the arrays of it that gradients reach."""
    bias = call.bias
    if callable(bias):
        shapes = _position_shapes(constants, call.batch, plan.tile)
        function, learned, of_bias = split_bias_function(bias, shapes)
        terms = dataclasses.replace(plan.terms, bias_function=function)
        return dataclasses.replace(plan, terms=terms), constants._replace(of_bias=of_bias), learned
    if bias is None:
        return plan, constants, None
    more = {axis: n for axis, n in zip((2, 3), padding, strict=True) if bias.shape[axis - 4] > 1}
    return plan, constants, pad_end(flatten_batch(bias, bias.ndim - 3), more)


def _position_shapes(
    constants: Constants, batch: tuple[int, ...], tile: tuple[int, int]
) -> tuple[jax.ShapeDtypeStruct, ...]:
    """The shapes of the positions that a bias function takes for a tile."""
    shapes = []
    for pos, size in ((constants.q_pos, (tile[0], 1)), (constants.k_pos, (1, tile[1]))):
        lead = batch if pos is not None and len(pos) > 1 else (1,) * len(batch)
        dtype = jnp.int32 if pos is None else pos.dtype
        shapes.append(jax.ShapeDtypeStruct((*lead, 1, *size), dtype))
    return tuple(shapes)
