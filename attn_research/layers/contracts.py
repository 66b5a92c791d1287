"""What every encoder-decoder gives, so that losses, search and alignment need not know which.

A model has five methods. `encode(source, valid, train)` reads a batch; `decode_states(encoded,
previous, train, capture)` goes through the target at once, and `score_words(states)` makes logits
of what it ends in; `begin(encoded, max_length)` is the state before the first word, with leaves
[B, 1, ...] unless it says itself how it is spread over a beam (`attn_research.decoding.search`);
`step(memory, state, previous)` scores the next word of K hypotheses of each sentence. The chain of
steps gives what `decode` gives.
"""

from typing import ClassVar, Literal, NamedTuple

from flax import linen as nn

from attn_research.types import Array, Bool, Float, Int, PyTree


class Encoded(NamedTuple):
    """A batch of source sentences: what the decoder looks at, and the state it starts from, if any.

    Leaves of the memory are [B, ...], those of the state [B, 1, ...]. `weights` say where the
    encoder looked, if it does and they were captured.
    """

    memory: PyTree
    state: PyTree
    weights: Float[Array, "B *heads S S"] | None = None


class Hidden(NamedTuple):
    """What each next word is scored by, and where the decoder looked, if captured.

    `weights` over the source are [B, T, S], or more axes after the first where there are blocks and
    heads; `past` are those of self-attention over the words before, where there is one.
    """

    states: Float[Array, "B T D"]
    weights: Float[Array, "B *heads T S"] | None
    past: Float[Array, "B *heads T T"] | None = None


class Decoded(NamedTuple):
    """Scores of each next word, and the weights of `Hidden`."""

    logits: Float[Array, "B T V"]
    weights: Float[Array, "B *heads T S"] | None


class EncoderDecoder(nn.Module):
    """What follows from the methods of a model.

    `tensor_rules` say how devices may share its matrices (`attn_research.training.placement`).
    """

    tensor_rules: ClassVar = ()

    def begin(self, encoded: Encoded, max_length: int) -> PyTree:
        """The state before the first word: where `encode` made it, it needs no room for more."""
        return encoded.state

    def decode(
        self,
        encoded: Encoded,
        previous: Int[Array, "B T"],
        train: bool = False,
        capture: Literal["all"] | None = None,
    ) -> Decoded:
        """Scores every next word given the true ones before it: `previous` begins with BOS."""
        hidden = self.decode_states(encoded, previous, train, capture)
        return Decoded(self.score_words(hidden.states), hidden.weights)

    def hidden_states(
        self,
        source: Int[Array, "B S"],
        valid: Bool[Array, "B S"],
        previous: Int[Array, "B T"],
        train: bool = False,
        segments: tuple[Int[Array, "B S"], Int[Array, "B T"]] | None = None,
    ) -> Float[Array, "B T D"]:
        """`encode`, then `decode_states`: what a loss scores the words of.

        `segments` number the sentences of source and target rows that hold several, for models
        whose two methods take them.
        """
        of_source, of_target = ({}, {}) if segments is None else ({"segments": x} for x in segments)
        encoded = self.encode(source, valid, train, **of_source)
        return self.decode_states(encoded, previous, train, **of_target).states

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
