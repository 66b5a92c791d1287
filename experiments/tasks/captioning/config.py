"""The config of captioning: images and captions, batches, losses and search."""

import dataclasses
from typing import Literal

from experiments.harness.config import data_folder, setting

_FILES, _DRAWN = {"data": ("captions",)}, {"data": ("scenes",)}


@dataclasses.dataclass(frozen=True)
class CaptionDataConfig:
    """Images and captions."""

    data: Literal["scenes", "flickr8k", "captions"] = setting(
        "scenes",
        "Data set: drawn scenes of shapes and digits, the first 1,000 images of Flickr8k, or a "
        "folder of images with a file of captions.",
    )
    data_dir: str = data_folder("flickr8k")
    image_dir: str = setting("", "Folder of images of --data=captions.", path=True, needs=_FILES)
    captions_file: str = setting(
        "",
        "File of --data=captions, a line IMAGE<TAB>CAPTION for each caption.",
        path=True,
        needs=_FILES,
    )
    image_size: int = setting(48, "Height and width of an image, in pixels.", 4)
    grid: int = setting(6, "Regions down and across an image.", 1)
    vocab_size: int = setting(10_000, "Vocabulary size, special ids included.", 5)
    max_objects: int = setting(2, "Objects of a scene, at most.", 1, needs=_DRAWN)
    max_words: int = setting(
        10, "Words of a caption: longer ones are not trained on, and none longer is written.", 1
    )
    train_examples: int = setting(6000, "Training scenes.", 1, needs=_DRAWN)
    test_examples: int = setting(500, "Test scenes, and as many of dev.", 1, needs=_DRAWN)


@dataclasses.dataclass(frozen=True)
class CaptioningConfig:
    """Captioning."""

    images: CaptionDataConfig = CaptionDataConfig()
    batch_size: int = setting(32, "Captions of a batch.", 1)
    bucket_width: int = setting(
        100,
        "Words between two lengths that batches of captions of similar length are padded to.",
        1,
    )
    penalty: float = setting(
        0.0, "Weight λ of the penalty on regions whose weights do not sum to 1 over a caption.", 0.0
    )
    reward: float = setting(0.2, "Weight λ_r of the gradient through regions that are drawn.", 0.0)
    entropy: float = setting(
        0.0, "Weight of the entropy of the weights that regions are drawn by.", 0.0
    )
    beam_size: int = setting(3, "Hypotheses of beam search.", 1)
