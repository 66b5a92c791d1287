"""Attention rollout through all layers of a network."""

import numpy as np

from attn_research.types import Float


def rollout(weights: Float[np.ndarray, "L N P P"]) -> Float[np.ndarray, "P P"]:
    """Attention rollout: the product over layers of the mean of heads, half of it the identity.

    Abnar, Zuidema 2020: a residual connection keeps half of the information of a position. Row i
    is the distribution over inputs of output i; rows sum to 1 where rows of weights do.
    """
    num_positions = weights.shape[-1]
    total = np.eye(num_positions)
    for layer in weights.mean(axis=1):
        total = (layer + np.eye(num_positions)) / 2 @ total
    return total
