"""Questions about one or several images, with an answer of one word and the region asked for."""

import dataclasses
import hashlib
import re
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8

from attn_research.data.images.scenes import covered

_WORD = re.compile(r"\w+|[^\w\s]")


class Question(NamedTuple):
    """A question about `images`, by their numbers, and its answer.

    `region` is the number of the region that it asks for, in image `place` of its own, None where
    it asks for none. Accuracies are counted by `kind`.
    """

    images: tuple[int, ...]
    text: str
    answer: str
    kind: str
    place: int = 0
    region: int | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class QuestionSet:
    """Images of one size, the regions in them, questions about them, and what is told of them.

    `descriptions` are words about each image, empty where nothing is known of it, and none at all
    where nothing is known of any.
    """

    images: UInt8[np.ndarray, "N H W 3"]
    regions: Bool[np.ndarray, "R H W"]
    questions: tuple[Question, ...]
    descriptions: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.questions)

    def cells(self, index: int, grid: tuple[int, int]) -> Bool[np.ndarray, "rows cols"] | None:
        """The cells of which the region of a question covers a quarter or more, or the most.

        None where it asks for no region.
        """
        number = self.questions[index].region
        if number is None:
            return None
        rows, columns = grid
        region = self.regions[number]
        return covered(region.reshape(rows, len(region) // rows, columns, -1).mean(axis=(1, 3)))

    def fingerprint(self) -> str:
        """The SHA-256, in hex, of images, questions and answers."""
        digest = hashlib.sha256(np.ascontiguousarray(self.images).data)
        for each in self.questions:
            digest.update(repr((each.images, each.text, each.answer)).encode())
        return digest.hexdigest()


def plain(text: str) -> str:
    """A question in lower case, with spaces between words and marks."""
    return " ".join(_WORD.findall(text.lower()))
