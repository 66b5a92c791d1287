"""Words one after the other, as tasks with decoders share it."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from attn_research.data.text.tokenizers import BOS
from attn_research.layers.contracts import Capture
from attn_research.types import Array, Int, PyTree


def previous_words(
    target: Int[Array, "B T"], segments: Int[Array, "B T"] | None = None
) -> Int[Array, "B T"]:
    """The target shifted by one: BOS, then the word before each; BOS begins every segment."""
    before = jnp.pad(target[:, :-1], ((0, 0), (1, 0)), constant_values=BOS)
    if segments is None:
        return before
    begins = segments != jnp.pad(segments[:, :-1], ((0, 0), (1, 0)))
    return jnp.where(begins, BOS, before)


def mean_step(
    networks: Sequence[nn.Module],
    params: Sequence[PyTree],
    memories: Sequence[PyTree],
    capture: Capture = None,
) -> Callable[[list[PyTree], Int[Array, "B K"]], tuple[Array, list[PyTree], Any]]:
    """A step of `beam_search` by the mean next-word distribution of several networks.

    Of one network it gives the logits. Captured weights are those of the first network.
    """

    def step(states, words):
        found = [
            network.apply(each, memory, state, words, capture=capture, method="step")
            for network, each, memory, state in zip(networks, params, memories, states, strict=True)
        ]
        logits = found[0].logits  # the search takes logits as well
        if len(found) > 1:
            log_probs = jnp.stack([jax.nn.log_softmax(one.logits) for one in found])
            logits = jax.nn.logsumexp(log_probs, axis=0) - jnp.log(len(found))
        weights = () if capture is None else found[0].weights
        return logits, [one.state for one in found], weights

    return step
