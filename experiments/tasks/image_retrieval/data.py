"""Pairs of images and captions by config, encoded, in groups."""

import dataclasses
import functools
import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from attn_research.data.batching import epoch_order
from attn_research.data.images.scenes import WORDS, Scenes
from attn_research.data.prefetch import prefetch
from attn_research.data.text.tokenizers import EOS, PAD, WordTokenizer
from experiments.tasks.image_retrieval.config import ImageRetrievalConfig

SPLITS = ("train", "dev", "test")
_MIN_OBJECTS = 2  # one object has few captions, so that two images would have the same


class Pairs(NamedTuple):
    """Images, and the ids of their captions, in groups; an empty group has no ids but PAD."""

    images: UInt8[np.ndarray, "G N H W 3"]
    ids: Int[np.ndarray, "G N T"]


@dataclasses.dataclass(frozen=True, eq=False)
class PairSet:
    """The pairs of a split."""

    images: UInt8[np.ndarray, "M H W 3"]
    captions: tuple[str, ...]
    ids: Int[np.ndarray, "M T"]

    def __len__(self) -> int:
        return len(self.images)

    def groups(self, chosen: Int[np.ndarray, "G N"], rows: int) -> Pairs:
        """Some pairs as groups, and empty ones up to `rows`."""
        empty = [(0, rows - len(chosen))]
        images, ids = self.images[chosen], self.ids[chosen]
        return Pairs(
            np.pad(images, empty + [(0, 0)] * (images.ndim - 1)),
            np.pad(ids, empty + [(0, 0)] * (ids.ndim - 1), constant_values=PAD),
        )

    def ordered(self, size: int, count: int = 1) -> Iterator[Pairs]:
        """Batches of `count` groups of `size` in order; what fills no group is left out."""
        whole = np.arange(len(self) // size * size).reshape(-1, size)
        for start in range(0, len(whole), count):
            yield self.groups(whole[start : start + count], count)

    def shuffled(
        self, shape: tuple[int, int], rows: slice, *, seed: int, start: int
    ) -> Iterator[Pairs]:
        """Endless training batches of a number of groups and pairs, from number `start` on."""
        count, size = shape
        per_epoch = len(self) // (count * size)

        def make(number: int) -> Pairs:
            epoch, number = divmod(int(number), per_epoch)
            order = epoch_order(seed, epoch, len(self))
            members = order[number * count * size : (number + 1) * count * size]
            return self.groups(members.reshape(shape)[rows], rows.stop - rows.start)

        return prefetch(make, start)

    @functools.cached_property
    def fingerprint(self) -> str:
        """The SHA-256, in hex, of images and captions."""
        digest = hashlib.sha256(np.ascontiguousarray(self.images).data)
        digest.update("\n".join(self.captions).encode())
        return digest.hexdigest()


def make_tokenizer(config: ImageRetrievalConfig) -> WordTokenizer:
    """The words of the captions' grammar; ValueError where there is no room for them."""
    found = WordTokenizer(WORDS)
    if found.vocab_size > config.vocab_size:
        raise ValueError(f"--vocab_size={config.vocab_size}: captions have {found.vocab_size}")
    return found


def encode(
    config: ImageRetrievalConfig, tokenizer: WordTokenizer, captions: Sequence[str]
) -> Int[np.ndarray, "M T"]:
    """The ids of captions, each with EOS; ValueError for a long one."""
    ids = np.full((len(captions), config.max_words + 1), PAD, np.int32)
    for row, caption in enumerate(captions):
        found = [*tokenizer.encode(caption), EOS]
        if len(found) > ids.shape[1]:
            raise ValueError(f"{caption[:60]!r} has more than --max_words={config.max_words} words")
        ids[row, : len(found)] = found
    return ids


@functools.lru_cache(maxsize=3)  # the rows of a table share their pairs
def pair_set(config: ImageRetrievalConfig, split: str) -> PairSet:
    """The pairs of a split."""
    count = config.test_groups * config.test_size
    count = {"train": config.num_scenes, "dev": config.group_size * 4, "test": count}[split]
    scenes = Scenes(config.image_size, config.image_size // 8, _MIN_OBJECTS)
    drawn = [scenes.draw((SPLITS.index(split), 2), index) for index in range(count)]
    captions = tuple(scene.caption for scene in drawn)
    ids = encode(config, make_tokenizer(config), captions)
    return PairSet(np.stack([scene.pixels for scene in drawn]), captions, ids)
