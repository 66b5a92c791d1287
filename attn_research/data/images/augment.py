"""Image augmentation: crop, flip, rotation and scale, color jitter, cutout, CutMix and mixup.

Each function changes every image of a batch by numbers of its own, which the caller draws.
"""

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8, UInt16

Images = UInt8[np.ndarray, "B H W C"]
PerImage = Float[np.ndarray, "B"]
ONE = 256  # a weight of 1, in the integers that images are mixed by
# Weights of red, green and blue in the luma of a pixel (ITU-R BT.601).
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_CHUNK = 16  # images at a time, so that intermediate arrays fit a processor's cache


def crop(images: Images, pad: int, down: PerImage, right: PerImage) -> Images:
    """Random crops: windows as large as the image, of the image padded with `pad` black pixels.

    `down` and `right`, from 0 to 1, give the position of the window in the padded image.
    """
    if not pad:
        return images
    count, height, width, channels = images.shape
    border = np.pad(images, [(0, 0), (pad, pad), (pad, pad), (0, 0)])
    top, left = ((draw * (2 * pad + 1)).astype(int) for draw in (down, right))
    rows = border.reshape(count, height + 2 * pad, -1)
    shape = height, width * channels
    windows = np.lib.stride_tricks.sliding_window_view(rows, shape, axis=(1, 2))
    return windows[np.arange(count), top, left * channels].reshape(images.shape)


def horizontal_flip(images: Images, flipped: Bool[np.ndarray, "B"]) -> Images:
    """The images, with left and right exchanged where `flipped`."""
    images = images.copy()
    images[flipped] = images[flipped][:, :, ::-1]
    return images


def affine(
    images: Images, angle: PerImage, scale: PerImage, shift: Float[np.ndarray, "B 2"]
) -> Images:
    """Clockwise rotation (radians) and scaling about the center, then a shift down and right.

    The shift is in pixels. Bilinear interpolation; pixels from outside the image are black.
    """
    result = np.empty_like(images)
    for start in range(0, len(images), _CHUNK):
        part = slice(start, start + _CHUNK)
        result[part] = _affine(images[part], angle[part], scale[part], shift[part])
    return result


def _affine(images, angle, scale, shift):
    count, height, width, channels = images.shape
    border = np.pad(images, [(0, 0), (1, 1), (1, 1), (0, 0)])
    # Channels first: inner loops over three channels would take most of the time.
    planes = np.moveaxis(border, -1, 0).reshape(channels, -1).astype(np.float64)
    # For every pixel of the result, the position in the image that it comes from.
    center = (height - 1) / 2, (width - 1) / 2
    y = np.arange(height)[None, :, None] - center[0] - shift[:, 0, None, None]
    x = np.arange(width)[None, None, :] - center[1] - shift[:, 1, None, None]
    cosine, sine = (f(angle)[:, None, None] / scale[:, None, None] for f in (np.cos, np.sin))
    # Positions in the image with its border, whose pixels stand for everything outside.
    y, x = (
        np.clip(position + middle + 1, 0, size + 1).astype(np.float32)
        for position, middle, size in (
            (cosine * y - sine * x, center[0], height),
            (sine * y + cosine * x, center[1], width),
        )
    )
    top, left = np.minimum(y.astype(int), height), np.minimum(x.astype(int), width)
    down, right = y - top, x - left
    stride = width + 2
    corner = (np.arange(count)[:, None, None] * (height + 2) + top) * stride + left

    def interpolated_row(corner):
        return _interpolate(planes.take(corner, axis=1), planes.take(corner + 1, axis=1), right)

    mean = _interpolate(interpolated_row(corner), interpolated_row(corner + stride), down)
    return np.moveaxis(np.rint(mean, out=mean), 0, -1)


def _interpolate(first, second, fraction):
    """first + fraction * (second - first), in the memory of the second."""
    second -= first
    second *= fraction
    second += first
    return second


def color_jitter(
    images: Images, brightness: PerImage, contrast: PerImage, saturation: PerImage
) -> Images:
    """Saturation, contrast and brightness of each image multiplied by its factors, in this order.

    A factor of 1 changes nothing. Images of one channel have no saturation.
    """
    result = np.empty_like(images)
    for start in range(0, len(images), _CHUNK):
        part = slice(start, start + _CHUNK)
        bright, contrasting, saturated = (
            factor[part, None, None, None].astype(np.float32)
            for factor in (brightness, contrast, saturation)
        )
        values = images[part].astype(np.float32)
        gray = (values @ LUMA)[..., None] if images.shape[-1] == 3 else values
        mean = gray.mean(axis=(1, 2, 3), keepdims=True)
        # The three are one linear map, so that no pixel is rounded or cut off in between.
        values *= bright * contrasting * saturated
        values += bright * (contrasting * (1 - saturated) * gray + (1 - contrasting) * mean)
        result[part] = np.rint(np.clip(values, 0, 255, out=values), out=values)
    return result


def boxes(
    shape: tuple[int, int], y: PerImage, x: PerImage, height: PerImage, width: PerImage
) -> Bool[np.ndarray, "B H W"]:
    """Masks of rectangles centered at (y, x); all numbers are fractions of the image's size.

    What lies outside the image is cut off.
    """
    inside = []
    for size, middle, extent in zip(shape, (y, x), (height, width), strict=True):
        first, last = (np.rint(size * (middle + side * extent / 2))[:, None] for side in (-1, 1))
        position = np.arange(size)[None]
        inside.append((first <= position) & (position < last))
    return inside[0][:, :, None] & inside[1][:, None, :]


def cutout(images: Images, covered: Bool[np.ndarray, "B H W"]) -> Images:
    """Cutout: the images, gray where `covered` (DeVries and Taylor 2017, section 3)."""
    return np.where(covered[..., None], np.uint8(128), images)


def mix(own: Images, other: Images, weight: UInt16[np.ndarray, "B H W"]) -> Images:
    """The mean of two images; `weight` / 256 is the weight of the first in each pixel."""
    weight = np.repeat(weight, own.shape[-1], axis=-1).reshape(own.shape)
    return ((own * weight + other * (ONE - weight) + ONE // 2) // ONE).astype(np.uint8)


def share(weight: UInt16[np.ndarray, "B H W"]) -> Float[np.ndarray, "B"]:
    """The mean weight of the first image over all pixels, λ of CutMix and mixup."""
    return (weight.mean(axis=(1, 2)) / ONE).astype(np.float32)


def cutmix_weights(
    shape: tuple[int, int], own: PerImage, y: PerImage, x: PerImage
) -> UInt16[np.ndarray, "B H W"]:
    """CutMix: 0 in a rectangle at (y, x) of area 1 - `own` (Yun et al. 2019, equation 2)."""
    side = np.sqrt(1 - own)
    return np.where(boxes(shape, y, x, side, side), np.uint16(0), np.uint16(ONE))


def mixup_weights(shape: tuple[int, int], own: PerImage) -> UInt16[np.ndarray, "B H W"]:
    """Mixup: `own` everywhere (Zhang et al. 2018, equation 1), in 256ths."""
    weight = np.rint(ONE * own).astype(np.uint16)
    return np.broadcast_to(weight[:, None, None], (len(own), *shape))


def other_indices(index: Int[np.ndarray, "B"], draw: PerImage, count: int) -> Int[np.ndarray, "B"]:
    """For each index another one of the same `count` images, by a draw in [0, 1)."""
    return (index + 1 + (draw * (count - 1)).astype(int)) % count
