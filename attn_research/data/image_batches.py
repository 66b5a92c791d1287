"""Batches of images, augmented; every batch is a pure function of (seed, n)."""

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8

from attn_research.data.batching import Rows, all_rows
from attn_research.data.images import ImageSet

ImageBatch = dict[str, Shaped[np.ndarray, "B ..."]]


@dataclasses.dataclass(frozen=True)
class ImageBatches:
    """Batches {"image": uint8 [B, H, W, C], "label": int32 [B]} of shuffled epochs.

    An image is moved by up to `pad` pixels each way, turned by up to `turn` degrees and made up to
    `zoom` times as large or as small, black where nothing is left of it; with `flip` every other
    one is mirrored. What an image gets depends on (seed, epoch, its index) alone. ValueError where
    the images do not fill a batch, or a range is impossible.
    """

    data: ImageSet
    batch_size: int
    seed: int
    pad: int = 0
    flip: bool = False
    turn: float = 0.0
    zoom: float = 1.0

    def __post_init__(self):
        if len(self.data) < self.batch_size:
            raise ValueError(f"{len(self.data)} images do not fill a batch of {self.batch_size}")
        if self.zoom < 1:
            raise ValueError(f"zoom {self.zoom}: give a factor of 1 or more, for both directions")

    @property
    def per_epoch(self) -> int:
        """Batches in an epoch; the images that fill none wait for the next."""
        return len(self.data) // self.batch_size

    def iterate(self, start: int = 0, rows: Rows = all_rows) -> Iterator[ImageBatch]:
        """Batches from `start` on, without end, the given rows of each."""
        step, mine = start, rows(self.batch_size)
        while True:
            epoch, number = divmod(step, self.per_epoch)
            order = self._order(epoch)
            chosen = order[number * self.batch_size : (number + 1) * self.batch_size][mine]
            yield {"image": self._augment(chosen, epoch), "label": self._labels(chosen)}
            step += 1

    @functools.lru_cache(maxsize=2)  # noqa: B019 (lives as long as the run)
    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.seed, epoch)).permutation(len(self.data))

    def _labels(self, chosen: np.ndarray) -> np.ndarray:
        return self.data.labels[chosen].astype(np.int32)

    def _augment(self, chosen: np.ndarray, epoch: int) -> np.ndarray:
        images = self.data.images[chosen]
        # A row of draws in [0, 1) for every image of the set: none depends on its batch mates.
        down, right, mirror, angle, size = self._draws(epoch)[chosen].T
        if self.flip:
            images = np.where(mirror[:, None, None, None] < 0.5, images, images[:, :, ::-1])
        if self.turn or self.zoom > 1:
            angle = np.deg2rad(self.turn) * (2 * angle - 1)
            shift = self.pad * (2 * np.stack([down, right], axis=-1) - 1)
            return warp(images, angle, self.zoom ** (2 * size - 1), shift)
        return _crop(images, self.pad, down, right)

    @functools.lru_cache(maxsize=2)  # noqa: B019 (lives as long as the run)
    def _draws(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.seed, epoch, 1)).random((len(self.data), 5))


def _crop(images: np.ndarray, pad: int, down: np.ndarray, right: np.ndarray) -> np.ndarray:
    """A window as large as the image, at a random place of it with a border of `pad` pixels."""
    if not pad:
        return images
    height, width = images.shape[1:3]
    border = np.pad(images, [(0, 0), (pad, pad), (pad, pad), (0, 0)])
    top, left = ((draw * (2 * pad + 1)).astype(int) for draw in (down, right))
    each = np.arange(len(images))[:, None, None]
    rows, columns = top[:, None] + np.arange(height), left[:, None] + np.arange(width)
    return border[each, rows[:, :, None], columns[:, None, :]]


def warp(
    images: UInt8[np.ndarray, "B H W C"],
    angle: Float[np.ndarray, "B"],
    zoom: Float[np.ndarray, "B"],
    shift: Float[np.ndarray, "B 2"],
) -> UInt8[np.ndarray, "B H W C"]:
    """Each image turned clockwise by its angle (radians), zoomed, then shifted down and right.

    About the center, shifted in pixels; between pixels linearly interpolated, black outside.
    """
    count, height, width, channels = images.shape
    border = np.pad(images, [(0, 0), (1, 1), (1, 1), (0, 0)])
    flat = border.reshape(-1, channels).astype(np.float32)
    # Of every pixel of the result, the place it comes from.
    center = (height - 1) / 2, (width - 1) / 2
    y, x = (
        axis[None] - middle - move[:, None, None]
        for axis, middle, move in zip(np.indices((height, width)), center, shift.T, strict=True)
    )
    cosine, sine = (f(angle)[:, None, None] / zoom[:, None, None] for f in (np.cos, np.sin))
    # In the image with its border, whose last pixels stand for all beyond.
    y, x = (
        np.clip(place + middle + 1, 0, size + 1).astype(np.float32)
        for place, middle, size in (
            (cosine * y - sine * x, center[0], height),
            (sine * y + cosine * x, center[1], width),
        )
    )
    top, left = np.minimum(y.astype(int), height), np.minimum(x.astype(int), width)
    down, right = (y - top)[..., None], (x - left)[..., None]
    stride = width + 2
    corner = (np.arange(count)[:, None, None] * (height + 2) + top) * stride + left
    upper = flat[corner] * (1 - right) + flat[corner + 1] * right
    lower = flat[corner + stride] * (1 - right) + flat[corner + stride + 1] * right
    return np.rint(upper * (1 - down) + lower * down).astype(np.uint8)


def ordered(data: ImageSet, batch_size: int) -> Iterator[tuple[Int[np.ndarray, "B"], ImageBatch]]:
    """Every image once, for evaluation: (indices, batch); the last batch is filled up, label -1."""
    for start in range(0, len(data), batch_size):
        members = np.arange(start, min(start + batch_size, len(data)))
        missing = batch_size - len(members)
        images = np.pad(data.images[members], [(0, missing), (0, 0), (0, 0), (0, 0)])
        labels = np.pad(data.labels[members].astype(np.int32), (0, missing), constant_values=-1)
        yield members, {"image": images, "label": labels}
