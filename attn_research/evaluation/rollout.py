"""Attention rollout through the layers of a network."""

import numpy as np

from attn_research.types import Float


def rollout(weights: Float[np.ndarray, "L N P P"]) -> Float[np.ndarray, "P P"]:
    """Attention rollout: the product over layers of the mean of heads, half of it the identity.

    Abnar, Zuidema 2020: a residual connection keeps half of the information of a position. Row i
    is the distribution over inputs of output i; rows sum to 1 where rows of weights do.
    """
    return rollouts(weights)[-1]


def rollouts(weights: Float[np.ndarray, "L N P P"]) -> Float[np.ndarray, "L P P"]:
    """The rollout up to each layer."""
    identity = np.eye(weights.shape[-1])
    found = [identity]
    for layer in weights.mean(axis=1):
        found.append((layer + identity) / 2 @ found[-1])
    return np.stack(found[1:])
