"""Inference with recognisers of speech: search, and weights of given transcripts."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from attn_research.data.text.tokenizers import BOS, EOS, PAD, UNK
from attn_research.decoding import Hypotheses, Vocabulary, beam_search
from attn_research.layers.contracts import EncoderDecoder
from attn_research.training.cores import over_cores
from attn_research.types import Array, Float
from experiments.tasks.decoding import mean_step, previous_words
from experiments.tasks.speech.networks import valid_frames

STEP_FRAMES = 2  # of the features, for each state that is attended to


@functools.cache
def searcher(
    networks: Sequence[EncoderDecoder], beam_size: int, max_length: int
) -> Callable[..., Hypotheses]:
    """Beam search over the mean next-token distribution of some networks; a beam of 1 is greedy.

    A function of their parameters, features and numbers of frames.
    """

    def search(params: tuple, features: Array, frames: Array) -> Hypotheses:
        valid = valid_frames(features, frames)
        encoded = [
            network.apply(each, features, valid, method="encode")
            for network, each in zip(networks, params, strict=True)
        ]
        states = [
            network.apply(each, one, max_length, method="begin")
            for network, each, one in zip(networks, params, encoded, strict=True)
        ]
        return beam_search(
            mean_step(networks, params, [one.memory for one in encoded]),
            states,
            jnp.full(features.shape[0], max_length, jnp.int32),
            max_length=max_length,
            beam_size=beam_size,
            vocabulary=Vocabulary(PAD, BOS, EOS, (UNK,)),
            alpha=1.0,
            n_best=1,
        )

    return over_cores(search)


@functools.cache
def aligner(network: EncoderDecoder) -> Callable[..., Float[Array, "B L N T S"]]:
    """The cross-attention of every head, the row of each token that is predicted.

    A function of parameters, features, numbers of frames and target ids.
    """

    def align(params: Any, features: Array, frames: Array, target: Array) -> Array:
        valid = valid_frames(features, frames)
        return network.apply(params, features, valid, previous_words(target), capture="all").weights

    return over_cores(align)


def word_rows(
    weights: Float[np.ndarray, "*heads T S"], counts: Sequence[int]
) -> Float[np.ndarray, "*heads words S"]:
    """The mean of the rows of each word, of `counts` tokens each; what is after them is dropped."""
    ends = np.cumsum(counts)
    parts = [
        weights[..., end - count : end, :].mean(axis=-2)
        for count, end in zip(counts, ends, strict=True)
    ]
    return np.stack(parts, axis=-2)
