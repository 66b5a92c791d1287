"""Blockwise flash attention in plain XLA, in memory linear in length; see `online_softmax`.

Here a call becomes the operands of that: arrays are padded to the whole tiles of a plan, heads put
first, and captured weights recomputed from the maximum and the sum of their queries.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange

from attn_research.attention.backends.capabilities import (
    cost_of_tiles,
    match_heads,
    missing_batch_axes,
    name_of,
    no_pairwise_form,
    pad_end,
    to_wide,
    too_few_scores,
)
from attn_research.attention.backends.recompute_weights import recompute_weights
from attn_research.attention.backends.xla_flash import backward, online_softmax, plain
from attn_research.attention.backends.xla_flash.cache import cache_bytes, cores_of_device
from attn_research.attention.backends.xla_flash.plan import Plan, make_plan, scores_at_a_time
from attn_research.attention.backends.xla_flash.run_time import find_kinds
from attn_research.attention.backends.xla_flash.terms import (
    Constants,
    Operands,
    split_bias_function,
)
from attn_research.attention.backends.xla_flash.tiling import Tiling
from attn_research.attention.call import Attended, AttentionCall
from attn_research.attention.normalizers import in_tiles
from attn_research.attention.scores import Dot, Pairwise
from attn_research.derivatives import with_backward
from attn_research.types import Array

not_preferred = too_few_scores


def unsupported(call: AttentionCall) -> str | None:
    """The reason why a call is not supported, or None."""
    if reason := no_pairwise_form(call):
        return reason
    if not in_tiles(call.normalizer):
        name = name_of(call.normalizer)
        return f"the normalizer {name} needs whole rows of scores: use reference"
    return missing_batch_axes(call, "mask") or missing_batch_axes(call, "normalizer")


class Prepared(NamedTuple):
    """A call as the programs over tiles take it, and the pairwise form of its score.

    What is learned beside the operands is in float32 or wider, so that gradients are added up
    before they are rounded.
    """

    call: AttentionCall
    plan: Plan
    operands: Operands
    constants: Constants
    pair: Pairwise


def prepare(call: AttentionCall, find: Callable[..., Any] = find_kinds) -> Prepared:
    """The operands of the programs; `find(call, tile, lengths)` gives what `find_kinds` does."""
    bias = call.bias if callable(call.bias) else to_wide(call.bias)
    batch, call = call.batch, call.replace(normalizer=to_wide(call.normalizer), bias=bias)
    score, queries, keys = call.score.pairwise(call.query, call.key)
    values = call.value[..., : keys.shape[-3], :, :].astype(queries.dtype)
    keys, values = match_heads(keys, values)
    num_queries, num_kv_heads = queries.shape[-3], keys.shape[-2]
    pair = score, queries, keys
    plan, bias_arrays, of_bias = _plan(pair, call)
    kinds = find(call, plan.tile, (num_queries, keys.shape[-3]))
    if kinds is not None and (apart := {axis for axis, n in enumerate(kinds.shape[:-2]) if n > 1}):
        plan, bias_arrays, of_bias = _plan(pair, call, frozenset(apart), plan.tiling)
    padding = -num_queries % plan.tile[0], -keys.shape[-3] % plan.tile[1]

    def of_heads(array: Array) -> Array:
        """[N, ...] as [*B, K, G, ...]: an array for each row, whose gradients are added later."""
        array = array.reshape(num_kv_heads, -1, *array.shape[1:])
        return jnp.broadcast_to(array, (*batch, *array.shape))

    query_rows = rearrange(queries, "... t (k g) h -> ... k g t h", k=num_kv_heads)
    key_rows, value_rows = (rearrange(each, "... s k h -> ... k s h") for each in (keys, values))
    operands = Operands(
        query=pad_end(query_rows, {query_rows.ndim - 2: padding[0]}),
        key=pad_end(key_rows, {key_rows.ndim - 2: padding[1]}),
        value=pad_end(value_rows, {value_rows.ndim - 2: padding[1]}),
        score=jax.tree.map(of_heads, score),
        bias=_bias_rows(call, plan, padding),
        bias_arrays=bias_arrays,
        normalizer=call.normalizer,
    )
    constants = _constants(call, num_kv_heads, padding[0])._replace(
        of_bias=of_bias, kinds=None if kinds is None else jnp.asarray(kinds)
    )
    return Prepared(call, plan, operands, constants, pair)


def attend(call: AttentionCall) -> Attended:
    """Attention tile after tile; see `api.attend`."""
    call, plan, operands, constants, pair = prepare(call)
    programs = plain.attend, online_softmax.forward, backward.backward
    outputs = with_backward(*(functools.partial(each, plan) for each in programs))(
        operands, constants
    )
    row_max, row_sum = (
        rearrange(each[..., : call.lengths[0]], "... k g t -> ... (k g) t")
        for each in (outputs.row_max, outputs.row_sum)
    )
    weights = recompute_weights(call, pair, row_max, row_sum)
    return Attended(context_of(outputs, call), weights)


def context_of(outputs: online_softmax.Outputs, call: AttentionCall) -> Array:
    """The context [*B, T, N, Hv] of the outputs of a program."""
    context = outputs.context[..., : call.lengths[0], :]
    return rearrange(context, "... k g t h -> ... t (k g) h").astype(call.value.dtype)


def cost(call: AttentionCall) -> tuple[int, int]:
    """FLOPs of the products and exponentials of the tiles visited, and bytes they read and write.

    XLA counts the body of a loop once, so this is counted by hand.
    """
    pair, plan = _abstract_plan(call)
    width, value_width = pair[1].shape[-1], call.value.shape[-1]
    is_dot = isinstance(pair[0], Dot)
    per_score = 2 * (width + value_width) if is_dot else 3 * width + 2 * value_width
    return cost_of_tiles(pair[1], call.value, plan.forward.layout, plan.tile, per_score + 4)


def choices(call: AttentionCall) -> str:
    """The tiles of a call, and how many scores are computed at a time."""
    _, plan = _abstract_plan(call)
    tile_q, tile_k = plan.tile
    of_queries, of_keys = plan.tiling.of_queries, plan.tiling.of_keys
    together = f", {of_queries} and {of_keys} at a time" if of_queries * of_keys > 1 else ""
    cores = cores_of_device()
    sharing = f" and {cores} cores that share a product" if cores > 1 else ""
    return (
        f"tiles of {tile_q} queries and {tile_k} keys{together}, {scores_at_a_time()[0]:,} scores "
        f"at a time for a cache of {cache_bytes() // 1024:,} KiB{sharing}"
    )


def _abstract_plan(call: AttentionCall) -> tuple[tuple, Plan]:
    """The pairwise form of a call's score, with shapes for arrays, and the plan of the call."""
    pair = call.abstract(lambda call: call.score.pairwise(call.query, call.key))
    return pair, make_plan(pair, call.replace(dropout=None))


def _constants(call: AttentionCall, num_kv_heads: int, padding: int) -> Constants:
    """The arrays of a call that no gradient reaches, but for those of a bias function."""
    q_pos, k_pos = (
        None if pos is None else pos.reshape((1,) * (len(call.batch) + 1 - pos.ndim) + pos.shape)
        for pos in (call.at.query, call.at.key)
    )
    words = None
    if call.dropout is not None:
        words = call.dropout.rows((*call.batch, call.heads[0], call.lengths[0]))
        words = rearrange(words, "... (k g) t w -> ... k g t w", k=num_kv_heads)
        words = pad_end(words, {words.ndim - 2: padding})
    return Constants(jax.tree.map(jnp.asarray, call.mask), q_pos, k_pos, words, [])


def _plan(
    pair: tuple,
    call: AttentionCall,
    apart: frozenset[int] = frozenset(),
    chosen: Tiling | None = None,
) -> tuple[Plan, list[Array], list[Array]]:
    """The plan, with the arrays that a bias function closes over: floats, then all others."""
    if not callable(call.bias):
        return make_plan(pair, call, apart=apart, chosen=chosen), [], []
    q_pos, k_pos = (
        jnp.zeros((*_lead(pos, call.batch), 1, 1, 1), jnp.int32 if pos is None else pos.dtype)
        for pos in (call.at.query, call.at.key)
    )
    function, learned, others, shape = split_bias_function(call.bias, q_pos, k_pos)
    # A block of rows cannot tell which of the arrays in the function are its own.
    rows = (1,) * (len(call.batch) + 3 - len(shape)) + shape
    whole = frozenset(axis for axis, size in enumerate(rows[:-2]) if size > 1)
    plan = make_plan(pair, call, whole, apart - whole, chosen)
    terms = dataclasses.replace(plan.terms, bias_function=function)
    return dataclasses.replace(plan, terms=terms), learned, others


def _lead(pos: Array | None, batch: tuple[int, ...]) -> tuple[int, ...]:
    return batch if pos is not None and pos.ndim > 1 else (1,) * len(batch)


def _bias_rows(call: AttentionCall, plan: Plan, padding: tuple[int, int]) -> Array | None:
    """A bias array as [*#B, #K, #G, #T, #S], padded where it is not shared."""
    bias = call.bias
    if bias is None or callable(bias):
        return None
    more = {
        bias.ndim - 2 + axis: amount
        for axis, amount in enumerate(padding)
        if bias.shape[axis - 2] > 1
    }
    return plan.terms.split_heads(pad_end(bias, more), len(call.batch))
