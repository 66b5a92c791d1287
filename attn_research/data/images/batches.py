"""Batches of images, augmented; every batch is a pure function of (seed, n)."""

import dataclasses
import functools
import os
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int, Shaped

from attn_research.data.batching import Rows, all_rows
from attn_research.data.images import augment as changes
from attn_research.data.images.datasets import ImageSet
from attn_research.data.images.files import ImageFiles
from attn_research.data.prefetch import made_ahead

ImageBatch = dict[str, Shaped[np.ndarray, "B ..."]]
# Processes that make batches, where there are processors to spare.
WORKERS = max(0, min(14, (os.cpu_count() or 1) - 2))


@dataclasses.dataclass(frozen=True)
class ImageBatches:
    """Batches {"image": uint8 [B, H, W, C], "label": int32 [B]} of shuffled epochs.

    An image is moved by up to `pad` pixels each way, turned by up to `turn` degrees and made up to
    `zoom` times as large or as small, black where nothing is left of it; with `flip` every other
    one is mirrored. Its brightness, contrast and saturation are each changed by up to a `color`th
    part, and a gray square of up to `erase` pixels a side covers some of it.

    Then a part `cutmix` of the images get a rectangle of another one in their place, and a part
    `mixup` are blended with another; where there are any, a batch also holds the label of the
    "other" (int32 [B]) and the "share" that is the image's own (float32 [B], 1 of unmixed ones).

    What an image gets depends on (seed, epoch, its index) alone. ValueError where the images do not
    fill a batch, or a range is impossible.
    """

    data: ImageSet
    batch_size: int
    seed: int
    pad: int = 0
    flip: bool = False
    turn: float = 0.0
    zoom: float = 1.0
    color: float = 0.0
    erase: int = 0
    cutmix: float = 0.0
    mixup: float = 0.0

    def __post_init__(self):
        if len(self.data) < self.batch_size:
            raise ValueError(f"{len(self.data)} images do not fill a batch of {self.batch_size}")
        if self.zoom < 1:
            raise ValueError(f"zoom {self.zoom}: give a factor of 1 or more, for both directions")
        if self.color > 1:
            raise ValueError(f"color {self.color}: give a part of 1, which is the most")
        if self.cutmix + self.mixup > 1:
            raise ValueError(
                f"cutmix {self.cutmix} and mixup {self.mixup}: no more than all images can be mixed"
            )

    @property
    def per_epoch(self) -> int:
        """Batches in an epoch; the images that fill none wait for the next."""
        return len(self.data) // self.batch_size

    def iterate(self, start: int = 0, rows: Rows = all_rows) -> Iterator[ImageBatch]:
        """Batches from `start` on, without end, the given rows of each; made ahead."""
        make = functools.partial(self.make, part=rows(self.batch_size))
        files = isinstance(self.data.images, ImageFiles)
        slow = files or self.turn or self.zoom > 1 or self.color or self.mixes
        return made_ahead(make, start, workers=WORKERS if slow else 0)

    @property
    def mixes(self) -> bool:
        """Whether images are mixed with others."""
        return self.cutmix + self.mixup > 0

    def make(self, number: int, part: slice = slice(None)) -> ImageBatch:
        """Batch `number`, a part of its rows."""
        epoch, number = divmod(int(number), self.per_epoch)
        order = self._order(epoch)[number * self.batch_size : (number + 1) * self.batch_size]
        chosen = order[part]
        if not self.mixes:
            return {"image": self._augment(chosen, epoch), "label": self._labels(chosen)}
        draws = self._draws(epoch, 3, 5)[chosen].T
        other = changes.other_indices(chosen, draws[0], len(self.data))
        weight = self._weights(*draws[1:])
        both = self._augment(np.concatenate([chosen, other]), epoch)
        own, another = both[: len(chosen)], both[len(chosen) :]
        return {
            "image": changes.mix(own, another, weight),
            "label": self._labels(chosen),
            "other": self._labels(other),
            "share": changes.share(weight),
        }

    @functools.lru_cache(maxsize=2)  # noqa: B019 (lives as long as the run)
    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.seed, epoch)).permutation(len(self.data))

    @functools.lru_cache(maxsize=6)  # noqa: B019 (lives as long as the run)
    def _draws(self, epoch: int, use: int, count: int) -> np.ndarray:
        """Draws [N, count] in [0, 1), a row for every image: none depends on its batch mates."""
        return np.random.default_rng((self.seed, epoch, use)).random((len(self.data), count))

    def _labels(self, chosen: np.ndarray) -> np.ndarray:
        return self.data.labels[chosen].astype(np.int32)

    def _augment(self, chosen: np.ndarray, epoch: int) -> np.ndarray:
        images = self.data.images[chosen]
        down, right, mirror, angle, size = self._draws(epoch, 1, 5)[chosen].T
        if self.flip:
            images = changes.mirrored(images, mirror >= 0.5)
        if self.turn or self.zoom > 1:
            angle = np.deg2rad(self.turn) * (2 * angle - 1)
            shift = self.pad * (2 * np.stack([down, right], axis=-1) - 1)
            images = changes.warp(images, angle, self.zoom ** (2 * size - 1), shift)
        else:
            images = changes.crop(images, self.pad, down, right)
        if not self.color and not self.erase:
            return images
        *factors, y, x, side = self._draws(epoch, 2, 6)[chosen].T
        if self.color:
            factors = (1 + self.color * (2 * draw - 1) for draw in factors)
            images = changes.recolor(images, *factors)
        if self.erase:
            height, width = images.shape[1:3]
            side = side * self.erase
            where = changes.boxes((height, width), y, x, side / height, side / width)
            images = changes.cover(images, where)
        return images

    def _weights(self, kind, own, y, x) -> np.ndarray:
        """The own image's part in every pixel [B, H, W]: of cut, blended and other images."""
        shape = self.data.images.shape[1:3]
        weight = changes.blend_weights(shape, np.where(kind < self.cutmix + self.mixup, own, 1.0))
        cut = kind < self.cutmix
        return np.where(cut[:, None, None], changes.cut_weights(shape, own, y, x), weight)


def ordered(
    data: ImageSet, batch_size: int, every: int = 1
) -> Iterator[tuple[Int[np.ndarray, "B"], ImageBatch]]:
    """Each image once, or each `every`th: (indices, batch); the last batch is filled up, label -1.

    It is for evaluation.
    """
    chosen = np.arange(0, len(data), every)
    for start in range(0, len(chosen), batch_size):
        members = chosen[start : start + batch_size]
        missing = batch_size - len(members)
        images = np.pad(data.images[members], [(0, missing), (0, 0), (0, 0), (0, 0)])
        labels = np.pad(data.labels[members].astype(np.int32), (0, missing), constant_values=-1)
        yield members, {"image": images, "label": labels}
