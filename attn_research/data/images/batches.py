"""Augmented image batches; batch n is a pure function of (seed, n)."""

import dataclasses
import functools
import os
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int, Shaped

from attn_research.data.batching import Rows, all_rows, epoch_order
from attn_research.data.images import augment
from attn_research.data.images.datasets import ImageSet
from attn_research.data.images.files import ImageFiles
from attn_research.data.prefetch import prefetch

ImageBatch = dict[str, Shaped[np.ndarray, "B ..."]]
# Worker processes that make batches, where there are processors to spare.
WORKERS = max(0, min(14, (os.cpu_count() or 1) - 2))


@dataclasses.dataclass(frozen=True)
class ImageBatches:
    """Batches {"image": uint8 [B, H, W, C], "label": int32 [B]} of shuffled epochs.

    Augmentation: random crops with a padding of `pad` pixels; with `flip` a horizontal flip of half
    of the images; rotation by up to `rotate` degrees; scaling by a factor between 1 / `scale` and
    `scale`; color jitter, which changes brightness, contrast and saturation by up to a fraction of
    `color_jitter` each; cutout of a square of up to `cutout` pixels a side.

    Then CutMix mixes a fraction `cutmix` of the images with another image, and mixup a fraction
    `mixup`. Where there are any, a batch also has "other" (int32 [B], the label of the other image)
    and "share" (float32 [B], the weight λ of the image's own label, 1 where it is not mixed).

    What an image gets depends on (seed, epoch, its index) alone. Empty images of label -1 fill a
    batch up to a multiple of `row_multiple`, so that devices can share it. ValueError where the
    images do not fill a batch, or a range is impossible.
    """

    data: ImageSet
    batch_size: int
    seed: int
    _: dataclasses.KW_ONLY
    pad: int = 0
    flip: bool = False
    rotate: float = 0.0
    scale: float = 1.0
    color_jitter: float = 0.0
    cutout: int = 0
    cutmix: float = 0.0
    mixup: float = 0.0
    row_multiple: int = 1

    def __post_init__(self):
        if len(self.data) < self.batch_size:
            raise ValueError(f"{len(self.data)} images do not fill a batch of {self.batch_size}")
        if self.scale < 1:
            raise ValueError(
                f"--scale_jitter={self.scale}: give a factor of 1 or more, for both directions"
            )
        if self.color_jitter > 1:
            raise ValueError(f"--color_jitter={self.color_jitter}: give a fraction, at most 1")
        if self.cutmix + self.mixup > 1:
            raise ValueError(
                f"--cutmix={self.cutmix} and --mixup={self.mixup} are fractions of the images: "
                "lower them to a sum of at most 1"
            )

    @property
    def per_epoch(self) -> int:
        """The number of batches in an epoch; images that fill none are left to the next epoch."""
        return len(self.data) // self.batch_size

    def iterate(self, start: int = 0, rows: Rows = all_rows) -> Iterator[ImageBatch]:
        """Endless batches from number `start` on, the given rows of each; prefetched."""
        make = functools.partial(self.make, rows=rows(self._num_rows))
        files = isinstance(self.data.images, ImageFiles)
        slow = files or self.rotate or self.scale > 1 or self.color_jitter or self.mixes
        return prefetch(make, start, workers=WORKERS if slow else 0)

    @property
    def mixes(self) -> bool:
        """True if images are mixed with others, by CutMix or mixup."""
        return self.cutmix + self.mixup > 0

    @property
    def _num_rows(self) -> int:
        """The number of rows of a batch, empty ones included."""
        return self.batch_size + -self.batch_size % self.row_multiple

    def make(self, number: int, rows: slice = slice(None)) -> ImageBatch:
        """Batch `number`, or some rows of it."""
        epoch, number = divmod(int(number), self.per_epoch)
        order = epoch_order(self.seed, epoch, len(self.data))
        order = order[number * self.batch_size : (number + 1) * self.batch_size]
        missing = len(range(self._num_rows)[rows]) - len(order[rows])
        batch = self._make(order[rows], epoch)
        if missing:
            empty = {"label": -1}
            batch = {
                name: np.pad(
                    array,
                    [(0, missing)] + [(0, 0)] * (array.ndim - 1),
                    constant_values=empty.get(name, 0),
                )
                for name, array in batch.items()
            }
        return batch

    def _make(self, chosen: np.ndarray, epoch: int) -> ImageBatch:
        if not self.mixes:
            return {"image": self._augment(chosen, epoch), "label": self._labels(chosen)}
        draws = self._draws(epoch, 3, 5)[chosen].T
        other = augment.other_indices(chosen, draws[0], len(self.data))
        weight = self._weights(*draws[1:])
        both = self._augment(np.concatenate([chosen, other]), epoch)
        own, another = both[: len(chosen)], both[len(chosen) :]
        return {
            "image": augment.mix(own, another, weight),
            "label": self._labels(chosen),
            "other": self._labels(other),
            "share": augment.share(weight),
        }

    @functools.lru_cache(maxsize=6)  # noqa: B019 (lives as long as the run)
    def _draws(self, epoch: int, use: int, count: int) -> np.ndarray:
        """Uniform draws [N, count], a row for every image, which no batch mate changes."""
        return np.random.default_rng((self.seed, epoch, use)).random((len(self.data), count))

    def _labels(self, chosen: np.ndarray) -> np.ndarray:
        return self.data.labels[chosen].astype(np.int32)

    def _augment(self, chosen: np.ndarray, epoch: int) -> np.ndarray:
        images = self.data.images[chosen]
        down, right, flip, angle, size = self._draws(epoch, 1, 5)[chosen].T
        if self.flip:
            images = augment.horizontal_flip(images, flip >= 0.5)
        if self.rotate or self.scale > 1:
            angle = np.deg2rad(self.rotate) * (2 * angle - 1)
            shift = self.pad * (2 * np.stack([down, right], axis=-1) - 1)
            images = augment.affine(images, angle, self.scale ** (2 * size - 1), shift)
        else:
            images = augment.crop(images, self.pad, down, right)
        if not self.color_jitter and not self.cutout:
            return images
        *factors, y, x, side = self._draws(epoch, 2, 6)[chosen].T
        if self.color_jitter:
            factors = (1 + self.color_jitter * (2 * draw - 1) for draw in factors)
            images = augment.color_jitter(images, *factors)
        if self.cutout:
            height, width = images.shape[1:3]
            side = side * self.cutout
            covered = augment.boxes((height, width), y, x, side / height, side / width)
            images = augment.cutout(images, covered)
        return images

    def _weights(self, kind, own, y, x) -> np.ndarray:
        """The weight [B, H, W] of the own image in every pixel: by CutMix, mixup, or 1."""
        shape = self.data.images.shape[1:3]
        weight = augment.mixup_weights(shape, np.where(kind < self.cutmix + self.mixup, own, 1.0))
        cut = kind < self.cutmix
        return np.where(cut[:, None, None], augment.cutmix_weights(shape, own, y, x), weight)


def ordered_batches(
    data: ImageSet, batch_size: int, every: int = 1
) -> Iterator[tuple[Int[np.ndarray, "B"], ImageBatch]]:
    """Evaluation batches: (indices, batch) with each image once, or each `every`th.

    The last batch is filled up with empty images of label -1.
    """
    chosen = np.arange(0, len(data), every)
    for start in range(0, len(chosen), batch_size):
        members = chosen[start : start + batch_size]
        missing = batch_size - len(members)
        images = np.pad(data.images[members], [(0, missing), (0, 0), (0, 0), (0, 0)])
        labels = np.pad(data.labels[members].astype(np.int32), (0, missing), constant_values=-1)
        yield members, {"image": images, "label": labels}
