"""How images are changed for training: moved, turned, recoloured, covered, mixed.

Each function changes every image of a batch by numbers of its own, which the caller draws.
"""

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8, UInt16

Images = UInt8[np.ndarray, "B H W C"]
Each = Float[np.ndarray, "B"]
WHOLE = 256  # a weight of 1, in the integers that images are mixed by
# Red, green and blue in the brightness that is seen (ITU-R BT.601).
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_CHUNK = 16  # images whose intermediate arrays fit a processor's cache


def crop(images: Images, pad: int, down: Each, right: Each) -> Images:
    """A window as large as the image, of the image with a black border of `pad` pixels.

    `down` and `right` say where it begins, from 0 to 1.
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


def mirrored(images: Images, mirror: Bool[np.ndarray, "B"]) -> Images:
    """The images, left and right exchanged where `mirror`."""
    images = images.copy()
    images[mirror] = images[mirror][:, :, ::-1]
    return images


def warp(images: Images, angle: Each, zoom: Each, shift: Float[np.ndarray, "B 2"]) -> Images:
    """Each image turned clockwise by its angle (radians), zoomed, then shifted down and right.

    About the center, shifted in pixels; between pixels linearly interpolated, black outside.
    """
    result = np.empty_like(images)
    for start in range(0, len(images), _CHUNK):
        part = slice(start, start + _CHUNK)
        result[part] = _warp(images[part], angle[part], zoom[part], shift[part])
    return result


def _warp(images, angle, zoom, shift):
    count, height, width, channels = images.shape
    border = np.pad(images, [(0, 0), (1, 1), (1, 1), (0, 0)])
    # Channels first: loops over three numbers at a time would take most of the time.
    planes = np.moveaxis(border, -1, 0).reshape(channels, -1).astype(np.float64)
    # Of every pixel of the result, the place it comes from.
    center = (height - 1) / 2, (width - 1) / 2
    y = np.arange(height)[None, :, None] - center[0] - shift[:, 0, None, None]
    x = np.arange(width)[None, None, :] - center[1] - shift[:, 1, None, None]
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
    down, right = y - top, x - left
    stride = width + 2
    corner = (np.arange(count)[:, None, None] * (height + 2) + top) * stride + left

    def between(corner):
        return _between(planes.take(corner, axis=1), planes.take(corner + 1, axis=1), right)

    mean = _between(between(corner), between(corner + stride), down)
    return np.moveaxis(np.rint(mean, out=mean), 0, -1)


def _between(first, second, part):
    """first + part * (second - first), in the memory of the second."""
    second -= first
    second *= part
    second += first
    return second


def recolor(images: Images, brightness: Each, contrast: Each, saturation: Each) -> Images:
    """Each image's distance from gray, from its mean and from black made so many times as great.

    In this order; a factor of 1 changes nothing. Images of one channel have no saturation.
    """
    result = np.empty_like(images)
    for start in range(0, len(images), _CHUNK):
        part = slice(start, start + _CHUNK)
        bright, apart, vivid = (
            factor[part, None, None, None].astype(np.float32)
            for factor in (brightness, contrast, saturation)
        )
        values = images[part].astype(np.float32)
        gray = (values @ LUMA)[..., None] if images.shape[-1] == 3 else values
        mean = gray.mean(axis=(1, 2, 3), keepdims=True)
        # The three are one linear map, so that no pixel is rounded or cut off in between.
        values *= bright * apart * vivid
        values += bright * (apart * (1 - vivid) * gray + (1 - apart) * mean)
        result[part] = np.rint(np.clip(values, 0, 255, out=values), out=values)
    return result


def boxes(
    shape: tuple[int, int], y: Each, x: Each, height: Each, width: Each
) -> Bool[np.ndarray, "B H W"]:
    """Whether a pixel is in a rectangle around (y, x), all numbers being parts of the image's size.

    What of it is outside the image is cut off.
    """
    inside = []
    for size, middle, extent in zip(shape, (y, x), (height, width), strict=True):
        first, last = (np.rint(size * (middle + side * extent / 2))[:, None] for side in (-1, 1))
        place = np.arange(size)[None]
        inside.append((first <= place) & (place < last))
    return inside[0][:, :, None] & inside[1][:, None, :]


def cover(images: Images, where: Bool[np.ndarray, "B H W"]) -> Images:
    """The images, gray in some places (DeVries and Taylor 2017, section 3)."""
    return np.where(where[..., None], np.uint8(128), images)


def mix(own: Images, other: Images, weight: UInt16[np.ndarray, "B H W"]) -> Images:
    """The mean of two images, `weight` / 256 being the first one's part in each pixel."""
    weight = np.repeat(weight, own.shape[-1], axis=-1).reshape(own.shape)
    return ((own * weight + other * (WHOLE - weight) + WHOLE // 2) // WHOLE).astype(np.uint8)


def share(weight: UInt16[np.ndarray, "B H W"]) -> Float[np.ndarray, "B"]:
    """The part of a mixed image that is its own, over all pixels."""
    return (weight.mean(axis=(1, 2)) / WHOLE).astype(np.float32)


def cut_weights(shape: tuple[int, int], own: Each, y: Each, x: Each) -> UInt16[np.ndarray, "B H W"]:
    """0 in a rectangle of 1 - `own` of the image around (y, x) (Yun et al. 2019, equation 2)."""
    side = np.sqrt(1 - own)
    return np.where(boxes(shape, y, x, side, side), np.uint16(0), np.uint16(WHOLE))


def blend_weights(shape: tuple[int, int], own: Each) -> UInt16[np.ndarray, "B H W"]:
    """`own` everywhere (Zhang et al. 2018, equation 1), in 256ths."""
    weight = np.rint(WHOLE * own).astype(np.uint16)
    return np.broadcast_to(weight[:, None, None], (len(own), *shape))


def other_indices(index: Int[np.ndarray, "B"], draw: Each, count: int) -> Int[np.ndarray, "B"]:
    """For each of some of `count` things another one, by a draw in [0, 1)."""
    return (index + 1 + (draw * (count - 1)).astype(int)) % count
