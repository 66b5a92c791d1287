"""What every encoder-decoder gives, so that losses, search and alignment need not know which.

A model has three methods. `encode(source, valid, train)` reads a batch; `decode(encoded, previous,
train, capture)` scores every target word at once; `step(memory, state, previous)` scores the next
one of K hypotheses of each sentence. The chain of steps gives what `decode` gives.
"""

from typing import NamedTuple

from attn_research.types import Array, Float, PyTree


class Encoded(NamedTuple):
    """A batch of source sentences: what the decoder looks at, and its first state.

    Leaves of the memory are [B, ...], those of the state [B, 1, ...].
    """

    memory: PyTree
    state: PyTree


class Decoded(NamedTuple):
    """Scores of each next word, and where the decoder looked, if captured."""

    logits: Float[Array, "B T V"]
    weights: Float[Array, "B T S"] | None
