"""Scores of captions, computed from the predictions that were kept and nothing else.

- test.captions.txt: the caption of each test image.
- test.constant.txt: one caption for all of them, of those of training the best on the dev set.
- test.counts.txt: what BLEU counts of each image, ten numbers of the caption, then ten of the
  constant one: differences between rows and seeds are drawn from them.
- test.pointing.npz: of each word with a gold region its weights, whole numbers up to 255 times
  their share of the largest; the words are those of the reference, in order.
- gallery.npz: some test images, their captions and the weights of each word.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attn_research.data.arrays import read_arrays
from attn_research.data.files import read_lines
from attn_research.data.images.captioned import CaptionedImages
from attn_research.evaluation.bleu import bleu_counts
from attn_research.evaluation.bootstrap import bleu_by_order, bleu_difference
from attn_research.evaluation.pointing import (
    Pointing,
    center_weights,
    pointing,
    uniform_weights,
)
from attn_research.types import Bool, Float, Int, UInt
from experiments.harness.task import kept_file

CAPTIONS, CONSTANT, COUNTS = "test.captions.txt", "test.constant.txt", "test.counts.txt"
POINTING, GALLERY = "test.pointing.npz", "gallery.npz"
CANDIDATES, IMAGES = 200, 100  # captions that may be the constant one, and images that choose it


def score(test: CaptionedImages, folder: Path) -> dict[str, Any]:
    """BLEU, and pointing where gold regions are known, with their baselines."""
    captions = list(read_lines(kept_file(folder / CAPTIONS)))
    (constant,) = list(read_lines(kept_file(folder / CONSTANT)))
    if len(captions) != len(test):
        raise ValueError(f"{folder / CAPTIONS} has {len(captions)} lines for {len(test)} images")
    counts = count(captions, constant, test)
    if not np.array_equal(counts, read_counts(folder)):
        raise ValueError(f"{folder / COUNTS} is not what the captions beside it give")
    above = bleu_difference(counts[:1], counts[1:])
    right = [said in known for said, known in zip(captions, test.captions, strict=True)]
    scores: dict[str, Any] = {
        **_bleu(counts[0]),
        "exact": round(float(np.mean(right)), 6),
        "images": len(test),
        "constant": {"caption": constant, **_bleu(counts[1])},
        "above_constant": [round(value, 4) for value in above],
    }
    kept = [CAPTIONS, CONSTANT, COUNTS]
    if test.regions is not None:
        regions, grid = gold_regions(test), test.regions[0].shape[1:]
        scores["uniform"] = _rounded(pointing(uniform_weights(len(regions), grid), regions))
        scores["center"] = _rounded(pointing(center_weights(len(regions), grid), regions))
        if (folder / POINTING).exists():
            weights = read_weights(folder, regions.shape)
            scores["pointing"] = _rounded(pointing(weights, regions))
            kept.append(POINTING)
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in kept}
    return {"tests": {"test": scores}, "predictions": digests}


def gold_regions(data: CaptionedImages) -> Bool[np.ndarray, "W S"]:
    """The gold regions of the words that have one, of the first caption of each image."""
    every = np.concatenate([one.reshape(len(one), -1) for one in data.regions])
    return every[every.any(axis=1)]


def count(
    captions: Sequence[str], constant: str, data: CaptionedImages
) -> Int[np.ndarray, "2 N 10"]:
    """What BLEU counts of captions, and of the constant one."""
    return np.stack(
        [bleu_counts(each, data.captions) for each in (captions, [constant] * len(captions))]
    )


def best_constant(train: CaptionedImages, dev: CaptionedImages) -> str:
    """Of the most frequent training captions the one of the highest BLEU-4 on some dev images."""
    frequent = Counter(caption for captions in train.captions for caption in captions)
    candidates = [caption for caption, _ in frequent.most_common(CANDIDATES)]
    references = dev.captions[:IMAGES]

    def quality(caption: str) -> tuple[float, ...]:
        counts = bleu_counts([caption] * len(references), references).sum(axis=0)
        return tuple(bleu_by_order(counts)[::-1])

    return max(candidates, key=quality)


def counts_text(counts: Int[np.ndarray, "2 N 10"]) -> str:
    """The content of the file of counts."""
    rows = np.concatenate(list(counts), axis=1).tolist()
    return "".join(" ".join(map(str, row)) + "\n" for row in rows)


def read_counts(folder: Path) -> Int[np.ndarray, "2 N 10"]:
    """The counts that were kept; ValueError for a file of another kind."""
    path = kept_file(folder / COUNTS)
    try:
        rows = np.array([line.split() for line in read_lines(path)], int)
        return np.stack(np.split(rows, 2, axis=1))
    except ValueError as error:
        raise ValueError(f"{path} holds no counts of BLEU ({error})") from None


def quantize(weights: Float[np.ndarray, "W S"]) -> UInt[np.ndarray, "W S"]:
    """Weights as bytes, of which the largest of a word is 255."""
    return np.round(255 * weights / weights.max(axis=-1, keepdims=True)).astype(np.uint8)


def read_weights(folder: Path, shape: tuple[int, int]) -> Float[np.ndarray, "W S"]:
    """The weights that were kept; ValueError where they are not of so many words and regions."""
    weights = read_arrays(folder / POINTING, ("weights",))["weights"]
    if weights.shape != shape or weights.dtype != np.uint8 or not weights.any(axis=1).all():
        raise ValueError(f"{folder / POINTING} holds no weights of {shape} words and regions")
    return weights.astype(float)


def _bleu(counts: Int[np.ndarray, "N 10"]) -> dict[str, float]:
    found = bleu_by_order(counts.sum(axis=0)).tolist()
    return {f"bleu_{order}": round(value, 4) for order, value in enumerate(found, 1)}


def _rounded(found: Pointing) -> dict[str, float]:
    return {name: round(value, 6) for name, value in found._asdict().items()}
