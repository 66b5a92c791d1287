"""The config of image classification: data, augmentation, batches and loss."""

import dataclasses
from typing import Literal

from experiments.harness.config import data_folder, fraction, setting


@dataclasses.dataclass(frozen=True)
class ImageDataConfig:
    """Images."""

    data: Literal["digits", "mnist", "cifar10", "folder"] = setting(
        "digits", "Data set: scikit-learn's digits, MNIST, CIFAR-10, or a folder of images."
    )
    data_dir: str = data_folder("mnist", "cifar10")
    image_dir: str = setting(
        "",
        "Folder train/CLASS/* and test/CLASS/* of --data=folder.",
        path=True,
        needs={"data": ("folder",)},
    )
    image_size: int = setting(8, "Height and width of an image, in pixels.", 1)
    channels: int = setting(1, "Channels of a pixel.", 1)
    num_classes: int = setting(10, "Classes of the data.", 2)


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """Augmentation of training images."""

    crop: int = setting(0, "Pixels that an image is shifted by, at most.", 0)
    flip: bool = setting(False, "Mirror every other image.")
    rotate: float = setting(0.0, "Degrees that an image is rotated by, at most.", 0.0)
    scale_jitter: float = setting(
        1.0, "Factor that an image is enlarged or reduced by, at most; 1: none.", 1.0
    )
    color_jitter: float = fraction(
        0.0, "Fraction that brightness, contrast and saturation change by, at most."
    )
    cutout: int = setting(
        0, "Side of a gray square that covers a part of an image, in pixels, at most.", 0
    )
    cutmix: float = fraction(0.0, "Fraction of the images that get a rectangle of another one.")
    mixup: float = fraction(0.0, "Fraction of the images that are blended with another one.")


@dataclasses.dataclass(frozen=True)
class ImageClassificationConfig:
    """Batches and loss."""

    images: ImageDataConfig = ImageDataConfig()
    augment: AugmentConfig = AugmentConfig()
    batch_size: int = setting(128, "Images of a batch.", 1)
    label_smoothing: float = fraction(0.1, "Label smoothing: probability spread over the classes.")
