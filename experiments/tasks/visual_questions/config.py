"""The config of questions about images: data, words and batches."""

import dataclasses
from typing import Literal

from experiments.harness.config import data_folder, setting

# Data sets, and the most images that a question of theirs is about.
NUM_IMAGES = {"scenes": 2, "easy_vqa": 1, "nlvr": 3}
CELL = 8  # pixels of a cell, whose weights are those of the pixels in it
_SCENES = {"data": ("scenes",)}


@dataclasses.dataclass(frozen=True)
class VisualQuestionsConfig:
    """Questions about images."""

    data: Literal[*NUM_IMAGES] = setting(
        "scenes",
        "Questions: about one drawn scene or one of two, easy-VQA's about one colored shape, or "
        "NLVR's sentences of people about three boxes of shapes, true or false.",
    )
    data_dir: str = data_folder("easy_vqa", "nlvr")
    image_size: int = setting(48, "Height and width of an image, in pixels; easy_vqa has 64.", 8)
    num_scenes: int = setting(4000, "Scenes of the training set.", 1, needs=_SCENES)
    max_objects: int = setting(2, "Most objects of a scene.", 1, needs=_SCENES)
    num_questions: int = setting(40_000, "Questions of the training set.", 1, needs=_SCENES)
    test_questions: int = setting(2000, "Questions of the test set.", 1, needs=_SCENES)
    vocab_size: int = setting(64, "Most frequent words that are known, special ones included.", 8)
    max_words: int = setting(16, "Words and marks of the longest question.", 1)
    batch_size: int = setting(64, "Questions of a batch.", 1)
    learns: Literal["answers", "texts", "described"] = setting(
        "answers",
        "Words that are learned: the answers alone, all of the questions and answers, or all of "
        "them in texts of which most tell in words what is in the images.",
    )

    @property
    def num_images(self) -> int:
        """The most images of a question."""
        return NUM_IMAGES[self.data]

    @property
    def grid(self) -> tuple[int, int]:
        """The cells down and across an image."""
        return self.image_size // CELL, self.image_size // CELL

    @property
    def length(self) -> int:
        """The ids of a text: for each image, for each word, and the answer."""
        return self.num_images + self.max_words + 1

    @property
    def described_length(self) -> int:
        """The ids of a text with the words that tell what is in its images."""
        words = {"scenes": 2 * self.max_objects, "easy_vqa": 2, "nlvr": 0}[self.data]
        return self.length + words * self.num_images


# Values of scale tiny.
TINY = dict(num_scenes=40, num_questions=80, test_questions=24, image_size=32, batch_size=8)
