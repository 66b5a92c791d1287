"""The config of retrieval: pairs of images and captions, and groups of them."""

import dataclasses
from typing import Literal

from experiments.harness.config import setting


@dataclasses.dataclass(frozen=True)
class ImageRetrievalConfig:
    """Pairs of images and captions."""

    data: Literal["scenes"] = setting("scenes", "Pairs: drawn scenes with their captions.")
    image_size: int = setting(48, "Height and width of an image, in pixels.", 32)
    num_scenes: int = setting(20_000, "Scenes of the training set.", 1)
    test_groups: int = setting(10, "Groups of the test set, of --test_size pairs each.", 1)
    test_size: int = setting(100, "Images and captions that one is retrieved from.", 2)
    vocab_size: int = setting(48, "Words that are known, special ones included.", 8)
    max_words: int = setting(16, "Words and marks of the longest caption.", 1)
    num_groups: int = setting(
        2, "Groups of a batch; each is contrasted within itself, and a device has whole groups.", 1
    )
    group_size: int = setting(64, "Pairs of a group.", 2)
