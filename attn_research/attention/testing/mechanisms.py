"""Scores and normalizers of the conformance cases, each with its function in float64 NumPy.

A new score is a line of `SCORES`, a new normalizer one of `NORMALIZERS`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from attn_research.attention import scores
from attn_research.attention.normalizers import softmax
from attn_research.attention.sparse_normalizers import Sigmoid, entmax15, sparsemax
from attn_research.attention.testing import oracle
from attn_research.types import Array

# What the oracle takes: the result, or a pair of it and the function from its cotangent.
Exact = Callable[..., np.ndarray | tuple[np.ndarray, Callable[..., Any]]]


class ScoreCase(NamedTuple):
    """A score: its function in float64 NumPy, its class, and the shape of its parameter.

    `exact(q, k, parameter)` is a score of the oracle, of one head. `make` gives the score of its
    parameter, whose shape is a tuple, () for a scalar, or a function of H and S; None for a score
    that has no parameter, for which `make` gets None. `per_head` puts a head axis before it.
    """

    exact: Exact
    make: Callable[[Any], Callable[..., Array]]
    shape: tuple[int, ...] | Callable[[int, int], tuple[int, ...]] | None = None
    per_head: bool = False
    wider_keys: int = 0  # how much wider keys are than queries

    def parameter_shape(self, num_heads: int, width: int, num_keys: int) -> tuple[int, ...] | None:
        """The shape of the parameter in a case of those sizes."""
        if self.shape is None:
            return None
        shape = self.shape(width, num_keys) if callable(self.shape) else self.shape
        return (num_heads, *shape) if self.per_head else shape


# A score without a gradient of its own in the oracle is differentiated there numerically.
SCORES = {
    "dot": ScoreCase(oracle.dot, lambda _: scores.Dot()),
    "scaled_dot": ScoreCase(oracle.scaled_dot, lambda _: scores.ScaledDot()),
    "general": ScoreCase(oracle.general, scores.General, lambda h, s: (h, h + 1), False, 1),
    "general_per_head": ScoreCase(oracle.general, scores.General, lambda h, s: (h, h + 1), True, 1),
    "additive": ScoreCase(oracle.additive, scores.Additive, lambda h, s: (h,)),
    "additive_per_head": ScoreCase(oracle.additive, scores.Additive, lambda h, s: (h,), True),
    "location": ScoreCase(oracle.location, scores.Location, lambda h, s: (h, s + 2)),
    "location_per_head": ScoreCase(oracle.location, scores.Location, lambda h, s: (h, s - 2), True),
}


class NormalizerCase(NamedTuple):
    """A normalizer: its function in float64 NumPy, and the normalizer.

    `exact(scores, allowed)` is a normalizer of the oracle.
    """

    exact: Exact
    normalizer: Callable[..., Array]


# One without a gradient of its own in the oracle is differentiated there numerically, too.
NORMALIZERS = {
    "softmax": NormalizerCase(oracle.softmax, softmax),
    "sparsemax": NormalizerCase(oracle.sparsemax, sparsemax),
    "entmax15": NormalizerCase(oracle.entmax15, entmax15),
    "sigmoid": NormalizerCase(oracle.sigmoid, Sigmoid()),
}
# A mechanism is a score, and may have a locality or another normalizer.
MECHANISMS: dict[str, dict[str, Any]] = (
    {name: {"score": name} for name in SCORES}
    | {
        "local-m": {"score": "general", "local": "window"},
        "local-p": {"score": "general", "local": "around", "gaussian": True},
    }
    | {name: {"normalizer": name} for name in NORMALIZERS if name != "softmax"}
)
