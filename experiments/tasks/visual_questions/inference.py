"""Answers of networks, and where the words of a question and of its images attend to."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from attn_research.training.cores import over_cores
from attn_research.types import Array, Float, PyTree
from experiments.tasks.images import as_floats
from experiments.tasks.visual_questions.data import Encoded

LAST = "last word"
WORDS = LAST, "image word"


class Answers(NamedTuple):
    """The distribution of the answer, and the attention of two words before it.

    Weights are those of each layer and head to the cells of the images, of `WORDS`: of the last
    word of the question, and to each image of the word that stands for it. `words` are the means
    over layers and heads of every word. None of a network without images, and of several networks.
    """

    probs: Float[Array, "B V"]
    weights: Float[Array, "B W L N I P"] | None
    words: Float[Array, "B T I P"] | None


def at_places(values: Float[Array, "B T *rest"], places: Array) -> Float[Array, "B *rest"]:
    """The value of each row at its place."""
    index = places.reshape(-1, *(1,) * (values.ndim - 1))
    return jnp.take_along_axis(values, index, axis=1)[:, 0]


def answer(networks: Sequence[nn.Module], params: Sequence[PyTree], batch: Encoded) -> Answers:
    """The answers of one network, or of the mean distribution of several."""
    found = _program(tuple(networks))(tuple(params), *batch)
    return jax.tree.map(np.asarray, found)


@functools.cache
def _program(networks: tuple[nn.Module, ...]) -> Callable[..., Answers]:
    capture = "all" if len(networks) == 1 else None

    def program(params, images, ids, places):
        before, probs, weights, words = jnp.maximum(places - 1, 0), [], None, None
        for network, p in zip(networks, params, strict=True):
            found = network.apply(p, ids[:, :-1], as_floats(images), capture=capture)
            probs.append(jax.nn.softmax(at_places(found.logits, before)))
            if found.weights is not None:
                last = at_places(jnp.moveaxis(found.weights, 3, 1), before)
                of_images = found.weights[:, :, :, : images.shape[1]]  # images come first
                own = jnp.einsum("b l n i i p -> b l n i p", of_images)
                weights = jnp.stack([last, own], axis=1)
                words = found.weights.mean(axis=(1, 2))
        return Answers(sum(probs) / len(probs), weights, words)

    return over_cores(program)
