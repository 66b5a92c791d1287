"""Networks as decoders: pure functions for `attn_research.decoding.generation`."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from attn_research.attention import Full, streaming
from attn_research.decoding.streaming import begin_stream
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


@dataclasses.dataclass(frozen=True)
class StreamingDecoder(Decoder):
    """One network that continues one text at a time, of any length, at constant memory.

    Its tokens attend to the last `window` and to `sinks` first ones: see `begin_stream`. Prompts
    are read in chunks of at most `chunk` tokens.
    """

    window: int = 1024
    sinks: int = 4
    chunk: int = 128

    @classmethod
    def of(cls, network: nn.Module, window: int, sinks: int) -> "StreamingDecoder":
        """The decoder of a network that attends to all tokens before; ValueError for another."""
        if network.mask != Full():
            raise ValueError(f"the network has a mask of its own, {network.mask}, and no window")
        return cls((network.clone(mask=streaming(window, sinks)),), window, sinks)

    def check(self, params: tuple[PyTree, ...], max_length: int) -> None:
        """ValueError where the network has a table of positions."""
        jax.eval_shape(lambda params: self.begin(params, 1, 1), params)

    def begin(self, params: tuple[PyTree, ...], batch_size: int, num_slots: int) -> PyTree:
        """The state before the first token of a text; ValueError for several."""
        if batch_size > 1:
            raise ValueError("a stream is of one text: give one prompt at a time")
        ring = dict(window=self.window, sinks=self.sinks, chunk=self.chunk)
        return tuple(
            begin_stream(network, each, 1, **ring)
            for network, each in zip(self.networks, params, strict=True)
        )
