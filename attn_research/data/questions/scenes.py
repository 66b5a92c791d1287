"""Questions about one drawn scene, or about the first or the second of two.

Of two scenes the question would have another answer in the one that it does not ask for, so that
whoever sees both has to know which is which.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from attn_research.data.images.scenes import KINDS, Scene, SceneObject, Scenes
from attn_research.data.questions.asked import Question, QuestionSet

ORDINALS = ("first", "second")
ONE = "one image"
KINDS_OF_QUESTIONS = (ONE, *(f"{ordinal} of two" for ordinal in ORDINALS))
_TRIES = 100  # scenes that are looked at for one in which the answer is another


class Query(NamedTuple):
    """The color of a kind, the kind of a color, or whether there is an object of both."""

    color: str | None
    kind: str | None

    @property
    def text(self) -> str:
        """The question."""
        if self.color is None:
            return f"what color is the {self.kind} ?"
        if self.kind is None:
            return f"what is the {self.color} thing ?"
        return f"is there a {self.color} {self.kind} ?"

    def ask(self, objects: Sequence[SceneObject]) -> tuple[str | None, int | None]:
        """The answer, and which object it is of; None where there is no such thing."""
        for number, each in enumerate(objects):
            if self.color in (None, each.color) and self.kind in (None, each.kind):
                answer = each.color if self.color is None else each.kind
                return ("yes" if self.color and self.kind else answer), number
        return ("no" if self.color and self.kind else None), None


@dataclasses.dataclass(frozen=True)
class SceneQuestions:
    """Settings of scenes, how many there are, and how many questions."""

    scenes: Scenes
    num_scenes: int
    num_questions: int

    def split(self, number: int) -> QuestionSet:
        """The scenes and questions of a split by its number."""
        return _split(self, number)


@functools.lru_cache(maxsize=3)
def _split(settings: SceneQuestions, number: int) -> QuestionSet:
    drawn = [settings.scenes.draw((number, 0), index) for index in range(settings.num_scenes)]
    size = settings.scenes.size
    regions, first = [], []  # and the number of the first region of each scene
    for scene in drawn:
        first.append(len(regions))
        for left, top, right, bottom in (each.box for each in scene.objects):
            region = np.zeros((size, size), bool)
            region[top:bottom, left:right] = True
            regions.append(region)
    rng = np.random.default_rng((number, 1))
    questions = tuple(_question(rng, drawn, first) for _ in range(settings.num_questions))
    pixels = np.stack([scene.pixels for scene in drawn])
    told = tuple(" ".join(each.name for each in scene.objects) for scene in drawn)
    return QuestionSet(pixels, np.stack(regions), questions, told)


def _question(rng: np.random.Generator, drawn: Sequence[Scene], first: Sequence[int]) -> Question:
    index = int(rng.integers(len(drawn)))
    objects, place = drawn[index].objects, int(rng.integers(-1, len(ORDINALS)))
    query, other = _query(rng, objects), 0
    if place >= 0:
        query, other = _with_other(rng, drawn, query, objects)
    answer, which = query.ask(objects)
    region = None if which is None else first[index] + which
    if place < 0:
        return Question((index,), query.text, answer, ONE, 0, region)
    images = (index, other) if place == 0 else (other, index)
    text = f"in the {ORDINALS[place]} image , {query.text}"
    return Question(images, text, answer, f"{ORDINALS[place]} of two", place, region)


def _query(rng: np.random.Generator, objects: Sequence[SceneObject]) -> Query:
    """One of the three questions; half of those for an object of both are answered by no."""
    one, other = (objects[int(rng.integers(len(objects)))] for _ in range(2))
    asked = int(rng.integers(4))
    if asked == 0:
        return Query(None, one.kind)
    if asked == 1:
        return Query(one.color, None)
    if asked == 2:
        return Query(one.color, one.kind)
    kind = other.kind if other != one else str(rng.choice([k for k in KINDS if k != one.kind]))
    return Query(one.color, kind)


def _with_other(
    rng: np.random.Generator,
    drawn: Sequence[Scene],
    query: Query,
    objects: Sequence[SceneObject],
) -> tuple[Query, int]:
    """The query, and a scene in which its answer is another, or else one in which there is none.

    Where it is answered by no, it is changed to ask for an object of that scene.
    """
    answer, without = query.ask(objects)[0], None
    for found in rng.integers(len(drawn), size=_TRIES).tolist():
        if answer == "no":
            one = drawn[found].objects[int(rng.integers(len(drawn[found].objects)))]
            query = Query(one.color, one.kind)
            if query.ask(objects)[0] == "no":
                return query, found
            continue
        there, _ = query.ask(drawn[found].objects)
        if there is None:
            without = found
        elif there != answer:
            return query, found
    return query, found if without is None else without
