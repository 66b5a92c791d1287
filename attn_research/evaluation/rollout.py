"""How much of the input reaches each place through all layers of attention."""

import numpy as np

from attn_research.types import Float


def rollout(weights: Float[np.ndarray, "L N P P"]) -> Float[np.ndarray, "P P"]:
    """Attention rollout: the product over layers of the mean of heads, half of it the identity.

    Abnar, Zuidema 2020: a residual connection keeps half of what a place holds. Row i
    says from which inputs the output at i comes; rows sum to 1 where rows of weights do.
    """
    places = weights.shape[-1]
    total = np.eye(places)
    for layer in weights.mean(axis=1):
        total = (layer + np.eye(places)) / 2 @ total
    return total
