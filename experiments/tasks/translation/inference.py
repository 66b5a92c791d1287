"""Inference with encoder-decoders: beam search, forced alignments, weights of every head."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from attn_research.data.text.tokenizers import BOS, EOS, PAD
from attn_research.decoding import Hypotheses, Vocabulary, beam_search
from attn_research.layers.contracts import AlignmentSpec, EncoderDecoder
from attn_research.training.cores import over_cores
from attn_research.types import Array, Float, Int, PyTree
from experiments.tasks.decoding import mean_step, previous_words
from experiments.tasks.translation.config import SearchConfig


class Predicted(NamedTuple):
    """Next-word log probabilities of given pairs, and attention weights by layer and head.

    Weights are None where there are none; those of the decoder are over its steps so far, the first
    of which reads BOS.
    """

    log_probs: Float[Array, "B T V"] | None
    encoder: Float[Array, "B L N S S"] | None
    cross: Float[Array, "B L N T S"] | None
    decoder: Float[Array, "B L N T T"] | None = None


@dataclasses.dataclass(frozen=True)
class Members:
    """One trained network, or several whose next-word distributions are averaged."""

    networks: Sequence[EncoderDecoder]
    params: Sequence[PyTree]
    config: SearchConfig

    @property
    def alignment(self) -> AlignmentSpec | None:
        """How the weights are read as alignments, where all members agree on it."""
        first, *others = (network.alignment for network in self.networks)
        rows = {spec and spec.row for spec in (first, *others)}
        return first if len(rows) == 1 else None

    def translate(
        self, source: Int[np.ndarray, "B S"], forbidden: int = PAD
    ) -> Int[np.ndarray, "B T"]:
        """The best translation of each source sentence, without the forbidden id."""
        return np.asarray(self.search(source, forbidden).tokens[:, 0])

    def search(self, source: Int[np.ndarray, "B S"], forbidden: int = PAD) -> Hypotheses:
        """The hypotheses of a beam for each source sentence.

        The longest output depends on its own sentence, so that batch mates change nothing.
        """
        limits = _longest(self.config, (source != PAD).sum(axis=1)).astype(np.int32)
        return self._search(forbidden)(self.params, source, limits)

    def align(
        self, source: Int[np.ndarray, "B S"], target: Int[np.ndarray, "B T"]
    ) -> Float[np.ndarray, "B T S"]:
        """Weights of each target word, given those before it; the mean over the members."""
        return np.asarray(self._align(self.params, source, target))

    @functools.cached_property
    def _search(self) -> Callable[[int], Callable[..., Hypotheses]]:
        def make(forbidden: int) -> Callable[..., Hypotheses]:
            run = functools.partial(search, self.networks, self.config, forbidden=forbidden)
            return over_cores(run)

        return functools.cache(make)

    @functools.cached_property
    def _align(self) -> Callable[..., Array]:
        return over_cores(functools.partial(_align, self.networks))


def search(
    networks, config: SearchConfig, params, source, limits, *, forbidden: int = PAD
) -> Hypotheses:
    """Beam search over the mean next-word distribution of some networks."""
    encoded, states = [], []
    max_length = int(_longest(config, source.shape[1]))
    for network, p in zip(networks, params, strict=True):
        encoded.append(network.apply(p, source, source != PAD, method="encode"))
        states.append(network.apply(p, encoded[-1], max_length, method="begin"))
    return beam_search(
        mean_step(networks, params, [one.memory for one in encoded]),
        states,
        limits,
        max_length=max_length,
        beam_size=config.beam_size,
        vocabulary=Vocabulary(PAD, BOS, EOS, (forbidden,)),
        alpha=config.length_penalty,
        offset=config.length_offset,
        n_best=1,
    )


def _longest(config: SearchConfig, length):
    """The most ids of a translation of a source of that many."""
    return np.ceil(config.max_length_factor * length) + config.max_length_offset


def _align(networks, params, source, target):
    weights = []
    for network, p in zip(networks, params, strict=True):
        previous = previous_words(target)
        found = network.apply(p, source, source != PAD, previous, capture="all").weights
        if network.alignment.by_heads:  # [B, L, N, T, S]
            found = found[:, max(0, found.shape[1] - 2)].mean(axis=1)
        weights.append(found)
    return sum(weights) / len(weights)


def predict_pairs(
    network: EncoderDecoder, params: PyTree, source, target, *, log_probs: bool = True
) -> Predicted:
    """What one network predicts for given pairs, and where every head attends."""
    apply, spec = functools.partial(network.apply, params), network.alignment
    by_heads = spec is not None and spec.by_heads
    encoded = apply(source, source != PAD, method="encode", capture="all" if by_heads else None)
    capture = None if spec is None else "all"
    hidden = apply(encoded, previous_words(target), method="decode_states", capture=capture)
    said = jax.nn.log_softmax(apply(hidden.states, method="logits")) if log_probs else None
    cross = hidden.weights
    if cross is not None and not by_heads:
        cross = cross[:, None, None]
    return Predicted(said, encoded.weights, cross, hidden.self_weights)
