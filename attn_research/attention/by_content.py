"""Masks of groups of queries and keys, and the check of captures, of attention by content."""

import jax.numpy as jnp

from attn_research.attention.call import AttentionCall, Capture
from attn_research.attention.masks import Mask
from attn_research.types import Array, Bool, Int


def allowed_in_groups(
    mask: Mask, q_index: Int[Array, "*B N groups T"], k_index: Int[Array, "*B N groups S"]
) -> Bool[Array, "*B N groups T S"]:
    """A mask, whose arrays have an axis for heads, of positions that attend in groups.

    ValueError where it has an array of the queries in their order, which groups change.
    """
    if mask.per_query:
        raise ValueError(
            "a mask with centers of queries, such as Around, for attention by content, which takes "
            "queries in another order: give a mask of positions"
        )
    *rows, groups, num_queries = q_index.shape
    shape = *rows, groups, num_queries, k_index.shape[-1]
    q_pos = q_index.reshape(*rows, 1, groups * num_queries, 1)
    k_pos = jnp.broadcast_to(k_index[..., None, :], shape)
    k_pos = k_pos.reshape(*rows, 1, groups * num_queries, shape[-1])
    return jnp.broadcast_to(mask(q_pos, k_pos), k_pos.shape).reshape(shape)


def check_captures_all(call: AttentionCall) -> None:
    """ValueError for the capture of some weights, where all are made or none."""
    if isinstance(call.capture, Capture):
        raise ValueError('attention by content captures all weights: give capture="all"')
