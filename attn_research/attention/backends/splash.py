"""JAX's splash attention for TPUs: masks of positions, documents and padding.

The structure of a mask becomes a rule that the kernels evaluate by block, documents and padding
become their segment ids.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.attention.array_masks import Padding, Segments
from attn_research.attention.backends.capabilities import (
    DotOperands,
    cost_of_tiles,
    dot_operand_shapes,
    dot_operands,
    kernel_not_preferred,
    missing_batch_axes,
    missing_platform,
    name_of,
    unsupported_dtype,
    unsupported_request,
)
from attn_research.attention.backends.tiles.rules import call_positions, tile_rule
from attn_research.attention.call import Attended, AttentionCall
from attn_research.attention.masks import And, Full, Mask
from attn_research.attention.positions import Positions
from attn_research.attention.random_blocks import RandomBlocks
from attn_research.attention.varied_masks import ByHead, ByLayer
from attn_research.types import Array, ArrayLike, Bool, Int

# Tests set it, to run the kernels on a CPU, an operation at a time.
INTERPRET = False
DTYPES = ("float32", "bfloat16")
LANES = 128  # blocks are multiples of this
MOST = 512  # queries or keys of a block
WIDTH = 64  # head widths are padded to multiples of this


class Parts(NamedTuple):
    """A mask as splash attention takes it: structure, document ids and padding."""

    structure: Mask
    segments: Segments | None
    padding: tuple[Padding, ...]


not_preferred = kernel_not_preferred


def unsupported(call: AttentionCall) -> str | None:
    """The reason why a call is not supported, or None."""
    if not INTERPRET and (reason := missing_platform("tpu")):
        return reason
    if reason := unsupported_request(call, "splash attention", use="tiled"):
        return reason
    if reason := unsupported_dtype((call.query, call.key, call.value), DTYPES):
        return reason
    parts = _parts(call.mask)
    if parts is None:
        if reason := _by_head(call.mask):
            return reason
        return "documents and padding are only joined to the rest by &: use tiled"
    lengths = num_queries, num_keys = call.lengths
    if not parts.structure.layout(*lengths, LANES).any():
        return f"the mask leaves nothing of {num_queries} x {num_keys} scores: use tiled"
    try:
        tile_rule(parts.structure, call_positions(Positions(), (), *lengths))
    except NotImplementedError as refusal:
        return f"{refusal}; use tiled"
    return missing_batch_axes(call, "mask")


def attend(call: AttentionCall) -> Attended:
    """Attention by splash attention's kernels; see `api.attend`."""
    # Only TPUs need it, and it need not be installed elsewhere.
    from jax.experimental.pallas.ops.tpu import splash_attention

    query, key, value, _ = _scaled(dot_operands(call))
    *batch, num_queries, num_heads, _ = query.shape
    lengths, width = (num_queries, key.shape[-3]), value.shape[-1]
    blocks = tuple(map(_block, lengths))
    parts = _parts(call.mask)
    for part in parts.padding:
        # A product with padding may overflow, and 0 times infinity is NaN.
        valid = part.valid[..., : lengths[1], None, None]
        key, value = jnp.where(valid, key, 0), jnp.where(valid, value, 0)

    def to_blocks(array: Array, block: int) -> Array:
        """[B, N, T, H], padded to whole blocks."""
        array = array.reshape(math.prod(batch), *array.shape[-3:])
        more = -array.shape[1] % block, -array.shape[3] % WIDTH
        return jnp.swapaxes(jnp.pad(array, [(0, 0), (0, more[0]), (0, 0), (0, more[1])]), 1, 2)

    arrays = [
        to_blocks(*pair) for pair in zip((query, key, value), (*blocks, blocks[1]), strict=True)
    ]
    if parts.segments is not None or parts.padding:
        ids = _segment_ids(parts, tuple(batch), lengths)
        ids = (
            jnp.pad(each.reshape(arrays[0].shape[0], -1), [(0, 0), (0, -each.shape[-1] % block)])
            for each, block in zip(ids, blocks, strict=True)
        )
        arrays.append(splash_attention.SegmentIds(*ids))
    kernel = _kernel(parts.structure, num_heads, lengths, blocks, interpret=INTERPRET)
    context = jnp.swapaxes(jax.vmap(kernel)(*arrays), 1, 2)[:, :num_queries, :, :width]
    context = context.reshape(*batch, num_queries, num_heads, width)
    # The kernel gives the mean of some values to a query that attends to no key.
    attends = _attends_to_any(call.mask, tuple(batch), lengths)
    return Attended(jnp.where(attends[..., None, None], context, 0).astype(value.dtype), None)


def cost(call: AttentionCall) -> tuple[int, int]:
    """FLOPs of the products and exponentials of blocks that are not empty, and the bytes moved."""
    query, key, _ = dot_operand_shapes(call)
    lengths = call.lengths[0], key.shape[-3]
    blocks = tuple(map(_block, lengths))
    layout = _parts(call.mask).structure.layout(*lengths, blocks)
    per_score = 2 * (query.shape[-1] + call.value.shape[-1]) + 4
    return cost_of_tiles(query, call.value, layout, blocks, per_score)


def _parts(mask: Mask) -> Parts | None:
    """The parts of a mask; None where arrays are joined to it otherwise than by &."""
    match mask:
        case Segments():
            return Parts(Full(), mask, ())
        case Padding():
            return Parts(Full(), None, (mask,))
        case And(a, b):
            of_a, of_b = _parts(a), _parts(b)
            if of_a is None or of_b is None:
                return None
            segments = [each.segments for each in (of_a, of_b) if each.segments is not None]
            if len(segments) > 1:
                return None
            structure = of_a.structure & of_b.structure
            return Parts(structure, next(iter(segments), None), of_a.padding + of_b.padding)
    return None if jax.tree.leaves(mask) else Parts(mask, None, ())


def _by_head(mask: Mask) -> str | None:
    """The reason against a mask that differs by head or layer."""
    if isinstance(mask, ByHead | ByLayer | RandomBlocks):
        return f"the mask {name_of(mask)}: splash attention takes no masks by head here: use tiled"
    return next(filter(None, map(_by_head, mask.parts)), None)


def _segment_ids(
    parts: Parts, batch: tuple[int, ...], lengths: tuple[int, int]
) -> tuple[Int[Array, "*B T"], Int[Array, "*B S"]]:
    """The ids of queries and of keys; padding has an id that no query has."""
    q_ids, k_ids = (jnp.zeros((*batch, length), jnp.int32) for length in lengths)
    if parts.segments is not None:
        q_ids = parts.segments.q_ids.astype(jnp.int32)
        k_ids = parts.segments.k_ids[..., : lengths[1]].astype(jnp.int32)
    for part in parts.padding:
        k_ids = jnp.where(part.valid[..., : lengths[1]], k_ids, -1)
    return q_ids, k_ids


def _attends_to_any(
    mask: Mask, batch: tuple[int, ...], lengths: tuple[int, int]
) -> Bool[Array, "*B T"]:
    """Whether a query attends to any key, in memory linear in length."""
    num_queries, num_keys = lengths
    rule = tile_rule(mask, call_positions(Positions(), batch, *lengths))
    rows = tuple(each[..., :, None] for each in rule.queries)
    ones, size = (1,) * len(batch), min(LANES, num_keys)
    q_pos = jnp.arange(num_queries).reshape(*ones, -1, 1)

    def of_block(attends: Array, index: Array) -> tuple[Array, None]:
        # The last block begins earlier where it would pass the end: an overlap does no harm.
        start = jnp.minimum(index * size, num_keys - size)
        k_pos = (start + jnp.arange(size)).reshape(*ones, 1, -1)
        columns = tuple(
            jax.lax.dynamic_slice_in_dim(each, start, size, axis=-1)[..., None, :]
            for each in rule.keys
        )
        return attends | rule.allowed(q_pos, k_pos, rows, columns).any(axis=-1), None

    none = jnp.zeros((*batch, num_queries), bool)
    return jax.lax.scan(of_block, none, jnp.arange(-(-num_keys // size)))[0]


def _scaled(operands: DotOperands) -> DotOperands:
    """Queries times the scale, in the dtypes that keep them exact."""
    query, key, value, scale = operands
    if np.log2(scale) % 1:
        query, key = query.astype(jnp.float32), key.astype(jnp.float32)
    return DotOperands(query * scale, key, value, 1.0)


def _block(length: int) -> int:
    """The largest block that pads a length no further than `LANES` do."""
    lanes = -(-length // LANES)
    return LANES * max(n for n in (1, 2, 4) if lanes % n == 0 and n * LANES <= MOST)


# Making one evaluates the mask of every block in NumPy, which later calls need not repeat.
@functools.lru_cache(maxsize=64)
def _kernel(
    structure: Mask,
    num_heads: int,
    lengths: tuple[int, int],
    blocks: tuple[int, int],
    *,
    interpret: bool,
) -> Callable[..., Array]:
    """Splash attention of a mask of positions, [N, T, H] x [K, S, H] of one batch element."""
    from jax.experimental.pallas.ops.tpu import splash_attention

    num_keys = lengths[1]
    rule = tile_rule(structure, call_positions(Positions(), (), *lengths)).allowed

    class Rule(splash_attention.Mask):
        """The mask that splash attention evaluates in kernels, and beforehand for every block."""

        shape = tuple(
            -(-length // block) * block for length, block in zip(lengths, blocks, strict=True)
        )
        q_sequence = np.arange(shape[0], dtype=np.int32)

        @staticmethod
        def mask_function(q_pos: ArrayLike, k_pos: ArrayLike) -> ArrayLike:
            return rule(q_pos, k_pos, (), ()) & (k_pos < num_keys) & (q_pos >= 0)

        def __getitem__(self, place: tuple[slice, slice]) -> Bool[np.ndarray, "rows cols"]:
            rows, columns = (
                np.arange(size)[at] for size, at in zip(self.shape, place, strict=True)
            )
            return self.mask_function(rows[:, None], columns[None, :])

    block_q, block_k = blocks
    of_keys = dict.fromkeys(
        ("block_kv", "block_kv_compute", "block_kv_dkv", "block_kv_dq"), block_k
    )
    with jax.ensure_compile_time_eval():
        return splash_attention.make_splash_mha(
            mask=splash_attention.MultiHeadMask([Rule()] * num_heads),
            block_sizes=splash_attention.BlockSizes(
                block_q=block_q,
                block_q_dkv=block_q,
                block_q_dq=block_q,
                block_kv_dkv_compute=block_k,
                **of_keys,
            ),
            head_shards=1,
            q_seq_shards=1,
            interpret=interpret,
        )
