"""Drawn scenes: colored shapes and digits, a caption from a grammar, and the region of every word.

A scene is a pure function of (settings, seed, index):

    scene = Scenes().draw(seed=0, index=7)
    scene.caption           "a red circle is left of a blue 7 and above a green square ."
    scene.pixels            [48, 48, 3] bytes
    scene.regions[1]        [6, 6], true where the red circle is, for the word "red"
    scene.objects           the objects from left to right, to ask questions about

Colors and kinds of the objects of one scene are all different, so that each of these words means
one object. A caption names the objects from left to right, the first in relation to each other.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw

COLORS = {
    "red": (220, 50, 40), "green": (40, 170, 60), "blue": (50, 90, 230),
    "yellow": (240, 210, 40), "purple": (170, 60, 200), "white": (245, 245, 245),
}  # fmt: skip
SHAPES = ("circle", "square", "triangle", "cross")
# Strokes from corner to corner of a digit, two squares one over the other.
_STROKES = {
    "top": ((0, 0), (1, 0)), "middle": ((0, 1), (1, 1)), "bottom": ((0, 2), (1, 2)),
    "upper left": ((0, 0), (0, 1)), "upper right": ((1, 0), (1, 1)),
    "lower left": ((0, 1), (0, 2)), "lower right": ((1, 1), (1, 2)),
}  # fmt: skip
# Those that a digit does not have, as on a display of seven segments.
_MISSING = {
    "0": ("middle",), "1": ("top", "middle", "bottom", "upper left", "lower left"),
    "2": ("upper left", "lower right"), "3": ("upper left", "lower left"),
    "4": ("top", "bottom", "lower left"), "5": ("upper right", "lower left"),
    "6": ("upper right",), "7": ("middle", "bottom", "upper left", "lower left"), "8": (),
    "9": ("lower left",),
}  # fmt: skip
DIGITS = tuple(_MISSING)
KINDS = SHAPES + DIGITS
RELATIONS = ("left of", "above", "below")  # of the first object of a caption to another
FUNCTION_WORDS = ("there", "is", "a", "and", "left", "of", "above", "below", ".")
WORDS = FUNCTION_WORDS + tuple(COLORS) + KINDS

_SHARP = 4  # pixels drawn for one of the picture
_COVERED = 0.25  # of a cell, for it to be in a region


class SceneObject(NamedTuple):
    """An object: its kind, a shape or a digit, its color, and its box in pixels."""

    kind: str
    color: str
    box: tuple[int, int, int, int]  # left, top, right, bottom; the last two are past the object

    @property
    def center(self) -> tuple[float, float]:
        """The middle of the box: pixels from the left, and from the top."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2

    @property
    def name(self) -> str:
        """Its color and kind, as captions have them."""
        return f"{self.color} {self.kind}"


class Scene(NamedTuple):
    """A picture, its objects from left to right, its caption and the region of each word of it.

    Regions are empty for function words and relations.
    """

    pixels: UInt8[np.ndarray, "size size 3"]
    objects: tuple[SceneObject, ...]
    words: tuple[str, ...]
    regions: Bool[np.ndarray, "T grid grid"]

    @property
    def caption(self) -> str:
        """The words with spaces between."""
        return " ".join(self.words)


def covered(shares: Float[np.ndarray, "rows cols"]) -> Bool[np.ndarray, "rows cols"]:
    """The cells of a region, by the share of each that it covers: a quarter, or else the most."""
    return shares >= min(_COVERED, shares.max())


def relation(first: SceneObject, second: SceneObject) -> str:
    """The relation of an object to one on its right; above or below where that is the wider gap."""
    across, down = (b - a for a, b in zip(first.center, second.center, strict=True))
    if across >= abs(down):
        return "left of"
    return "above" if down > 0 else "below"


@dataclasses.dataclass(frozen=True)
class Scenes:
    """Settings of scenes: pixels of a side, cells of a side, and how many objects there are.

    ValueError where the cells do not divide the pixels, or the objects do not fit.
    """

    size: int = 48
    grid: int = 6
    min_objects: int = 1
    max_objects: int = 3

    def __post_init__(self):
        if self.size % self.grid:
            raise ValueError(f"{self.size} pixels are not divided by {self.grid} cells")
        if not 1 <= self.min_objects <= self.max_objects <= 4:
            raise ValueError(f"{self.min_objects} to {self.max_objects} objects: give 1 to 4")
        if self.size < 32:
            raise ValueError(f"{self.size} pixels hold no scene: give 32 or more")

    @property
    def longest_caption(self) -> int:
        """The most words of a caption."""
        return max(6, 6 * self.max_objects - 2)

    def draw(self, seed: int | tuple[int, ...], index: int) -> Scene:
        """The scene of that number. `seed` may be several numbers, such as a seed and a split."""
        numbers = (seed,) if isinstance(seed, int) else seed
        rng = np.random.default_rng((*numbers, index))
        objects = self._objects(rng)
        words = _caption(objects)
        regions = np.zeros((len(words), self.grid, self.grid), bool)
        for each in objects:
            regions[[words.index(each.color), words.index(each.kind)]] = self.region(each.box)
        return Scene(self._picture(rng, objects), objects, words, regions)

    def region(self, box: Sequence[int]) -> Bool[np.ndarray, "grid grid"]:
        """The cells of which a box covers a quarter or more, or the most, by row and column."""
        left, top, right, bottom = box
        side = self.size // self.grid
        starts = np.arange(self.grid) * side
        across, down = (
            np.clip(np.minimum(starts + side, end) - np.maximum(starts, start), 0, side) / side
            for start, end in ((left, right), (top, bottom))
        )
        return covered(np.outer(down, across))

    def _objects(self, rng: np.random.Generator) -> tuple[SceneObject, ...]:
        count = int(rng.integers(self.min_objects, self.max_objects + 1))
        colors = rng.choice(list(COLORS), count, replace=False).tolist()
        # As many shapes as digits are seen, though there are fewer of them.
        chances = [1 / len(SHAPES)] * len(SHAPES) + [1 / len(DIGITS)] * len(DIGITS)
        kinds = rng.choice(KINDS, count, replace=False, p=np.array(chances) / 2).tolist()
        boxes = next(found for found in self._attempts(rng, count) if self._apart(found))
        found = map(SceneObject, kinds, colors, boxes)
        return tuple(sorted(found, key=lambda each: each.center))

    def _attempts(
        self, rng: np.random.Generator, count: int
    ) -> Iterator[list[tuple[int, int, int, int]]]:
        """Boxes of random sizes at random places."""
        smallest, largest = self.size * 3 // 16, self.size * 4 // 16
        while True:
            sides = rng.integers(smallest, largest + 1, count).tolist()
            corners = [rng.integers(1, self.size - side, 2).tolist() for side in sides]
            yield [(x, y, x + side, y + side) for (x, y), side in zip(corners, sides, strict=True)]

    def _apart(self, boxes: list[tuple[int, int, int, int]]) -> bool:
        """Whether no two boxes touch, and it is plain which is left, and which above."""
        least = self.size // 16
        for one, other in itertools.combinations(boxes, 2):
            gaps = [
                max(one[axis] - other[axis + 2], other[axis] - one[axis + 2]) for axis in (0, 1)
            ]
            across, down = (
                abs(one[axis] + one[axis + 2] - other[axis] - other[axis + 2]) / 2
                for axis in (0, 1)
            )
            if max(gaps) < 1 or across < least or abs(across - down) < least:
                return False
        return True

    def _picture(
        self, rng: np.random.Generator, objects: Sequence[SceneObject]
    ) -> UInt8[np.ndarray, "size size 3"]:
        background = (int(rng.integers(0, 80)),) * 3
        canvas = Image.new("RGB", (self.size * _SHARP,) * 2, background)
        pen = ImageDraw.Draw(canvas)
        for each in objects:
            left, top, right, bottom = (edge * _SHARP for edge in each.box)
            _draw_object(pen, each, (left, top, right - 1, bottom - 1))
        return np.asarray(canvas.resize((self.size,) * 2, Image.Resampling.BOX))


def _caption(objects: Sequence[SceneObject]) -> tuple[str, ...]:
    first, *others = objects
    if not others:
        return tuple(f"there is a {first.name} .".split())
    relations = [f"{relation(first, each)} a {each.name}" for each in others]
    return tuple(f"a {first.name} is {' and '.join(relations)} .".split())


def _draw_object(pen: ImageDraw.ImageDraw, each: SceneObject, box: Sequence[int]) -> None:
    left, top, right, bottom = box
    side, color = right - left, COLORS[each.color]
    if each.kind == "circle":
        pen.ellipse(box, fill=color)
    elif each.kind == "square":
        pen.rectangle(box, fill=color)
    elif each.kind == "triangle":
        pen.polygon([(left, bottom), ((left + right) / 2, top), (right, bottom)], fill=color)
    elif each.kind == "cross":
        third = side / 3
        pen.rectangle((left + third, top, right - third, bottom), fill=color)
        pen.rectangle((left, top + third, right, bottom - third), fill=color)
    else:
        _draw_digit(pen, each.kind, box, color)


def _draw_digit(
    pen: ImageDraw.ImageDraw, digit: str, box: Sequence[int], color: tuple[int, int, int]
) -> None:
    left, top, right, bottom = box
    stroke, width = (right - left) // 6, (right - left) * 0.6  # a digit is narrower than its box
    left, height = (left + right - width) / 2, (bottom - top - stroke) / 2
    for name, ends in _STROKES.items():
        if name not in _MISSING[digit]:
            (x0, y0), (x1, y1) = ((left + x * (width - stroke), top + y * height) for x, y in ends)
            pen.rectangle((x0, y0, x1 + stroke, y1 + stroke), fill=color)
