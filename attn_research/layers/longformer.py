"""Longformer's attention: heads with separate projections for global tokens.

Beltagy et al. 2020, section 3.1. The mask says which tokens are global.
"""

import dataclasses
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange

from attn_research.attention import Attended, Capture, Mask, Positions, Rotation
from attn_research.attention.array_masks import GlobalTokens, Padding
from attn_research.attention.sparse_masks import Global, Prefix
from attn_research.layers.multihead import MultiHeadAttention
from attn_research.types import Array, Float, Int, PyTree

PROJECTIONS = "query", "key", "value"


class GlobalKeyValues(NamedTuple):
    """Keys and values of a sequence, for its tokens and for the queries of global ones."""

    keys: Float[Array, "*B S K H"]
    values: Float[Array, "*B S K Hv"]
    global_keys: Float[Array, "*B S K H"]
    global_values: Float[Array, "*B S K Hv"]


class LongformerAttention(MultiHeadAttention):
    """Attention in which global tokens have queries, keys and values of their own projections.

    Q_g, K_g and V_g are for the attention of global tokens to all, Q, K and V for that of all
    others, to global tokens too. Beltagy et al. 2020, section 3.1, "Linear Projections for Global
    Attention". The mask joins `Global` or `GlobalTokens` to others by |. Of those that differ
    between texts the first `max_global` of a text attend to all: later ones are keys of all other
    tokens, and attend as if they were not global. Start from pretrained projections by
    `copy_to_global`.
    """

    max_global: int = 16

    def setup(self):
        super().setup()
        self.query_global, self.key_global, self.value_global = self._projections()

    def project(
        self, inputs: Float[Array, "*B S D"], rotation: Rotation | None = None
    ) -> GlobalKeyValues:
        """Keys and values of both kinds."""
        of_all = super().project(inputs, rotation)
        of_global = self._key_values(self.key_global(inputs), self.value_global(inputs), rotation)
        return GlobalKeyValues(*of_all, *of_global)

    def attend_heads(
        self,
        inputs: Float[Array, "*B T D"],
        memory: GlobalKeyValues,
        mask: Mask,
        *,
        positions: Positions | None = None,
        rotation: Rotation | None = None,
        capture: Literal["all"] | Capture | None = None,
        **options,
    ) -> Attended:
        """Contexts of the heads [*B, T, N, Hv], and weights if captured.

        ValueError for positions that do not count from 0, a rotation, or a bias, and for the
        capture of some rows.
        """
        if isinstance(capture, Capture) and capture.rows != tuple(range(inputs.shape[-2])):
            raise ValueError(
                "global tokens with projections of their own capture the weights of all queries, "
                f"not of {len(capture.rows)}: name every row"
            )
        if positions is not None or rotation is not None or options.get("bias") is not None:
            raise ValueError(
                "global tokens with projections of their own take learned positions of a whole "
                "text alone: no positions, rotation or bias"
            )
        local = memory.keys, memory.values
        context, weights = self.attend_projected(
            self._heads(self.query(inputs)), local, keys_alone(mask), capture=capture, **options
        )
        index = self._global_index(mask, inputs.shape[:-1])
        tokens = jnp.take_along_axis(inputs, jnp.maximum(index, 0)[..., None], axis=-2)
        # Its parameters are there also where no token is global.
        queries = self._heads(self.query_global(tokens))
        if not index.shape[-1]:
            return Attended(context, weights)
        if isinstance(capture, Capture):
            capture = dataclasses.replace(capture, rows=tuple(range(index.shape[-1])))
        found = self.attend_projected(
            queries,
            (memory.global_keys, memory.global_values),
            mask,
            positions=Positions(query=index),
            capture=capture,
            **options,
        )
        # Past the end, where nothing is written, in place of -1, which would count from there.
        rows = jnp.where(index < 0, inputs.shape[-2], index)
        context = _replace_rows(context, rows, found.context, axis=-3)
        if weights is not None:
            weights = _replace_rows(weights, rows, found.weights, axis=-2)
        return Attended(context, weights)

    def _heads(self, array):
        return rearrange(array, "... t (n h) -> ... t n h", n=self.num_heads)

    def _global_index(self, mask: Mask, shape: tuple[int, ...]) -> Int[Array, "*B G"]:
        """The positions of global tokens in order, -1 where a text has fewer."""
        length, chosen = shape[-1], global_part(mask)
        if isinstance(chosen, Global):
            index = jnp.arange(chosen.start, min(chosen.stop, length), dtype=jnp.int32)
            return jnp.broadcast_to(
                index.reshape((1,) * (len(shape) - 1) + (-1,)), (*shape[:-1], index.size)
            )
        # The earliest have the highest rank; others have rank 0.
        rank = jnp.where(chosen.query, length - jnp.arange(length, dtype=jnp.int32)[None], 0)
        rank, _ = jax.lax.top_k(rank, min(self.max_global, length))
        return jnp.where(rank > 0, length - rank, -1)


def global_part(mask: Mask) -> Global | GlobalTokens:
    """The global tokens of a mask; ValueError unless it has them once."""
    found = list(_global_parts(mask))
    if len(found) != 1:
        raise ValueError(
            f"the mask {mask} has {len(found)} kinds of global tokens, and these projections are "
            "for one: join one Global or GlobalTokens to it, as `longformer` does"
        )
    return found[0]


def with_global_tokens(mask: Mask, tokens: Global | GlobalTokens) -> Mask:
    """The mask with these global tokens in place of its own; ValueError unless it has some once."""
    global_part(mask)

    def replace(part: Mask) -> Mask:
        return tokens if isinstance(part, Global | GlobalTokens) else part.map_parts(replace)

    return replace(mask)


def keys_alone(mask: Mask) -> Mask:
    """The mask in which all attend to global tokens, and those to no more than others do."""
    if isinstance(mask, Global):
        return Prefix(mask.stop) & ~Prefix(mask.start) if mask.start else Prefix(mask.stop)
    return Padding(mask.key) if isinstance(mask, GlobalTokens) else mask.map_parts(keys_alone)


def copy_to_global(params: PyTree) -> PyTree:
    """Parameters in which the projections of global tokens are copies of the others.

    Beltagy et al. 2020, section 3.1. `params` are of any module with such attention, or of one that
    has none yet.
    """
    if not isinstance(params, dict):
        return params
    copied = {name: copy_to_global(each) for name, each in params.items()}
    if all(name in params for name in PROJECTIONS):
        copied |= {f"{name}_global": params[name] for name in PROJECTIONS}
    return copied


def _global_parts(mask: Mask):
    if isinstance(mask, Global | GlobalTokens):
        yield mask
    for part in mask.parts:
        yield from _global_parts(part)


def _replace_rows(array: Array, rows: Int[Array, "*B G"], new: Array, axis: int) -> Array:
    """The array with some entries of an axis replaced, those past its end not."""
    array, new = (jnp.moveaxis(x, axis, rows.ndim - 1) for x in (array, new))
    lead = rows.ndim - 1

    def of_one(array: Array, rows: Array, new: Array) -> Array:
        return array.at[rows].set(new, mode="drop")

    for _ in range(lead):
        of_one = jax.vmap(of_one)
    return jnp.moveaxis(of_one(array, rows, new), lead, axis)
