"""Pathfinder: two circles in a picture of dashed paths; does one path join them?

Linsley et al. 2018, drawn anew; Tay et al. 2020, section 3.2.5, read it as a sequence of pixels.
"""

import dataclasses
import itertools
import math
import random
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

from PIL import Image, ImageDraw

from attn_research.data.sequences.drawn import DrawnCorpus
from attn_research.data.text.labelled import Example

SHARP = 4  # pixels drawn for one of the picture
DASH, GAP, RADIUS = 2.5, 1.5, 1.5  # pixels of the picture
APART = 3.0  # pixels between two paths, at least
TURN = 0.9  # radians between dashes, at most
ALIKE = 0.5  # pixels, at most, between the two distances that a circle may have to the other


class Dash(NamedTuple):
    """A dash, in pixels of the picture."""

    start: tuple[float, float]
    end: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Pathfinder(DrawnCorpus):
    """Pictures of `size` x `size` pixels, a text of their gray levels by row, "0" to "15".

    Two long paths of `dashes` dashes, and `distractors` short ones of a third as many. A circle is
    at one end of the first path; the other is at its other end, or at the end of the second path
    that is as far, so that distance does not tell whether a path joins them.
    """

    _: dataclasses.KW_ONLY
    size: int = 32
    dashes: int = 6
    distractors: int = 4

    name: ClassVar[str] = "pathfinder"

    @property
    def classes(self) -> tuple[str, ...]:
        return "apart", "joined"

    def draw(self, rng: random.Random) -> Example:
        image, label = self.picture(rng)
        return Example((" ".join(str(level // 16) for level in image.tobytes()),), label)

    def picture(self, rng: random.Random) -> tuple[Image.Image, str]:
        """A gray picture, and its class."""
        paths = next(found for found in self._pairs(rng) if _is_alike(found))
        for _ in range(self.distractors):
            if path := self._path(rng, max(1, self.dashes // 3), paths):
                paths.append(path)
        label = rng.choice(self.classes)
        other = paths[0][-1].end if label == "joined" else paths[1][-1].end
        canvas = Image.new("L", (self.size * SHARP,) * 2)
        pen = ImageDraw.Draw(canvas)
        for dash in (dash for path in paths for dash in path):
            line = [value * SHARP for point in dash for value in point]
            pen.line(line, fill=255, width=SHARP)
        for x, y in (paths[0][0].start, other):
            box = [(value + side * RADIUS) * SHARP for side in (-1, 1) for value in (x, y)]
            pen.ellipse(box, fill=255)
        return canvas.resize((self.size, self.size), Image.Resampling.BOX), label

    def _pairs(self, rng: random.Random) -> Iterator[list[list[Dash]]]:
        """Pairs of long paths, in both orders and each in both directions."""
        while True:
            first = self._path(rng, self.dashes, [])
            second = self._path(rng, self.dashes, [first]) if first else []
            if second:
                for pair in itertools.permutations((first, second)):
                    yield from map(list, itertools.product(*((x, _reversed(x)) for x in pair)))

    def _path(self, rng: random.Random, count: int, others: list[list[Dash]]) -> list[Dash]:
        """A path that keeps away from others and from itself; none where 50 attempts fail."""
        for _ in range(50):
            path = self._attempt(rng, count, others)
            if len(path) == count:
                return path
        return []

    def _attempt(self, rng: random.Random, count: int, others: list[list[Dash]]) -> list[Dash]:
        low, high = 2 * RADIUS, self.size - 2 * RADIUS
        x, y = rng.uniform(low, high), rng.uniform(low, high)
        angle, path = rng.uniform(0, 2 * math.pi), []
        taken = [dash for each in others for dash in each]
        for _ in range(count):
            dx, dy = math.cos(angle), math.sin(angle)
            dash = Dash((x, y), (x + DASH * dx, y + DASH * dy))
            inside = all(low <= value <= high for value in dash.end)
            if not inside or _near(dash, taken) or _near(dash, path[:-1]):
                break
            path.append(dash)
            x, y = dash.end[0] + GAP * dx, dash.end[1] + GAP * dy
            angle += rng.uniform(-TURN, TURN)
        return path


def _reversed(path: list[Dash]) -> list[Dash]:
    return [Dash(dash.end, dash.start) for dash in reversed(path)]


def _is_alike(paths: list[list[Dash]]) -> bool:
    """Whether the ends of two paths are about as far from the start of the first."""
    start = paths[0][0].start
    own, other = (math.dist(start, path[-1].end) for path in paths)
    return abs(own - other) <= ALIKE


def _near(dash: Dash, others: list[Dash]) -> bool:
    """Whether a dash comes too near to one of others, by their ends and middles."""
    return any(
        math.dist(a, b) < APART for other in others for a in _points(dash) for b in _points(other)
    )


def _points(dash: Dash) -> tuple[tuple[float, float], ...]:
    middle = tuple((a + b) / 2 for a, b in zip(*dash, strict=True))
    return dash.start, middle, dash.end
