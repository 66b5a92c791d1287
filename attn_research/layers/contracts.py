"""What every encoder-decoder gives, so that losses, search and alignment need not know which.

A model has four methods. `encode(source, valid, train)` reads a batch; `decode(encoded, previous,
train, capture)` scores every target word at once; `begin(encoded, max_length)` is the state before
the first word, with leaves [B, 1, ...]; `step(memory, state, previous)` scores the next word of K
hypotheses of each sentence. The chain of steps gives what `decode` gives.
"""

from typing import NamedTuple

from attn_research.types import Array, Float, PyTree


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
