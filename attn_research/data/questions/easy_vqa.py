"""easy-VQA: questions about one colored shape on a light ground (Zhou 2019)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from attn_research.data.arrays import cut, read_arrays
from attn_research.data.download import find_data_file
from attn_research.data.files import read_lines
from attn_research.data.images.files import decode
from attn_research.data.questions.asked import Question, QuestionSet, plain

SIZE = 64  # pixels of a side
FILES = {"train": "easy_vqa/train", "test": "easy_vqa/test"}
COLORS = ("black", "gray", "red", "green", "blue", "yellow", "teal", "brown")
SHAPES = ("circle", "rectangle", "triangle")
ANSWERS = ("yes", "no", *COLORS, *SHAPES)
_LIGHT = 190  # no channel of the ground is below it, some channel of every shape is


def read_easy_vqa(data_dir: str | Path | None, split: str) -> QuestionSet:
    """A split of the folder of data sets; of train the last tenth of the images is dev.

    ValueError where a file is damaged, FileNotFoundError where there is none.
    """
    name = FILES["test" if split == "test" else "train"]
    path = find_data_file(f"{name}.npz", data_dir)
    arrays = read_arrays(path, ("png", "offsets"))
    files = enumerate(cut(arrays["png"], arrays["offsets"], path))
    if len(arrays["offsets"]) < 2:
        raise ValueError(f"{path} holds no images: replace it")
    images = np.stack([_pixels(content.tobytes(), f"image {i} of {path}") for i, content in files])
    asked = find_data_file(f"{name}.questions.tsv.gz", data_dir)
    questions = [
        _question(line, len(images), f"{asked}, line {number}")
        for number, line in enumerate(read_lines(asked), 1)
    ]
    if split != "test":
        first = len(images) - len(images) // 10
        questions = [x for x in questions if (x.images[0] >= first) == (split == "dev")]
    if not questions:
        raise ValueError(f"{asked} has too few lines for questions of {split}: replace it")
    told = _descriptions(questions, len(images))
    return QuestionSet(images, images.min(axis=-1) < _LIGHT, tuple(questions), told)


def _descriptions(questions: Sequence[Question], num_images: int) -> tuple[str, ...]:
    """The color and the shape of each image, as far as answers name them."""
    told = {(each.images[0], each.kind): each.answer for each in questions}
    kinds = "color", "shape"
    return tuple(
        " ".join(told[image, kind] for kind in kinds if (image, kind) in told)
        for image in range(num_images)
    )


def _pixels(content: bytes, where: str) -> UInt8[np.ndarray, "SIZE SIZE 3"]:
    pixels = decode(content, where)
    if pixels.shape != (SIZE, SIZE, 3):
        raise ValueError(f"{where} has {pixels.shape[:2]} pixels, not {SIZE} x {SIZE}: replace it")
    return pixels


def _question(line: str, num_images: int, where: str) -> Question:
    fields = line.split("\t")
    if len(fields) != 3 or not fields[0].isdecimal() or int(fields[0]) >= num_images:
        raise ValueError(f"{where}: not the number of an image, an answer and a question")
    number, answer, text = fields
    if answer not in ANSWERS:
        raise ValueError(f"{where}: the answer {answer[:40]!r} is none of {', '.join(ANSWERS)}")
    kind = "yes or no" if answer in ("yes", "no") else "color" if answer in COLORS else "shape"
    return Question((int(number),), plain(text), answer, kind, region=int(number))
