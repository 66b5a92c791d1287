"""Captions and attention on the test set, written to a folder; see `scores` for the files."""

import io
from pathlib import Path

import numpy as np

from attn_research.data.arrays import read_arrays
from attn_research.data.files import write_whole
from attn_research.data.images.captioned import CaptionedImages
from attn_research.data.text.tokenizers import WordTokenizer
from attn_research.viewing.image_maps import ImageMaps
from experiments.harness.config import Config
from experiments.tasks.captioning import data, scores
from experiments.tasks.captioning.inference import Members, Written
from experiments.tasks.images import numbered

SHOWN = 4  # images of the gallery


def predict(
    config: Config, splits: dict[str, CaptionedImages], tokenizer: WordTokenizer,
    members: Members, folder: Path,
) -> None:  # fmt: skip
    """Writes a caption of each test image, and the best one for all."""
    test, captions = splits["test"], []
    for start in range(0, len(test), data.EVAL_BATCH):
        some = test.images[start : start + data.EVAL_BATCH]
        captions += [tokenizer.decode(each.ids) for each in _write(config, members, some)]
    constant = scores.best_constant(splits["train"], splits["dev"])
    counts = scores.counts_text(scores.count(captions, constant, test))
    lines = "".join(f"{caption}\n" for caption in captions)
    for name, text in (
        (scores.CAPTIONS, lines),
        (scores.CONSTANT, f"{constant}\n"),
        (scores.COUNTS, counts),
    ):
        write_whole(folder / name, text.encode())


def _write(config: Config, members: Members, images: np.ndarray) -> list[Written]:
    """The captions of at most a batch of images, padded to a whole one: one program suffices."""
    part, missing = config.task, data.EVAL_BATCH - len(images)
    padded = np.pad(images, [(0, missing), *[(0, 0)] * 3])
    return members.write(padded, part.beam_size, part.images.max_words)[: len(images)]


def keep_attention(
    config: Config, test: data.Captions, tokenizer: WordTokenizer, members: Members, folder: Path
) -> None:
    """Writes where the words of references point, and a gallery, if there is attention."""
    shown = test.data.images[:SHOWN]
    written = _write(config, members, shown)
    if written[0].weights is None:
        return
    longest = max(len(each.ids) for each in written)
    weights = np.zeros((len(shown), longest, written[0].weights.shape[-1]), np.float32)
    for row, each in enumerate(written):
        weights[row, : len(each.ids)] = each.weights
    captions = np.array([tokenizer.decode(each.ids) for each in written])
    gallery = {"images": shown, "captions": captions, "weights": weights.astype(np.float16)}
    write_whole(folder / scores.GALLERY, _npz(gallery))
    if test.data.regions is None:
        return
    found: dict[int, np.ndarray] = {}
    for indices, batch in data.eval_batches(config, test):
        weights = members.point(batch["image"], batch["target"])
        for row, index in enumerate(indices.tolist()):
            found[index] = weights[row][batch["regions"][row].any(axis=-1)]
    every = np.concatenate([found[index] for index in range(len(test))])
    write_whole(folder / scores.POINTING, _npz({"weights": scores.quantize(every)}))


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    return content.getvalue()


def read_gallery(folder: Path) -> list[ImageMaps]:
    """The images of a gallery with a map for each word; none where there is no attention."""
    if not (folder / scores.GALLERY).exists():
        return []
    keys = ("images", "captions", "weights")
    arrays = read_arrays(folder / scores.GALLERY, keys)
    side = round(arrays["weights"].shape[-1] ** 0.5)
    found = []
    for image, caption, weights in zip(*(arrays[key] for key in keys), strict=True):
        titles = numbered(str(caption).split())
        grids = weights.astype(float).reshape(-1, side, side)
        found.append(ImageMaps(image, dict(zip(titles, grids, strict=False))))
    return found
