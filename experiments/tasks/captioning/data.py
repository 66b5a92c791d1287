"""Captioned images by config, their captions as ids, and batches of them.

A batch is {"image": uint8 [B, H, W, 3], "target": int32 [B, T]}, each caption ending with EOS and
padded with PAD; for pointing also {"regions": bool [B, T, S]}.
"""

import dataclasses
import functools
import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple, SupportsIndex

import numpy as np

from attn_research.data.batching import Batches, SortedWindows, ordered_batches, spread_evenly
from attn_research.data.files import user_path
from attn_research.data.images.captioned import (
    SPLITS,
    CaptionedImages,
    draw_captioned,
    read_flickr8k,
    read_folder,
)
from attn_research.data.images.scenes import Scenes
from attn_research.data.text.tokenizers import EOS, PAD, WordTokenizer
from attn_research.types import Int
from experiments.harness.config import Config, config_placement
from experiments.tasks.captioning.config import CaptionDataConfig

EVAL_BATCH = 64


class Item(NamedTuple):
    """One caption of an image: the number of the image, and the ids of the caption."""

    image: int
    ids: Int[np.ndarray, "T"]


@dataclasses.dataclass(frozen=True, eq=False)
class Captions(Sequence[Item]):
    """The captions of images as items; `lengths` [N, 1] are without EOS."""

    data: CaptionedImages
    items: tuple[Item, ...]

    @functools.cached_property
    def lengths(self) -> Int[np.ndarray, "N 1"]:
        return np.array([len(item.ids) for item in self.items], np.int64).reshape(-1, 1)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: SupportsIndex) -> Item:
        return self.items[index]

    def collate(self, items: Sequence[Item], rows: int, length: int) -> dict[str, np.ndarray]:
        """A batch of some items, padded to so many rows of so many ids."""
        images, some = self.data.images, np.array([item.image for item in items], int)
        batch = {
            "image": np.zeros((rows, *images.shape[1:]), np.uint8),
            "target": np.full((rows, length), PAD, np.int32),
        }
        batch["image"][: len(some)] = images[some]
        for row, item in enumerate(items):
            batch["target"][row, : len(item.ids)] = item.ids
            batch["target"][row, len(item.ids)] = EOS
        return batch

    def with_regions(self, items: Sequence[Item], rows: int, length: int) -> dict[str, np.ndarray]:
        """A batch with the gold regions of the words, where they are known."""
        batch = self.collate(items, rows, length)
        if self.data.regions is not None:
            grid = self.data.regions[0].shape[1:]
            batch["regions"] = np.zeros((rows, length, grid[0] * grid[1]), bool)
            for row, item in enumerate(items):
                found = self.data.regions[item.image]
                batch["regions"][row, : len(found)] = found.reshape(len(found), -1)
        return batch


def check(part: CaptionDataConfig) -> None:
    """ValueError or FileNotFoundError for what can be told wrong before images are read."""
    if part.data == "scenes" and part.max_words < (most := _scenes(part).longest_caption):
        raise ValueError(f"--max_words={part.max_words}: captions of scenes have up to {most}")
    if part.data == "captions":
        if not part.image_dir or not part.captions_file:
            raise ValueError("--data=captions needs --image_dir=FOLDER and --captions_file=FILE")
        if not user_path(part.image_dir).is_dir():
            raise FileNotFoundError(f"--image_dir: no such folder: {part.image_dir}")
        if not user_path(part.captions_file).is_file():
            raise FileNotFoundError(f"--captions_file: no such file: {part.captions_file}")


@functools.lru_cache(maxsize=2)  # the rows of a table share their images
def load(part: CaptionDataConfig, seed: int) -> dict[str, CaptionedImages]:
    """The captioned images of each split."""
    if part.data == "scenes":
        sizes = part.train_examples, part.test_examples, part.test_examples
        return {
            split: draw_captioned(_scenes(part), seed, split, size)
            for split, size in zip(SPLITS, sizes, strict=True)
        }
    if part.data == "flickr8k":
        return read_flickr8k(part.data_dir or None, part.image_size)
    return read_folder(user_path(part.image_dir), user_path(part.captions_file), part.image_size)


def load_test(part: CaptionDataConfig) -> CaptionedImages:
    """The captioned images of the test set, which are the same for every seed."""
    if part.data == "scenes":
        return draw_captioned(_scenes(part), 0, "test", part.test_examples)
    return load(part, 0)["test"]


def _scenes(part: CaptionDataConfig) -> Scenes:
    return Scenes(part.image_size, part.grid, max_objects=part.max_objects)


def make_tokenizer(part: CaptionDataConfig, train: CaptionedImages) -> WordTokenizer:
    """The most frequent words of the training captions."""
    lines = (caption for captions in train.captions for caption in captions)
    return WordTokenizer.build(lines, size=part.vocab_size - 4)


def encode(data: CaptionedImages, tokenizer: WordTokenizer, max_words: int) -> Captions:
    """The captions of at most `max_words` words; ValueError where there is none."""
    items = tuple(
        Item(image, np.array(tokenizer.encode(caption), np.int32))
        for image, captions in enumerate(data.captions)
        for caption in captions
        if len(caption.split()) <= max_words
    )
    if not items:
        raise ValueError(f"--max_words={max_words}: every caption is longer")
    if longer := sum(map(len, data.captions)) - len(items):
        logging.getLogger(__name__).warning(
            "%d of %d captions have more than --max_words=%d words and are not read",
            longer, longer + len(items), max_words,
        )  # fmt: skip
    return Captions(data, items)


def make_batches(config: Config, captions: Captions) -> Batches:
    """The training batches, of captions of similar length where there are several buckets."""
    part, bounds = config.task, _bounds(config)
    return Batches(
        captions,
        SortedWindows(part.batch_size, window=20 if len(bounds) > 1 else 1),
        bounds=bounds,
        seed=config.train.seed,
        num_batches=config.train.num_steps,
        row_multiple=config_placement(config).row_multiple,
        collate=captions.collate,
    )


def eval_batches(
    config: Config, captions: Captions
) -> Iterator[tuple[Int[np.ndarray, "B"], dict[str, np.ndarray]]]:
    """Every caption once, as (indices, batch)."""
    return ordered_batches(captions, EVAL_BATCH, _bounds(config), captions.with_regions)


def longest(config: Config) -> int:
    """The ids of the longest caption, EOS included."""
    return config.task.images.max_words + 1


def _bounds(config: Config) -> tuple[int, ...]:
    width, most = config.task.bucket_width, longest(config)
    return (*range(width, most, width), most)


def sample(captions: Captions, count: int = 500) -> Captions:
    """Captions evenly spread over a split: enough to estimate a loss on it."""
    chosen = spread_evenly(len(captions), count)
    return dataclasses.replace(captions, items=tuple(captions.items[i] for i in chosen))
