"""Networks as decoders: pure functions for `attn_research.decoding.generation`."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from attn_research.layers.row_products import row_products
from attn_research.types import Array, Bool, Float, Int, PyTree


@dataclasses.dataclass(frozen=True)
class Decoder:
    """One network, or several by the mean of their distributions.

    Parameters are a tuple, of each network as `init` or `store_by_output` has them.
    """

    networks: tuple[nn.Module, ...]

    def check(self, params: tuple[PyTree, ...], max_length: int) -> None:
        """ValueError where a network has fewer positions than `max_length` tokens need."""
        for network, each in zip(self.networks, params, strict=True):
            begin = functools.partial(network.apply, method="begin")
            jax.eval_shape(lambda p, run=begin: run(p, 1, max_length), each)

    def begin(self, params: tuple[PyTree, ...], batch_size: int, num_slots: int) -> PyTree:
        """The state before the first token, with room for so many tokens and padding."""
        return tuple(
            network.apply(each, batch_size, 1, num_slots=num_slots, method="begin")
            for network, each in zip(self.networks, params, strict=True)
        )

    def extend(
        self,
        params: tuple[PyTree, ...],
        states: PyTree,
        tokens: Int[Array, "B K T"],
        valid: Bool[Array, "B T"] | None = None,
    ) -> tuple[Float[Array, "B K V"], PyTree]:
        """The logits of the token after the last, and the state after it."""
        logits, after = [], []
        with row_products():
            for network, each, state in zip(self.networks, params, states, strict=True):
                found = network.apply(each, state, tokens, valid, method="extend")
                logits.append(network.apply(each, found.states[:, :, -1], method="logits"))
                after.append(found.state)
        logits = [each.astype(jnp.float32) for each in logits]
        if len(logits) > 1:
            each = jnp.stack([jax.nn.log_softmax(one) for one in logits])
            logits = [jax.nn.logsumexp(each, axis=0)]
        return logits[0], tuple(after)
