"""Questions about images by config, encoded."""

import dataclasses
import functools
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt8

from attn_research.data.batching import epoch_order
from attn_research.data.images.scenes import Scenes
from attn_research.data.prefetch import prefetch
from attn_research.data.questions.asked import Question, QuestionSet, plain
from attn_research.data.questions.easy_vqa import SIZE, read_easy_vqa
from attn_research.data.questions.nlvr import read_nlvr
from attn_research.data.questions.scenes import SceneQuestions
from attn_research.data.text.tokenizers import PAD, SPECIALS, WordTokenizer
from experiments.tasks.visual_questions.config import CELL, VisualQuestionsConfig

SPLITS = ("train", "dev", "test")
DESCRIBED = 0.8  # of the texts that a language model learns with descriptions, the share with some
IMAGE, IMAGE_ID = "<image>", len(SPECIALS)  # the word that stands for an image is the first


class Encoded(NamedTuple):
    """A batch: images, zero where a question has fewer, ids, and where in them the answer is.

    Rows without a question have the place 0.
    """

    images: UInt8[np.ndarray, "B I H W 3"]
    ids: Int[np.ndarray, "B T"]
    places: Int[np.ndarray, "B"]


class Texts(NamedTuple):
    """The ids of questions with their answers, and where the answers are."""

    ids: Int[np.ndarray, "M T"]
    places: Int[np.ndarray, "M"]


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """The questions of a split, encoded, and with the descriptions of their images."""

    source: QuestionSet
    texts: Texts
    described: Texts
    num_images: int

    def __len__(self) -> int:
        return len(self.source)

    def batch(
        self,
        chosen: Sequence[int],
        rows: int,
        described: Bool[np.ndarray, "N"] | None = None,
    ) -> Encoded:
        """Some questions, in a batch of `rows`; those `described` have words for images."""
        shape = rows, self.num_images, *self.source.images.shape[1:]
        images = np.zeros(shape, np.uint8)
        width = (self.texts if described is None else self.described).ids.shape[1]
        ids = np.full((rows, width), PAD, np.int32)
        places = np.zeros(rows, np.int32)
        for row, index in enumerate(chosen):
            numbers = self.source.questions[index].images
            images[row, : len(numbers)] = self.source.images[list(numbers)]
            told = described is not None and described[row]
            text = self.described if told else self.texts
            ids[row, : text.ids.shape[1]], places[row] = text.ids[index], text.places[index]
        return Encoded(images, ids, places)

    def ordered(self, size: int, every: int = 1) -> Iterator[tuple[range, Encoded]]:
        """Batches of each question once, or of each `every`th, with their numbers."""
        chosen = range(0, len(self), every)
        for start in range(0, len(chosen), size):
            members = chosen[start : start + size]
            yield members, self.batch(members, size)

    def shuffled(
        self, size: int, rows: slice, *, seed: int, start: int, described: bool = False
    ) -> Iterator[Encoded]:
        """Endless training batches of `size` from number `start` on, some rows of each.

        Rows past the size are empty. With `described` most have words for their images.
        """
        per_epoch = len(self) // size

        def make(number: int) -> Encoded:
            epoch, number = divmod(int(number), per_epoch)
            members = epoch_order(seed, epoch, len(self))[number * size : (number + 1) * size]
            told = None
            if described:
                told = np.random.default_rng((seed, epoch, number)).random(size) < DESCRIBED
                told = told[rows]
            return self.batch(members[rows], rows.stop - rows.start, told)

        return prefetch(make, start)


def question_set(config: VisualQuestionsConfig, split: str) -> QuestionSet:
    """The images and questions of a split."""
    if config.data == "scenes":
        return _scene_questions(config, split).split(SPLITS.index(split))
    read = read_easy_vqa
    if config.data == "nlvr":
        read = functools.partial(read_nlvr, size=config.image_size)
    return _read(read, config.data_dir or None, split)


def _scene_questions(config, split):
    scenes, count = config.num_scenes, config.num_questions
    if split != "train":
        scenes, count = max(1, scenes // 4), config.test_questions
    drawn = Scenes(config.image_size, config.grid[0], max_objects=config.max_objects)
    return SceneQuestions(drawn, scenes, count)


@functools.lru_cache(maxsize=6)  # the rows of a table share their images
def _read(read, data_dir, split):
    return read(data_dir, split)


def check(config: VisualQuestionsConfig) -> None:
    """ValueError for images of a size that the data does not have, or that cells do not divide."""
    if config.image_size % CELL:
        raise ValueError(f"--image_size={config.image_size}: give a multiple of {CELL}")
    if config.data == "easy_vqa" and config.image_size != SIZE:
        raise ValueError(f"--image_size={config.image_size}: easy_vqa has images of {SIZE} pixels")
    if config.data == "scenes":
        _scene_questions(config, "train")


def make_tokenizer(config: VisualQuestionsConfig, train: QuestionSet) -> WordTokenizer:
    """The words of the training questions and answers, and the one that stands for an image."""
    lines = (f"{each.text} {each.answer}" for each in train.questions)
    words = WordTokenizer.build(lines, size=config.vocab_size - len(SPECIALS) - 1)
    return WordTokenizer((IMAGE, *words.shortlist))


def encode(
    config: VisualQuestionsConfig,
    tokenizer: WordTokenizer,
    questions: Sequence[Question],
    descriptions: Sequence[str] = (),
) -> Texts:
    """The ids of texts, images first, each before its description, if any.

    ValueError for a long question.
    """
    length = config.described_length if descriptions else config.length
    ids = np.full((len(questions), length), PAD, np.int32)
    places = np.zeros(len(questions), np.int32)
    for row, each in enumerate(questions):
        words = each.text.split()
        if len(words) > config.max_words:
            raise ValueError(
                f"a question of {len(words)} words and marks, {each.text[:60]!r}: give "
                f"--max_words={len(words)}"
            )
        told = [[IMAGE, *(descriptions[i].split() if descriptions else ())] for i in each.images]
        words = [*itertools.chain(*told), *words, each.answer]
        ids[row, : len(words)], places[row] = tokenizer.encode_words(words), len(words) - 1
    return Texts(ids, places)


def make_split(
    config: VisualQuestionsConfig, tokenizer: WordTokenizer, source: QuestionSet
) -> Split:
    """A split, encoded."""
    texts = encode(config, tokenizer, source.questions)
    described = encode(config, tokenizer, source.questions, source.descriptions)
    return Split(source, texts, described, config.num_images)


def guesses(train: QuestionSet, test: QuestionSet) -> dict[str, float]:
    """The accuracy of guessing without an image.

    By the commonest answer of the training set, and by the commonest of each question there.
    """
    overall = Counter(each.answer for each in train.questions)
    by_text: dict[str, Counter[str]] = {}
    for each in train.questions:
        by_text.setdefault(plain(each.text), Counter())[each.answer] += 1
    commonest, right = overall.most_common(1)[0][0], 0
    for each in test.questions:
        found = by_text.get(plain(each.text), overall)
        right += each.answer == found.most_common(1)[0][0]
    always = sum(each.answer == commonest for each in test.questions)
    return {f"always {commonest}": always / len(test), "commonest answer": right / len(test)}
