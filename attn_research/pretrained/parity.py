"""Parity of a network with the original library: arrays under its names, and where they depart."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from attn_research.pretrained.running import IMAGES, LAYERS, WEIGHTS, Arrays, real_places

# A value v may differ by ABSOLUTE + RELATIVE |v|.
ABSOLUTE = RELATIVE = 1e-4


class Difference(NamedTuple):
    """The largest difference of an array, where it is, and whether it is within the bounds."""

    name: str
    largest: float
    place: tuple[int, ...]
    holds: bool


def differences(found: Arrays, expected: Arrays, inputs: Arrays) -> Iterator[Difference]:
    """The largest difference of each expected array, at real tokens alone.

    `hidden_states.N` and `attentions.N` name those of one block, counted from 0. ValueError for an
    array that the network does not have, or of another shape.
    """
    for name, wanted in expected.items():
        array = _named(found, name)
        if array.shape != wanted.shape:
            raise ValueError(f"{name} has shape {wanted.shape}, and this model's {array.shape}")
        yield _difference(name, array, wanted, real_places(inputs, name))


def first_departure(found: Arrays, expected: Arrays, inputs: Arrays) -> str | None:
    """The first part of the network that departs from the original, and likely causes of it.

    None where nothing does, or no states or weights of layers are given.
    """
    layers, weights = expected.get(LAYERS), expected.get(WEIGHTS)
    if layers is None and weights is None:
        return None

    def departs(kind: str, number: int) -> bool:
        if kind not in expected or number >= expected[kind].shape[1]:
            return False
        pair = (arrays[kind][:, number] for arrays in (found, expected))
        return not _difference(kind, *pair, real_places(inputs, kind)).holds

    if departs(LAYERS, 0) and IMAGES in inputs:
        return (
            "the embeddings: the order of a patch's pixels, positions of another grid of patches, "
            "the class token, or the norm after them"
        )
    if departs(LAYERS, 0):
        return (
            "the embeddings: a tokenizer that is not this vocabulary's, positions that padding "
            "takes or does not, token types, or the norm after them"
        )
    for block in range(found[WEIGHTS].shape[1]):
        if departs(WEIGHTS, block):
            return (
                f"the attention weights of block {block}: the mask, the scale of the scores, the "
                "order of heads, rotary positions, or BigBird's random blocks, which the original "
                "draws otherwise and in evaluation not at all"
            )
        if departs(LAYERS, block + 1):
            return (
                f"the states after block {block}: values and output of attention, the activation, "
                "the place or epsilon of a norm"
            )
    return None


def _named(found: Arrays, name: str) -> np.ndarray:
    kind, _, number = name.partition(".")
    if kind not in found:
        raise ValueError(f"this model has no output {name}: it has {', '.join(found)}")
    if not number:
        return found[kind]
    count = found[kind].shape[1]
    if kind not in (LAYERS, WEIGHTS) or not number.isdecimal() or int(number) >= count:
        raise ValueError(f"no output {name}: {kind} has numbers from 0 to {count - 1}")
    return found[kind][:, int(number)]


def _difference(
    name: str, array: np.ndarray, wanted: np.ndarray, valid: np.ndarray | None
) -> Difference:
    """The largest difference, of rows that are real: the axis of the length of `valid` after B."""
    axis = array.ndim - 2  # [B, ..., T, D] and [B, ..., T, S]
    real = np.ones((1,) * array.ndim, bool)
    if valid is not None and array.ndim > 2:
        shape = [1] * array.ndim
        shape[0], shape[axis] = valid.shape
        real = valid.reshape(shape)
    excess = np.abs(array - wanted.astype(np.float64)) * real
    place = np.unravel_index(np.argmax(excess), excess.shape)
    holds = bool((excess <= ABSOLUTE + RELATIVE * np.abs(wanted)).all())
    return Difference(name, float(excess.max()), tuple(map(int, place)), holds)
