"""Stacks of equal blocks: a loop for whole sequences, one by one for the steps of a decoder."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from attn_research import attention
from attn_research.attention.backends.divided import divide
from attn_research.attention.backends.xla_flash.rows import partitioning_devices
from attn_research.layers.contracts import Capture, CaptureSome
from attn_research.layers.remat import Remat, remat
from attn_research.types import Array, Float, PyTree

# Steps of 4 to 12 layers take 5 to 25% less time; compilation grows from 2 seconds to 5 for 12.
MOST_UNROLLED = 12


def scan_blocks(
    body: Callable[..., Any], num_layers: int, policy: Remat = "none", *, share: bool = False
) -> Callable[..., Any]:
    """A loop over `num_layers` blocks: body(block, carry) -> (carry, outputs), those on axis 1.

    The parameters of all blocks are one array each, or with `share` the same for all, and every
    block draws its own dropout. `policy` is of rematerialization, which a loop keeps. Without it a
    few blocks on one device of a CPU are compiled one after another: that saves copies into and out
    of the arrays of all blocks. Else the size of the compiled program does not grow with their
    number. States [B, T, D] of the carry are divided over a mesh axis "sequence".
    """
    on_cpu = jax.default_backend() == "cpu" and partitioning_devices() == 1
    unrolled = on_cpu and policy == "none" and num_layers <= MOST_UNROLLED
    params = {"variable_broadcast": "params"} if share else {"variable_axes": {"params": 0}}

    def run(block: nn.Module, carry: Any) -> tuple[Any, Any]:
        carry, outputs = body(block, divide(carry))
        return divide(carry), outputs

    return nn.scan(
        remat(run, policy),
        **params,
        split_rngs={"params": not share, "dropout": True},
        out_axes=1,
        length=num_layers,
        unroll=num_layers if unrolled else 1,
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
    *,
    num_layers: int,
    share: bool = False,
    capture: Capture = None,
    **options: Any,
) -> Layers:
    """All blocks in turn: body(block, states, layer, capture) -> (states, weights where captured).

    `layer` counts from 0, and is traced; `capture` is what `attend` takes. Other options are those
    of `scan_blocks`. With `CaptureSome` the weights are those of its layers and heads, in order,
    and no states are kept. ValueError for a layer that there is not.
    """
    if isinstance(capture, CaptureSome):
        return _run_some(body, blocks, embedded, num_layers, share, capture)

    def run(block, carry):
        states, layer = carry
        after, weights = body(block, states, layer, capture)
        return (after, layer + 1), None if weights is None else (after, weights)

    loop = scan_blocks(run, num_layers, share=share, **options)
    (last, _), captured = loop(blocks, (embedded, jnp.int32(0)))
    if captured is None:
        return Layers(last, None, None)
    after, weights = captured
    return Layers(last, jnp.concatenate([embedded[:, None], after], axis=1), weights)


def _run_some(body, blocks, embedded, num_layers, share, capture):
    """The blocks one by one: a loop would keep the weights of every layer."""
    if unknown := [layer for layer in capture.layers if not 0 <= layer < num_layers]:
        raise ValueError(f"no layer {unknown[0]}: they are 0 to {num_layers - 1}")
    if blocks.has_rng("dropout"):
        raise ValueError("weights of some layers are captured without dropout: give train=False")
    heads = attention.Capture(capture.heads, tuple(range(embedded.shape[1])))
    params, states, weights = blocks.variables["params"], embedded, {}
    each = (params,) * num_layers if share else unstack(params, num_layers)
    for layer, of_layer in enumerate(each):
        wanted = heads if layer in capture.layers else None
        run = functools.partial(body, layer=jnp.int32(layer), capture=wanted)
        states, weights[layer] = with_params(of_layer, run)(blocks, states)
    return Layers(states, None, jnp.stack([weights[layer] for layer in capture.layers], axis=1))


def unstack(params: PyTree, num_layers: int) -> tuple[PyTree, ...]:
    """The parameters of each block: those of `scan_blocks`, or as `store_by_output` parts them."""
    if "0" in params:
        return tuple(params[str(number)] for number in range(num_layers))
    return tuple(jax.tree.map(lambda x, i=i: x[i], params) for i in range(num_layers))


def with_params(params: PyTree, body: Callable[..., Any]) -> Callable[..., Any]:
    """body(block, ...) where the block has these parameters.

    For blocks that are not scanned: in a decode step a loop would copy the parameters and caches of
    each block out of the arrays of all blocks, and back.
    """
    return nn.map_variables(body, "params", lambda _: {"params": params})
