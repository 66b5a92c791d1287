"""The task of image classification: batches, loss, predictions and their accuracy."""

import dataclasses
import functools
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.data.batching import Rows
from attn_research.data.files import user_path, write_whole
from attn_research.data.images.batches import ImageBatches, ordered_batches
from attn_research.data.images.datasets import ImageSet, load_images
from attn_research.data.images.files import ImageFiles, read_image
from attn_research.evaluation.rollout import rollout
from attn_research.models.vit import ViT
from attn_research.training.cores import over_cores
from attn_research.training.objectives import cross_entropy, mixed_cross_entropy
from attn_research.training.step import Sums
from attn_research.types import Array, Float, PyTree
from attn_research.viewing import plots
from attn_research.viewing.image_maps import ImageMaps, image_figure
from attn_research.viewing.views import patches_view
from experiments.harness.config import Config, config_placement, padded_rows
from experiments.harness.task import AttentionMap, Looked, Response, kept_file
from experiments.tasks.image_classification.config import ImageDataConfig
from experiments.tasks.images import as_floats

BATCH = 256  # images of a batch of evaluation
COPY = "copy.txt"  # beside predictions: the copy of the data set that they are of
# The shape of an image and the number of classes of the data sets that have their own.
BUILT = {"digits": ((8, 8, 1), 10), "mnist": ((28, 28, 1), 10), "cifar10": ((32, 32, 3), 10)}


@functools.lru_cache(maxsize=2)  # the rows of a table share their images
def _load(config: ImageDataConfig, copy: str | None = None) -> dict[str, ImageSet]:
    """The images that a config names, of one copy of a data set that there are several of."""
    folders = dict(folder=config.image_dir or None, size=config.image_size)
    splits = load_images(config.data, config.data_dir or None, copy=copy, **folders)
    train = splits["train"]
    _check_sizes(config, train.images.shape[1:], len(train.classes))
    for split in splits.values():
        if isinstance(split.images, ImageFiles):  # a broken one is to be known before training
            logging.info("decoding %d image files once, to find broken ones", len(split))
            split.images.check()
    return splits


def _check_sizes(config: ImageDataConfig, shape: tuple[int, int, int], classes: int) -> None:
    """ValueError where a config has other sizes than the images."""
    wanted = (config.image_size, config.image_size, config.channels), config.num_classes
    if (shape, classes) != wanted:
        height, width, channels = shape
        raise ValueError(
            f"--data={config.data} has {classes} classes of {height} x {width} pixels of "
            f"{channels}: give --num_classes={classes} --image_size={height} --channels={channels}"
            f", or for images of {config.image_size} pixels --data=folder"
        )


@dataclasses.dataclass(frozen=True)
class ImageClassificationTask:
    """Classification of images of one size; `splits` and `classes` are there after `load`."""

    config: Config
    splits: dict[str, ImageSet] | None = None
    classes: tuple[str, ...] | None = None

    inputs, example = "image", "--image=FILE --attention=map.png"

    @property
    def about(self) -> dict[str, Any]:
        hashes = {name: [split.fingerprint] for name, split in self.splits.items()}
        return {"sha256": hashes, "train_images": len(self.splits["train"])}

    @property
    def contents(self) -> dict[str, Any]:
        """The names of the classes, and the fingerprints of the images."""
        return {"classes": list(self.classes)} | self.about

    @property
    def steps_per_epoch(self) -> float:
        return self._batches.per_epoch

    def check(self) -> None:
        """ValueError or FileNotFoundError for images that there are not, before any is read."""
        part = self.config.task.images
        if part.data in BUILT:
            _check_sizes(part, *BUILT[part.data])
        elif not part.image_dir:
            raise ValueError("--data=folder needs --image_dir")
        elif not Path(part.image_dir, "train").is_dir():
            raise FileNotFoundError(
                f"--image_dir={part.image_dir}: no folder of images with train/CLASS/* and "
                "test/CLASS/*"
            )

    def load(self) -> "ImageClassificationTask":
        splits = _load(self.config.task.images)
        return dataclasses.replace(self, splits=splits, classes=splits["train"].classes)

    def save(self, folder: Path) -> None:
        write_whole(folder / "classes.json", json.dumps(self.classes).encode())

    def restore(self, folder: Path) -> "ImageClassificationTask":
        classes = tuple(json.loads((folder / "classes.json").read_bytes()))
        return dataclasses.replace(self, classes=classes)

    def batch_spec(self) -> PyTree:
        part = self.config.task
        image = part.images.image_size, part.images.image_size, part.images.channels
        specs = {"image": (image, jnp.uint8), "label": ((), jnp.int32)}
        if part.augment.cutmix + part.augment.mixup:
            specs |= {"other": ((), jnp.int32), "share": ((), jnp.float32)}
        rows = padded_rows(self.config, part.batch_size)
        return {
            name: jax.ShapeDtypeStruct((rows, *shape), dtype)
            for name, (shape, dtype) in specs.items()
        }

    def init_inputs(self) -> tuple:
        images = self.config.task.images
        return (jnp.zeros((1, images.image_size, images.image_size, images.channels)),)

    @functools.cached_property
    def _batches(self) -> ImageBatches:
        augment, part = self.config.task.augment, self.config.task
        return ImageBatches(
            self.splits["train"], part.batch_size, self.config.train.seed,
            pad=augment.crop, flip=augment.flip, rotate=augment.rotate, scale=augment.scale_jitter,
            color_jitter=augment.color_jitter, cutout=augment.cutout,
            cutmix=augment.cutmix, mixup=augment.mixup,
            row_multiple=config_placement(self.config).row_multiple,
        )  # fmt: skip

    def train_batches(self, start: int, rows: Rows) -> Iterator[PyTree]:
        return self._batches.iterate(start, rows)

    def eval_batches(self, split: str) -> Iterator[PyTree]:
        # A folder's images may stand in the order of their classes: a sample is spread over them.
        images, dev = self.splits[split], self.splits["dev"]
        every = max(1, len(images) // len(dev)) if split == "train" else 1
        return (batch for _, batch in ordered_batches(images, BATCH, every))

    def loss(self, network: ViT, params, batch, key, *, train: bool) -> Sums:
        label = batch["label"]
        images, rngs = as_floats(batch["image"]), {"dropout": key}
        logits = network.apply(params, images, train=train, rngs=rngs).logits
        smoothing = self.config.task.label_smoothing if train else 0.0
        if "share" in batch:
            second = batch["other"], batch["share"]
            total, count = mixed_cross_entropy(
                logits, label, *second, label >= 0, label_smoothing=smoothing
            )
        else:
            total, count = cross_entropy(logits, label, label >= 0, label_smoothing=smoothing)
        counts = {"examples": count}
        if not train:
            right = (logits.argmax(axis=-1) == label) & (label >= 0)
            counts["correct"] = jnp.sum(right, dtype=jnp.float32)
        return Sums(total, count, counts)

    def summarize(self, sums: Sums) -> dict[str, float]:
        """The loss, and the accuracy, of an image."""
        return {"loss": sums.total / sums.weight, "accuracy": sums.counts["correct"] / sums.weight}

    def evaluators(self) -> tuple:
        return ()

    def predict(self, networks: Sequence[ViT], params: Sequence[PyTree], folder: Path) -> None:
        test = self.splits["test"]
        found = np.zeros(len(test), int)
        for indices, batch in ordered_batches(test, BATCH):
            logits = _mean_logits(tuple(networks))(tuple(params), batch["image"])
            found[indices] = np.asarray(logits.argmax(axis=-1))[: len(indices)]
        write_whole(folder / "test.predictions.txt", "".join(f"{x}\n" for x in found).encode())
        if test.copy:
            write_whole(folder / COPY, f"{test.copy}\n".encode())
        network, some = networks[0], test[:4]
        if len(networks) == 1 and network.pooling == "class":
            maps = _maps(network, params[0], some.images)
            pictures = [
                ImageMaps(image, grids, self.classes[label])
                for image, grids, label in zip(some.images, maps, some.labels, strict=True)
            ]
            plots.save(image_figure(pictures), folder / "attention.png")

    def score(self, folder: Path) -> dict[str, Any]:
        path = folder / "test.predictions.txt"
        data, copy = kept_file(path).read_bytes(), folder / COPY
        test = self._test_set(copy.read_text().strip() if copy.exists() else None)
        try:
            found = np.array(data.split(), int)
        except ValueError as error:
            raise ValueError(f"{path} holds what is no number of a class ({error})") from None
        if len(found) != len(test):
            raise ValueError(f"{path} has {len(found)} lines for {len(test)} images")
        right = int((found == test.labels).sum())
        scores = {"accuracy": round(right / len(test), 6), "images": len(test)}
        if test.lossy:
            scores["lossy"] = test.lossy
        return {
            "tests": {"test": scores},
            "predictions": {path.name: hashlib.sha256(data).hexdigest()},
        }

    def _test_set(self, copy: str | None) -> ImageSet:
        """The test images, of one copy of the data set or of any."""
        if self.splits and copy in (None, self.splits["test"].copy):
            return self.splits["test"]
        return _load(self.config.task.images, copy)["test"]

    def respond(
        self, networks: Sequence[ViT], params: Sequence[PyTree], inputs: Iterable[str]
    ) -> Iterator[Response]:
        config = self.config.task.images
        for name in inputs:
            pixels = read_pixels(user_path(name), config.image_size, config.channels)
            logits = _mean_logits(tuple(networks))(tuple(params), pixels[None])
            probabilities = np.asarray(jax.nn.softmax(logits[0]))
            order = np.argsort(-probabilities)
            scores = {self.classes[i]: float(probabilities[i]) for i in order[:5]}
            maps = {}
            if len(networks) == 1 and networks[0].pooling == "class":
                (grids,) = _maps(networks[0], params[0], pixels[None])
                for title, grid in grids.items():
                    rows, columns = (tuple(map(str, range(size))) for size in grid.shape)
                    maps[title] = AttentionMap(grid, rows, columns, pixels)
            yield Response(str(name), self.classes[order[0]], scores, maps)

    def look(self, network: ViT, params: PyTree, inputs: Iterable[str]) -> Iterator[Looked]:
        """The attention of every head over the patches of an image."""
        config = self.config.task.images
        for name in inputs:
            (response,) = self.respond([network], [params], [name])
            pixels = read_pixels(user_path(name), config.image_size, config.channels)
            weights = network.apply(params, as_floats(pixels[None]), capture="all").weights
            grid = network.grid(pixels.shape[:2])
            yield Looked(response, [patches_view(np.asarray(weights[0]), pixels, grid)])


@functools.cache
def _mean_logits(networks: tuple[ViT, ...]) -> Callable[..., Float[Array, "B V"]]:
    """The logits of one network, or the log of the mean distribution of several."""

    def mean(params, images):
        pairs = zip(networks, params, strict=True)
        logits = [network.apply(p, as_floats(images)).logits for network, p in pairs]
        if len(logits) == 1:
            return logits[0]
        return jnp.log(sum(jax.nn.softmax(each) for each in logits) / len(logits))

    return over_cores(mean)


def _maps(network: ViT, params: PyTree, images: np.ndarray) -> list[dict[str, np.ndarray]]:
    """Attention of the class token over each image: by rollout, and by head of the last layer."""
    weights = network.apply(params, as_floats(images), capture="all").weights
    side = network.grid(images.shape[1:3])
    return [
        {"rollout": rollout(np.asarray(one))[0, 1:].reshape(side)}
        | {
            f"head {head + 1}": np.asarray(one[-1, head, 0, 1:]).reshape(side)
            for head in range(one.shape[1])
        }
        for one in weights
    ]


def read_pixels(path: Path, size: int, channels: int) -> np.ndarray:
    """The pixels of an image file, resized to a square, in color or gray."""
    pixels = read_image(path, size)
    if channels == 1:
        return np.round(pixels.mean(axis=-1, keepdims=True)).astype(np.uint8)
    return pixels
