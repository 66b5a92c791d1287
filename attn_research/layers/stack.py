"""Stacks of equal blocks: scanned for whole sequences, one by one for the steps of a decoder."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from attn_research.layers.remat import Remat, remat
from attn_research.types import Array, Float, PyTree


def scan_blocks(
    body: Callable[..., Any], num_layers: int, policy: Remat = "none", *, share: bool = False
) -> Callable[..., Any]:
    """A loop over `num_layers` blocks: body(block, carry) -> (carry, outputs), those on axis 1.

    The parameters of all blocks are one array each, or with `share` the same for all, every block
    draws its own dropout, and the size of the compiled program does not grow with their number.
    `policy` is of rematerialization.
    """
    params = {"variable_broadcast": "params"} if share else {"variable_axes": {"params": 0}}
    return nn.scan(
        remat(body, policy),
        **params,
        split_rngs={"params": not share, "dropout": True},
        out_axes=1,
        length=num_layers,
    )


class Layers(NamedTuple):
    """The states after the last block, and where captured those of all layers and their weights.

    `states` begin with the embeddings.
    """

    last: Float[Array, "B T D"]
    states: Float[Array, "B Lplus1 T D"] | None
    weights: Float[Array, "B L N T T"] | None


def run_layers(
    body: Callable[..., tuple[Array, Array | None]],
    blocks: nn.Module,
    embedded: Float[Array, "B T D"],
    **options: Any,
) -> Layers:
    """All blocks in turn: body(block, states) -> (states after it, its weights where captured).

    `options` are those of `scan_blocks`.
    """

    def run(block, states):
        after, weights = body(block, states)
        return after, None if weights is None else (after, weights)

    last, captured = scan_blocks(run, **options)(blocks, embedded)
    if captured is None:
        return Layers(last, None, None)
    after, weights = captured
    return Layers(last, jnp.concatenate([embedded[:, None], after], axis=1), weights)


def unstack(params: PyTree, num_layers: int) -> tuple[PyTree, ...]:
    """The parameters of each block, of those that `scan_blocks` made."""
    return tuple(jax.tree.map(lambda x, i=i: x[i], params) for i in range(num_layers))


def with_params(params: PyTree, body: Callable[..., Any]) -> Callable[..., Any]:
    """body(block, ...) where the block has these parameters.

    For blocks that are not scanned: in a decode step a loop would copy the parameters and caches of
    each block out of the arrays of all blocks, and back.
    """
    return nn.map_variables(body, "params", lambda _: {"params": params})
