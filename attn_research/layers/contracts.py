"""The interfaces of encoder-decoder models and of classifiers.

Losses, search and alignment serve all of the first; one task of text classification serves all
classifiers of text.
"""

import dataclasses
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from flax import linen as nn

from attn_research.types import Array, Bool, Float, Int, PyTree


@dataclasses.dataclass(frozen=True)
class CaptureSome:
    """A request for the weights of some heads in some blocks alone, both counted from 0.

    It costs the scores of those heads. Models with a stack of self-attention take it, in inference.
    """

    layers: tuple[int, ...]
    heads: tuple[int, ...]


Capture = Literal["all"] | CaptureSome | None  # of attention weights


class Encoded(NamedTuple):
    """The memory that a decoder attends to, and the state that it starts from, if any.

    Leaves of the memory are [B, ...], those of the state [B, 1, ...]. `weights` are those of the
    encoder's self-attention, if it has any and they were captured.
    """

    memory: PyTree
    state: PyTree
    weights: Float[Array, "B *heads S S"] | None = None


class Hidden(NamedTuple):
    """The decoder's states, of which logits are made, and its attention weights, where captured.

    `weights` of cross-attention are [B, T, S], or [B, L, N, T, S] where there are blocks and heads;
    `self_weights` are those of self-attention, in decoders that have it.
    """

    states: Float[Array, "B T D"]
    weights: Float[Array, "B *heads T S"] | None
    self_weights: Float[Array, "B *heads T T"] | None = None


class Decoded(NamedTuple):
    """Logits of each next word, and the cross-attention weights of `Hidden`."""

    logits: Float[Array, "B T V"]
    weights: Float[Array, "B *heads T S"] | None


class StepOutput(NamedTuple):
    """Logits of the next word of K hypotheses, the state after it, and weights where captured."""

    logits: Float[Array, "B K V"]
    state: PyTree
    weights: Float[Array, "B K *heads S"] | None


@dataclasses.dataclass(frozen=True)
class AlignmentSpec:
    """How word alignments are read from cross-attention weights.

    The weights of a step belong to the word in `row`: the one that the step predicts, or the one
    that it takes in (Luong, Pham, Manning 2015, footnote 14). `by_heads`: there are weights for
    layers and heads, and the alignment is the mean over the heads of the layer before the last
    (Garg et al. 2019).
    """

    row: Literal["predicted", "input"]
    by_heads: bool = False


class Pass(NamedTuple):
    """The options of one forward pass over whole sequences."""

    train: bool = False
    capture: Capture = None
    segments: Int[Array, "B length"] | None = None


class EncoderDecoder(nn.Module):
    """An encoder, and a decoder that predicts each next word from the words before.

    The chain of `step`s from `begin` on gives the logits that `decode` gives. A model defines
    `_encode`, `_decode_states`, `logits`, `step`, `alignment`, and `begin` where its decoder does
    not start from a state of the encoder. `tensor_rules` are its rules of tensor parallelism
    (`attn_research.training.placement`). With `takes_segments` a row may hold several sequences.
    """

    tensor_rules: ClassVar = ()
    takes_segments: ClassVar[bool] = False

    @property
    def alignment(self) -> AlignmentSpec | None:
        """How alignments are read, or None if the model does not attend to its inputs."""
        raise NotImplementedError

    def encode(
        self,
        inputs: Array,
        valid: Bool[Array, "B S"],
        *,
        train: bool = False,
        capture: Capture = None,
        segments: Int[Array, "B S"] | None = None,
    ) -> Encoded:
        """The encoding of a batch of inputs [B, S, ...]: word ids, or whatever the model reads.

        `valid` is false at padding. `segments` number the sequences of a row, from 1 on; none
        attends to another. ValueError where the model does not take them.
        """
        return self._encode(inputs, valid, self._pass(train, capture, segments))

    def decode_states(
        self,
        encoded: Encoded,
        previous: Int[Array, "B T"],
        *,
        train: bool = False,
        capture: Capture = None,
        segments: Int[Array, "B T"] | None = None,
    ) -> Hidden:
        """The state for each next word, given the true words before it; `previous` has BOS first.

        `segments` number the target sequences of a row as those of the inputs are numbered.
        """
        return self._decode_states(encoded, previous, self._pass(train, capture, segments))

    def decode(self, encoded: Encoded, previous: Int[Array, "B T"], **options: Any) -> Decoded:
        """The logits of `decode_states`, whose options it takes."""
        hidden = self.decode_states(encoded, previous, **options)
        return Decoded(self.logits(hidden.states), hidden.weights)

    def hidden_states(
        self,
        inputs: Array,
        valid: Bool[Array, "B S"],
        previous: Int[Array, "B T"],
        *,
        train: bool = False,
        capture: Capture = None,
        segments: tuple[Int[Array, "B S"], Int[Array, "B T"]] | None = None,
    ) -> Hidden:
        """`encode`, then `decode_states`, whose weights it captures. `segments` are of both."""
        of_inputs, of_targets = segments or (None, None)
        encoded = self.encode(inputs, valid, train=train, segments=of_inputs)
        return self.decode_states(
            encoded, previous, train=train, capture=capture, segments=of_targets
        )

    def __call__(
        self, inputs: Array, valid: Bool[Array, "B S"], previous: Int[Array, "B T"], **options: Any
    ) -> Decoded:
        """The logits of `hidden_states`, whose options it takes."""
        hidden = self.hidden_states(inputs, valid, previous, **options)
        return Decoded(self.logits(hidden.states), hidden.weights)

    def logits(self, states: Float[Array, "*B T D"]) -> Float[Array, "*B T V"]:
        """The logits of decoder states."""
        raise NotImplementedError

    def begin(self, encoded: Encoded, max_length: int) -> PyTree:
        """The state before the first of at most `max_length` words, of one hypothesis a sentence.

        Leaves are [B, 1, ...]; what is not spread over a beam so has its own methods for that
        (`attn_research.decoding.search`).
        """
        return encoded.state

    def step(
        self,
        memory: PyTree,
        state: PyTree,
        previous: Int[Array, "B K"],
        *,
        capture: Capture = None,
    ) -> StepOutput:
        """One word of K hypotheses of each sentence. Weights are None unless captured."""
        raise NotImplementedError

    def _encode(self, inputs: Array, valid: Bool[Array, "B S"], options: Pass) -> Encoded:
        raise NotImplementedError

    def _decode_states(
        self, encoded: Encoded, previous: Int[Array, "B T"], options: Pass
    ) -> Hidden:
        raise NotImplementedError

    def _pass(self, train, capture, segments):
        if segments is not None and not self.takes_segments:
            raise ValueError(
                f"{type(self).__name__} does not keep the sequences of a row apart: give it rows "
                "of one sequence and no segments, or take a Transformer"
            )
        return Pass(train, capture, segments)


class EncodedStates(NamedTuple):
    """The states of a stack of blocks, of T positions, and what was captured of the blocks.

    Where captured, `layers` are the embeddings and the states after each block, `weights` those of
    the heads of attention.
    """

    states: Float[Array, "B T D"]
    layers: Float[Array, "B Lplus1 T D"] | None
    weights: Float[Array, "B L N T T"] | None


class Classified(NamedTuple):
    """Logits of every class, or a number of width 1, and weights of attention where captured.

    Logits are [B, V] where a row of the batch is an example, [B, S, V] where each of its words is
    one, and [B, E, V] where up to E examples share a row. `auxiliary` is a further term of the loss
    of each example, in training.
    """

    logits: Float[Array, "*B V"]
    weights: Float[Array, "B *heads T S"] | None
    auxiliary: Float[Array, "*B"] | None = None


class TextClassifier(Protocol):
    """A network that classifies texts, or pairs of texts, or their words."""

    def __call__(
        self,
        ids: Int[Array, "B S"],
        valid: Bool[Array, "B S"],
        *,
        types: Int[Array, "B S"] | None = None,
        segments: Int[Array, "B S"] | None = None,
        train: bool = False,
        capture: Capture = None,
    ) -> Classified:
        """The classification of a batch of ids, of which `valid` is false at padding.

        A text ends with EOS. `types` are 0 in the first text of a pair, its EOS included, and 1 in
        the second. `segments` number the examples of a row from 1 on; none attends to another.
        ValueError where the network does not keep examples of a row apart.
        """
        ...
