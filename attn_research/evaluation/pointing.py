"""Pointing: whether attention over the regions of an image is where what a word means is."""

from typing import NamedTuple

import numpy as np

from attn_research.types import Bool, Float


class Pointing(NamedTuple):
    """Means over words: of the weight inside the gold region, and of the largest weight there."""

    weight: float
    argmax: float
    words: int


def pointing(weights: Float[np.ndarray, "W S"], regions: Bool[np.ndarray, "W S"]) -> Pointing:
    """Pointing of the weights of words; those without a gold region do not count.

    Weights are divided by their sum. Of several regions of the largest weight, which uniform
    attention has, `argmax` counts the fraction inside. ValueError where no word has a region.
    """
    has_gold = regions.any(axis=1)
    weights, regions = weights[has_gold], regions[has_gold]
    if not len(weights):
        raise ValueError("no word has a gold region to point to")
    inside = np.sum(weights * regions, axis=1) / np.sum(weights, axis=1)
    largest = weights == weights.max(axis=1, keepdims=True)
    hits = np.sum(largest & regions, axis=1) / np.sum(largest, axis=1)
    return Pointing(float(inside.mean()), float(hits.mean()), len(weights))


def uniform_weights(count: int, grid: tuple[int, int]) -> Float[np.ndarray, "count S"]:
    """The baseline of equal weights."""
    size = grid[0] * grid[1]
    return np.full((count, size), 1 / size)


def center_weights(count: int, grid: tuple[int, int]) -> Float[np.ndarray, "count S"]:
    """The baseline of the region in the middle, or the two or four around it."""
    down, across = (np.isin(np.arange(size), ((size - 1) // 2, size // 2)) for size in grid)
    chosen = np.outer(down, across).ravel()
    return np.tile(chosen / chosen.sum(), (count, 1))
