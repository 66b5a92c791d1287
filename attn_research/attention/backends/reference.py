"""The dense reference: every option, with the whole [*B, N, T, S] matrix; what is true.

Other implementations are tested for equality with it.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from einops import rearrange

from attn_research.attention.masks import Mask, Positions, grid
from attn_research.attention.normalizers import Dropout
from attn_research.types import Array, Float, Shaped


class Attended(NamedTuple):
    """What was seen, and on request the weights it was seen with, before dropout."""

    context: Float[Array, "*B T N Hv"]
    weights: Float[Array, "*B N T S"] | None


@dataclasses.dataclass(frozen=True)
class Capture:
    """Asks for the weights of chosen heads and query rows alone, [*B, heads, rows, S]."""

    heads: tuple[int, ...]
    rows: tuple[int, ...]


def unsupported(*arrays: Any, **options: Any) -> None:
    """Why the arguments of `attend` are not supported: the reference supports them all."""


def attend(
    query: Float[Array, "*B T N H"],
    key: Float[Array, "*B S K Hk"],
    value: Float[Array, "*B S K Hv"],
    *,
    score: Callable[..., Array],
    mask: Mask,
    bias: Float[Array, "*#B #N #T #S"] | Callable[..., Array] | None,
    normalizer: Callable[..., Array],
    dropout: Dropout | None,
    positions: Positions | None,
    capture: Literal["all"] | Capture | None,
) -> Attended:
    """Scores, biases, masks, normalizes, drops and weighs, in this order; see `api.attend`."""
    scores = score(query, key)
    positions = positions or Positions()
    q_pos, k_pos = grid(
        jnp.arange(query.shape[-3]) if positions.query is None else positions.query,
        jnp.arange(key.shape[-3]) if positions.key is None else positions.key,
        rank=scores.ndim,
    )
    if bias is not None:
        scores = scores + (bias(q_pos, k_pos) if callable(bias) else bias)
    weights = normalizer(scores, mask(q_pos, k_pos), k_pos)
    kept = weights if dropout is None else dropout(weights)
    # The group joins the rows: one plain product for each key head, forward and backward.
    rows = rearrange(kept, "... (k g) t s -> ... k (g t) s", k=value.shape[-2])
    context = jnp.matmul(rows, rearrange(value, "... s k h -> ... k s h")).astype(value.dtype)
    context = rearrange(context, "... k (g t) h -> ... t (k g) h", t=query.shape[-3])
    return Attended(context, captured(weights, capture))


def captured(
    weights: Shaped[Array, "*B N T S"], capture: Literal["all"] | Capture | None
) -> Array | None:
    """What was asked for of the weights, or of anything laid out as they are."""
    if isinstance(capture, Capture):
        return weights[..., np.array(capture.heads)[:, None], np.array(capture.rows), :]
    return weights if capture == "all" else None
