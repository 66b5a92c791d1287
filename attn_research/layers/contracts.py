"""What every encoder-decoder gives, so that losses, search and alignment need not know which.

A model has four methods. `encode(source, valid, train)` reads a batch; `decode(encoded, previous,
train, capture)` scores every target word at once; `begin(encoded, max_length)` is the state before
the first word, with leaves [B, 1, ...]; `step(memory, state, previous)` scores the next word of K
hypotheses of each sentence. The chain of steps gives what `decode` gives.
"""

from typing import Literal, NamedTuple

from flax import linen as nn

from attn_research.types import Array, Bool, Float, Int, PyTree


class Encoded(NamedTuple):
    """A batch of source sentences: what the decoder looks at, and the state it starts from, if any.

    Leaves of the memory are [B, ...], those of the state [B, 1, ...].
    """

    memory: PyTree
    state: PyTree


class Decoded(NamedTuple):
    """Scores of each next word, and where the decoder looked, if captured: [B, T, S], or more axes
    after the first where there are blocks and heads.
    """

    logits: Float[Array, "B T V"]
    weights: Float[Array, "B *heads T S"] | None


class EncoderDecoder(nn.Module):
    """What follows from the methods of a model."""

    def begin(self, encoded: Encoded, max_length: int) -> PyTree:
        """The state before the first word: where `encode` made it, it needs no room for more."""
        return encoded.state

    def __call__(
        self,
        source: Int[Array, "B S"],
        valid: Bool[Array, "B S"],
        previous: Int[Array, "B T"],
        train: bool = False,
        capture: Literal["all"] | None = None,
    ) -> Decoded:
        """`encode`, then `decode`."""
        return self.decode(self.encode(source, valid, train), previous, train, capture)
