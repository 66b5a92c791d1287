"""Attention as it is viewed: weights by layer and head, labels, and a picture behind columns."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from attn_research.types import Float, Shaped

END = "<end>"
_LONGEST = 65_535  # rows or columns, which a page counts in 16 bits


class Mark(NamedTuple):
    """A cell that is outlined, with the name of what it is."""

    row: int
    column: int
    name: str


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """Pixels of bytes that a grid of patches covers; a patch for each column from `first` on.

    Columns before `first` are of no patch, such as a class token. The patches of a spectrogram
    are a grid of one row.
    """

    pixels: Shaped[np.ndarray, "H W C"]
    grid: tuple[int, int]
    first: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class View:
    """The weights of one kind of attention, with a label for each row and column.

    Row t of weights [L, N, T, S] is what position t attends to. An axis with one more entry than
    labels ends with the end symbol. `layers` and `heads` are the numbers of those that are given,
    counted from 0; all of them where None. With `same` rows and columns are the same positions, so
    that there is a rollout. `start` is the (layer, head, row) that is shown first; the head after
    the last is their mean. ValueError for weights that are negative or not finite, and for labels
    that do not fit.
    """

    name: str
    weights: Float[np.ndarray, "L N T S"]
    rows: Sequence[str]
    columns: Sequence[str]
    _: dataclasses.KW_ONLY
    same: bool = False
    layers: Sequence[int] | None = None
    heads: Sequence[int] | None = None
    picture: Picture | None = None
    marks: Sequence[Mark] = ()
    start: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self):
        where = f"attention {self.name!r}"
        _check(self.weights, where)
        for axis, size, labels in (
            ("rows", self.weights.shape[2], self.rows),
            ("columns", self.weights.shape[3], self.columns),
        ):
            if not 0 <= size - len(labels) <= 1:
                raise ValueError(
                    f"{where}: {size} {axis} of weights and {len(labels)} labels; give one for each"
                )
        picture = self.picture
        if picture is not None:
            patches = picture.grid[0] * picture.grid[1]
            if picture.first < 0 or picture.first + patches != self.weights.shape[3]:
                raise ValueError(
                    f"{where}: {self.weights.shape[3]} columns do not end with the {patches} "
                    f"patches of a grid of {picture.grid[0]} x {picture.grid[1]}"
                )

    @property
    def labels(self) -> tuple[list[str], list[str]]:
        """The labels of all rows and of all columns."""
        sizes, both = self.weights.shape[2:], (self.rows, self.columns)
        return tuple([*map(str, each), END][:size] for size, each in zip(sizes, both, strict=True))

    @property
    def numbers(self) -> tuple[list[int], list[int]]:
        """The numbers of layers and of heads, counted from 1."""
        layers, heads = (
            [number + 1 for number in (range(size) if given is None else given)]
            for size, given in zip(self.weights.shape, (self.layers, self.heads), strict=False)
        )
        return layers, heads


def _check(weights: np.ndarray, where: str) -> None:
    if weights.ndim != 4 or not weights.size:
        raise ValueError(f"{where}: weights {weights.shape}, which are not [L, N, T, S]")
    if max(weights.shape[2:]) > _LONGEST:
        raise ValueError(
            f"{where}: {max(weights.shape[2:]):,} positions are more than {_LONGEST:,}"
        )
    least, most = float(weights.min()), float(weights.max())
    if not np.isfinite([least, most]).all():
        raise ValueError(f"{where}: weights are not finite")
    if least < 0:
        raise ValueError(f"{where}: a weight is {least:.3g}; give weights after the softmax")


def as_weights(weights: Any) -> Float[np.ndarray, "L N T S"]:
    """Weights [T, S], [N, T, S] or [L, N, T, S], of whatever NumPy reads, as float32 [L, N, T, S].

    A batch of one is taken as well: [L, 1, N, T, S], or one array [1, N, T, S] for each layer.
    """
    try:
        found = np.asarray(weights)
        if found.ndim == 5 and found.shape[1] == 1:
            found = found[:, 0]
        found = found.astype(np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"weights are no array of numbers ({error})") from None
    if not 2 <= found.ndim <= 4:
        raise ValueError(
            f"weights have the shape {found.shape}; give [T, S], [N, T, S] or [L, N, T, S]"
        )
    return found.reshape((1,) * (4 - found.ndim) + found.shape)


def patches_view(
    weights: Float[np.ndarray, "L N P P"],
    pixels: Shaped[np.ndarray, "H W C"],
    grid: tuple[int, int],
) -> View:
    """Self-attention over the patches of an image, after the class token if there is one.

    It begins with the mean of the last layer's heads, of the first position.
    """
    first = weights.shape[-1] - grid[0] * grid[1]
    labels = ["class token"] * first
    labels += [f"{row + 1}, {column + 1}" for row, column in np.ndindex(*grid)]
    start = (len(weights) - 1, weights.shape[1] if weights.shape[1] > 1 else 0, 0)
    picture = Picture(pixels, grid, first)
    return View("self-attention", weights, labels, labels, same=True, picture=picture, start=start)


# The titles of what encoder-decoders attend by, in order.
_OF_PAIRS = {
    "alignment": "alignment",
    "encoder": "encoder self-attention",
    "cross": "cross-attention",
    "decoder": "decoder self-attention",
}


def pair_views(
    words: tuple[Sequence[str], Sequence[str]], weights: Mapping[str, Float[np.ndarray, "L N T S"]]
) -> dict[str, View]:
    """Views of an encoder-decoder over source and target words, by what it attends by, in order.

    That is "alignment", of a recurrent network, or "encoder", "cross" and "decoder". A row stands
    for the target word that its step predicts. The columns of the decoder's self-attention are the
    words that its steps read, of which the first is none.
    """
    source, target = words
    sides = {"encoder": (source, source), "decoder": (target, ["<start>", *target])}
    found = {}
    for name, title in _OF_PAIRS.items():
        if name in weights:
            _, _, *sizes = weights[name].shape
            both = sides.get(name, (target, source))
            rows, columns = (labels[:size] for labels, size in zip(both, sizes, strict=True))
            found[name] = View(title, weights[name], rows, columns, same=name in sides)
    return found


def spectrogram(values: Float[np.ndarray, "mels frames"], columns: int) -> Picture:
    """The picture of a spectrogram that so many columns cover, low frequencies at the bottom."""
    least, most = float(values.min()), float(values.max())
    bytes_ = (values[::-1] - least) * (255 / max(most - least, 1e-9))
    return Picture(np.round(bytes_).astype(np.uint8)[..., None], (1, columns))
