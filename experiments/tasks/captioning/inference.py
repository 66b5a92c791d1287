"""Captions by beam search, and where given words point."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from attn_research.data.text.tokenizers import BOS, EOS, PAD, UNK
from attn_research.decoding import Hypotheses, Vocabulary, beam_search
from attn_research.models.captioner import Captioner
from attn_research.training.cores import over_cores
from attn_research.types import Array, Float, Int, PyTree, UInt
from experiments.tasks.decoding import mean_step, previous_words
from experiments.tasks.images import as_floats


class Written(NamedTuple):
    """The ids of a caption, without the end, its log probability, and the weights of its words."""

    ids: Int[np.ndarray, "T"]
    log_prob: float
    weights: Float[np.ndarray, "T S"] | None


class Members(NamedTuple):
    """One trained network, or several whose next-word distributions are averaged."""

    networks: tuple[Captioner, ...]
    params: tuple[PyTree, ...]

    def write(
        self, images: UInt[np.ndarray, "B H W C"], beam_size: int, max_words: int
    ) -> list[Written]:
        """The best caption of each image."""
        found = _search(self.networks, beam_size, max_words + 1)(self.params, images)
        tokens, lengths = np.asarray(found.tokens[:, 0]), np.asarray(found.lengths[:, 0])
        weights = None if found.extras is None else np.asarray(found.extras[:, 0])
        return [
            Written(
                tokens[i, : lengths[i] - 1],
                float(found.log_probs[i, 0]),
                None if weights is None else weights[i, : lengths[i] - 1],
            )
            for i in range(len(images))
        ]

    def point(
        self, images: UInt[np.ndarray, "B H W C"], target: Int[np.ndarray, "B T"]
    ) -> Float[np.ndarray, "B T S"] | None:
        """The weights of each word, given the image and the words before it, of one network."""
        found = _point(self.networks[0])(self.params[0], images, target)
        return None if found is None else np.asarray(found)


@functools.cache
def _search(
    networks: tuple[Captioner, ...], beam_size: int, max_length: int
) -> Callable[..., Hypotheses]:
    def search(params: Sequence[PyTree], images: Array) -> Hypotheses:
        pairs = list(zip(networks, params, strict=True))
        encoded = [n.apply(p, as_floats(images), method="encode") for n, p in pairs]
        memories = [one.memory for one in encoded]
        return beam_search(
            mean_step(networks, params, memories, capture="all"),
            [one.state for one in encoded],
            jnp.full(len(images), max_length, jnp.int32),
            max_length=max_length,
            beam_size=beam_size,
            vocabulary=Vocabulary(PAD, BOS, EOS, (UNK,)),
            n_best=1,
        )

    return over_cores(search)


@functools.cache
def _point(network: Captioner) -> Callable[..., Array | None]:
    def point(params, images, target):
        return network.apply(params, as_floats(images), previous_words(target)).weights

    return over_cores(point)
