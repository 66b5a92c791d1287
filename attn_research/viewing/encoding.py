"""Weights as bytes of a page: of each row the columns above a bound, in 16 bits each.

A value is kept in steps of the largest weight / 65,535, which is exact to 0.000008 where weights
are at most 1. What is not kept lies between 0 and the bound; as half the bound it is read back
within 1/255. Small arrays are kept whole. Where more weights are large than fit, steps are 1/4,095.
"""

import base64
import dataclasses
import functools
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from attn_research.evaluation.rollout import rollouts
from attn_research.types import Float, Int
from attn_research.viewing.views import View

MAX_BYTES = 4_400_000  # of the weights of a page


class Precision(NamedTuple):
    """What is kept: weights above a bound, in so many steps up to the largest.

    The bound is in units of the largest weight, or of 1 where that is less; bytes are those of a
    weight, compressed and in base64, as measured on random weights.
    """

    bound: float
    steps: int = 65_535
    bytes: float = 3.1


# The first keeps whatever is not rounded to 0.
WHOLE = Precision(0.5 / 65_535)
_COARSER = (
    *map(Precision, (1 / 4096, 1 / 1024, 1 / 510, 1 / 255, 2 / 255)),
    Precision(2 / 255, 4_095, 2.5),
)


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

    def bound(self, precision: Precision) -> float:
        """The bound of the weights of this view."""
        return precision.bound * (self.scale if precision == WHOLE else max(1.0, self.scale))

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


def choose_precision(views: Sequence[Heads], max_bytes: int = MAX_BYTES) -> Precision:
    """The finest one whose kept weights take no more bytes; the coarsest where none does."""
    choices = (WHOLE, *_COARSER)
    counts = np.zeros(len(choices), np.int64)
    for each in views:
        bounds = [each.bound(precision) for precision in choices]
        for layer in each.layers():
            counts += [np.count_nonzero(layer > bound) for bound in bounds]
    fitting = (
        precision
        for precision, count in zip(choices, counts.tolist(), strict=True)
        if count * precision.bytes <= max_bytes
    )
    return next(fitting, choices[-1])


def encode(heads: Heads, precision: Precision) -> dict[str, Any]:
    """The kept weights of a view, the names of its layers and heads, and how to read them."""
    bound, weights = heads.bound(precision), heads.view.weights
    unit = heads.scale / precision.steps
    parts = [_keep(layer, bound, unit) for layer in heads.layers()]
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
        "steps": precision.steps,
        "bound": bound,
        "sums_to_one": bool(np.abs(sums - 1).max() < 1e-3),
        "data": base64.b64encode(zlib.compress(data, 6)).decode(),
    }


def _keep(
    layer: Float[np.ndarray, "N T S"], bound: float, unit: float
) -> tuple[Int[np.ndarray, "_"], ...]:
    """Numbers of kept columns by row, distances between them, and values in units."""
    kept = layer > bound
    counts = np.count_nonzero(kept, axis=-1).ravel()
    columns = np.nonzero(kept)[-1]
    gaps = np.diff(columns, prepend=0)
    starts = (np.cumsum(counts) - counts)[counts > 0]
    gaps[starts] = columns[starts]
    values = np.rint(layer[kept].astype(np.float64) / unit)
    return counts, gaps, values.astype(np.int64)
