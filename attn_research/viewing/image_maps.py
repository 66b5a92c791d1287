"""Figures of attention over images: an image, and maps of its patches laid over it."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from attn_research.types import Float, Shaped


@dataclasses.dataclass(frozen=True, eq=False)
class ImageMaps:
    """One image of bytes and named maps over its patches, each on its own scale."""

    image: Shaped[np.ndarray, "H W C"]
    maps: Mapping[str, Float[np.ndarray, "rows cols"]]
    title: str = ""


def image_figure(images: Sequence[ImageMaps]) -> Figure:
    """A row for each image: the image, then each of its maps, bright where the weight is high."""
    if not images:
        raise ValueError("no image to draw")
    columns = 1 + max(len(one.maps) for one in images)
    tallest = max(one.image.shape[0] / one.image.shape[1] for one in images)
    height = max(0.8, 1.6 * min(tallest, 1) + 0.15)
    figure = Figure(figsize=(1.6 * columns, height * len(images)), layout="constrained")
    grid = figure.subplots(len(images), columns, squeeze=False)
    for row, one in zip(grid, images, strict=True):
        gray = one.image.shape[-1] == 1
        picture = one.image[..., 0] if gray else one.image
        height, width = picture.shape[:2]
        faint = picture if gray else picture.mean(axis=-1)
        for axes in row:
            axes.set_axis_off()
        row[0].imshow(picture, cmap="gray" if gray else None, vmin=0, vmax=255)
        row[0].set_title(one.title, size=9)
        for axes, (name, weights) in zip(row[1:], one.maps.items(), strict=False):
            axes.imshow(faint, cmap="gray", vmin=0, vmax=255)
            extent = (-0.5, width - 0.5, height - 0.5, -0.5)
            axes.imshow(weights, cmap="inferno", alpha=0.6, extent=extent, interpolation="nearest")
            axes.set_title(name, size=9)
    return figure
