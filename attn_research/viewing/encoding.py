"""Weights as bytes of a page: of each row the columns above a bound, in 16 bits each.

A value is kept in steps of the largest weight / 65,535, which is exact to 0.000008 where weights
are at most 1. What is not kept lies between 0 and the bound; as half the bound it is read back
within 1/255. Small arrays are kept whole.
"""

import base64
import dataclasses
import functools
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from attn_research.evaluation.rollout import rollouts
from attn_research.types import Float, Int
from attn_research.viewing.views import View

STEPS = 65_535
MAX_BYTES = 4_400_000  # of the weights of a page
# Bounds, in units of the largest weight or of 1; the first keeps whatever is not rounded to 0.
_BOUNDS = (0.5 / STEPS, 1 / 4096, 1 / 1024, 1 / 510, 1 / 255, 2 / 255)
_BYTES = 3  # a kept weight takes two to three, compressed and in base64


@dataclasses.dataclass(frozen=True, eq=False)
class Heads:
    """The heads of a view and, where there are, the mean of each layer and the rollout up to it."""

    view: View

    @property
    def names(self) -> list[str]:
        """The numbers of the heads from 1, and "mean" and "rollout"."""
        found = [str(number) for number in self.view.numbers[1]]
        return found + ["mean"] * self._has_mean + ["rollout"] * (self._rollouts is not None)

    @functools.cached_property
    def scale(self) -> float:
        """The largest weight."""
        largest = max(
            float(each.max()) for each in (self.view.weights, self._rollouts) if each is not None
        )
        return largest or 1.0

    def bound(self, relative: float) -> float:
        """A bound of the weights of this view."""
        return relative * (self.scale if relative == _BOUNDS[0] else max(1.0, self.scale))

    def layers(self) -> Iterator[Float[np.ndarray, "N T S"]]:
        """The weights of all names, layer by layer."""
        for number, layer in enumerate(self.view.weights):
            more = [layer.mean(axis=0, keepdims=True)] * self._has_mean
            if self._rollouts is not None:
                more.append(self._rollouts[number][None])
            yield np.concatenate([layer, *more]) if more else layer

    @property
    def _has_mean(self) -> bool:
        return self.view.weights.shape[1] > 1

    @functools.cached_property
    def _rollouts(self) -> Float[np.ndarray, "L T S"] | None:
        """Those of several layers, the first among them and none left out."""
        count = len(self.view.weights)
        if not self.view.same or count == 1 or self.view.numbers[0] != [*range(1, count + 1)]:
            return None
        return rollouts(self.view.weights)


def choose_bound(views: Sequence[Heads], max_bytes: int = MAX_BYTES) -> float:
    """The lowest bound whose kept weights take no more bytes; the highest where none does."""
    for bound in _BOUNDS[:-1]:
        count = sum(
            int(np.count_nonzero(layer > each.bound(bound)))
            for each in views
            for layer in each.layers()
        )
        if count * _BYTES <= max_bytes:
            return bound
    return _BOUNDS[-1]


def encode(heads: Heads, bound: float) -> dict[str, Any]:
    """The kept weights of a view, the names of its layers and heads, and how to read them."""
    absolute, weights = heads.bound(bound), heads.view.weights
    parts = [_keep(layer, absolute, heads.scale) for layer in heads.layers()]
    planes = [np.concatenate(each) for each in zip(*parts, strict=True)]
    # Low and high bytes apart: most of the latter are alike.
    data = b"".join(
        half.astype(np.uint8).tobytes() for plane in planes for half in (plane & 255, plane >> 8)
    )
    sums = weights.sum(axis=-1, dtype=np.float64)
    return {
        "layers": [str(number) for number in heads.view.numbers[0]],
        "heads": heads.names,
        "scale": heads.scale,
        "bound": absolute,
        "sums_to_one": bool(np.abs(sums - 1).max() < 1e-3),
        "data": base64.b64encode(zlib.compress(data, 6)).decode(),
    }


def _keep(
    layer: Float[np.ndarray, "N T S"], bound: float, scale: float
) -> tuple[Int[np.ndarray, "_"], ...]:
    """Numbers of kept columns by row, distances between them, and values, of 16 bits each."""
    kept = layer > bound
    counts = np.count_nonzero(kept, axis=-1).ravel()
    columns = np.nonzero(kept)[-1]
    gaps = np.diff(columns, prepend=0)
    starts = (np.cumsum(counts) - counts)[counts > 0]
    gaps[starts] = columns[starts]
    values = np.rint(layer[kept].astype(np.float64) / scale * STEPS)
    return counts, gaps, values.astype(np.int64)
