"""Dosovitskiy et al. 2020, Tables 1 and 5: is an image a sentence of patches?

python -m experiments.vit2020                              scikit-learn's digits, CPU, a minute
python -m experiments.vit2020 --data=mnist --data_dir=DIR  10,000 training images
python -m experiments.vit2020 --data=cifar10 --data_dir=DIR
python -m experiments.vit2020 --data=cifar10 --data_dir=DIR --row=Ti/4
                                                           the same images, one GPU, minutes
python -m experiments.vit2020 --data=cifar10 --data_dir=DIR --row=hybrid
                                                           over a small residual network's map
python -m experiments.vit2020 --data=cifar10 --data_dir=DIR --row=hybrid-100
                                                           the same for a GPU
python -m experiments.vit2020 --data=folder --image_dir=DIR --num_classes=N
                                                           train/CLASS/* and test/CLASS/*
python -m experiments.vit2020 --scale=paper --describe     the paper's sizes, from Ti to H
"""

import dataclasses
import functools
import hashlib
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.data.files import write_whole
from attn_research.data.image_batches import ImageBatches, ordered
from attn_research.data.images import ImageSet, load_images
from attn_research.layers.convolution import ResidualStem
from attn_research.models.vit import SIZES, ViT
from attn_research.training.objectives import cross_entropy, mixed_cross_entropy
from attn_research.training.step import Sums
from experiments import harness, image_tables, paper
from experiments.paper import Experiment, Model, Optimizer, Paper, Row, knob


@dataclasses.dataclass(frozen=True)
class Config(paper.Config):
    """The knobs of the Vision Transformer; sizes as in the paper's Table 1."""

    data: Literal["digits", "mnist", "cifar10", "folder"] = knob(
        "digits", "scikit-learn's digits, MNIST, CIFAR-10, or a folder of images"
    )
    data_dir: str = knob("", "folder of data sets; ATTN_DATA_DIR if unset")
    image_dir: str = knob("", "--data=folder: the folder")
    image_size: int = knob(8, "pixels a side", 1)
    channels: int = knob(1, "of a pixel", 1)
    num_classes: int = knob(10, "of the data", 2)
    patch: int = knob(2, "pixels of a patch, a side; of the stem's map, where there is one", 1)
    stem_stages: int = knob(0, "stages of a residual network before the patches; 0 has none", 0)
    stem_width: int = knob(64, "its channels, twice as many in each stage", 16)
    stem_blocks: int = knob(1, "its residual blocks of two convolutions, in a stage", 1)
    num_layers: int = knob(4, "blocks", 1)
    model_dim: int = knob(64, "hidden size D", 1)
    mlp_dim: int = knob(128, "MLP size", 1)
    num_heads: int = knob(4, "heads", 1)
    pooling: Literal["class", "mean"] = knob("class", "read a class token, or the mean of patches")
    dropout: float = knob(0.1, "of each layer's output and of the embeddings", 0.0)
    skip: float = knob(0.0, "probability that a training image skips a layer", 0.0)
    label_smoothing: float = knob(0.1, "probability spread over the classes", 0.0)
    batch_size: int = knob(128, "images of a step", 1)
    crop: int = knob(0, "pixels that a training image is moved by, at most", 0)
    flip: bool = knob(False, "mirror every other training image")
    turn: float = knob(0.0, "degrees that a training image is turned by, at most", 0.0)
    zoom: float = knob(1.0, "factor it is made larger or smaller by, at most", 1.0)
    color: float = knob(0.0, "part its brightness, contrast and saturation change by, at most", 0.0)
    erase: int = knob(0, "pixels a side of a gray square that covers some of it, at most", 0)
    cutmix: float = knob(0.0, "part of the images that get a rectangle of another", 0.0)
    mixup: float = knob(0.0, "part of the images that are blended with another", 0.0)
    optimizer: Optimizer = knob("adamw", "the update rule")


def _sized(size: str, patch: int, params: float | None, image_size: int = 224) -> Row:
    layers, width, mlp, heads = SIZES[size]
    sizes = dict(num_layers=layers, model_dim=width, mlp_dim=mlp, num_heads=heads, patch=patch)
    of_paper = {"paper": {"image_size": image_size}} if image_size != 224 else {}
    return Row(sizes, {"params": params} if params else {}, scales=of_paper)


# A small model trained from nothing on 50,000 images, for 150 epochs of them: the sizes of Lee et
# al. 2021, section 4.1.
_FROM_NOTHING = dict(
    image_size=32, channels=3, batch_size=512, num_steps=14_250, eval_every=950, save_every=950,
    dtype="bfloat16", optimizer="muon", learning_rate=3e-3, weight_decay=0.2, warmup_steps=950,
    dropout=0.0, skip=0.05, crop=4, flip=True, cutmix=0.5, mixup=0.3, remat="none",
)  # fmt: skip

# Convolutions know what patches have to learn, that neighbors belong together.
_STEM = dict(
    stem_stages=3, stem_width=64, patch=1, num_layers=4, model_dim=256, mlp_dim=512, num_heads=4
)
# The same images for two CPU cores, for 19 epochs.
_HYBRID = dict(
    image_size=32, channels=3, batch_size=128, num_steps=7420, eval_every=371, save_every=371,
    optimizer="muon", learning_rate=3e-3, weight_decay=0.5, warmup_steps=371, dropout=0.0,
    crop=4, flip=True, cutmix=0.5,
)  # fmt: skip
# For a GPU, for 100.
_HYBRID_100 = _HYBRID | dict(
    batch_size=256, num_steps=19_100, eval_every=955, save_every=955, dtype="bfloat16",
    weight_decay=0.2, warmup_steps=955, remat="none",
)  # fmt: skip

# The paper's Table 1 prints 86M, 307M and 632M; Ti and S are of later papers. The first row is a
# model of a size that its data can train from nothing.
ROWS = {
    "small": Row({}, {}, scales={"paper": dict(zip(
        ("num_layers", "model_dim", "mlp_dim", "num_heads"), SIZES["S"], strict=True
    ))}),
    "Ti/4": Row(
        dict(num_layers=9, model_dim=192, mlp_dim=384, num_heads=12, patch=4), {},
        scales={"small": _FROM_NOTHING},
    ),
    "hybrid": Row(_STEM, {}, scales={"small": _HYBRID}),
    "hybrid-100": Row(_STEM, {}, scales={"small": _HYBRID_100}),
    "Ti/16": _sized("Ti", 16, None),
    "S/16": _sized("S", 16, None),
    "B/16": _sized("B", 16, 86e6),
    "B/32": _sized("B", 32, 86e6),
    "L/16": _sized("L", 16, 307e6),
    "L/32": _sized("L", 32, 307e6),
    "H/14": _sized("H", 14, 632e6),
    "B/16-384": _sized("B", 16, 86e6, image_size=384),
}  # fmt: skip
# Top-1 accuracy on CIFAR-10 after training on ImageNet, at 384 pixels: the paper's Table 5.
PAPER_CIFAR_10 = {"B/16": 98.13, "B/32": 97.77, "L/16": 97.86, "L/32": 97.94}

# Recipes for two CPU cores, where to keep what is no matrix product for the gradient takes longer
# than to compute it again.
_ON_A_CPU = dict(optimizer="muon", learning_rate=3e-3, weight_decay=0.1, remat="products")
_PHOTOGRAPHS = _ON_A_CPU | dict(
    channels=3, model_dim=128, mlp_dim=256, batch_size=64, num_steps=7500, eval_every=750,
    save_every=750, flip=True,
)  # fmt: skip
SCALES = {
    ("", "tiny"): dict(
        num_layers=2, model_dim=16, mlp_dim=32, num_heads=2, batch_size=16, num_steps=12,
        eval_every=6, save_every=6, warmup_steps=2,
    ),
    ("digits", "small"): dict(
        num_steps=1000, eval_every=200, save_every=200, turn=10.0, zoom=1.1, **_ON_A_CPU
    ),
    ("mnist", "tiny"): dict(image_size=28, patch=7),
    ("mnist", "small"): dict(
        image_size=28, patch=7, num_steps=4000, eval_every=500, save_every=500, crop=2,
        turn=10.0, zoom=1.1, **_ON_A_CPU,
    ),
    ("cifar10", "tiny"): dict(image_size=32, channels=3, patch=8),
    ("cifar10", "small"): dict(image_size=32, patch=4, crop=4, **_PHOTOGRAPHS),
    ("folder", "tiny"): dict(image_size=32, channels=3, patch=8),
    ("folder", "small"): dict(image_size=64, patch=8, crop=8, **_PHOTOGRAPHS),
    ("", "paper"): dict(
        data="folder", image_size=224, channels=3, num_classes=1000, patch=16, batch_size=4096,
        num_steps=93_000, learning_rate=3e-3, weight_decay=0.3, warmup_steps=10_000, crop=16,
        flip=True, eval_every=5000, save_every=1000, label_smoothing=0.0,
    ),
}  # fmt: skip


def make_network(config: Config) -> ViT:
    """The network of a config."""
    stem = None
    if config.stem_stages:
        stem = ResidualStem(config.stem_width, config.stem_stages, config.stem_blocks)
    return ViT(
        num_classes=config.num_classes,
        image_size=(config.image_size, config.image_size),
        patch=config.patch,
        num_layers=config.num_layers,
        model_dim=config.model_dim,
        mlp_dim=config.mlp_dim,
        num_heads=config.num_heads,
        stem=stem,
        dropout=config.dropout,
        skip=config.skip,
        pooling=config.pooling,
        implementation=config.named_implementation,
        remat=config.remat,
    )


def make_model(config: Config) -> Model:
    """Init and loss."""
    network = make_network(config)
    image = config.image_size, config.image_size, config.channels

    def init(key):
        return network.init(key, jnp.zeros((1, *image)))

    def loss(params, batch, key, train=True):
        label = batch["label"]
        rngs = {"dropout": key}
        logits = network.apply(params, as_floats(batch["image"]), train, rngs=rngs).logits
        smoothing = config.label_smoothing if train else 0.0
        if "share" in batch:
            second = batch["other"], batch["share"]
            total, count = mixed_cross_entropy(logits, label, *second, label >= 0, smoothing)
        else:
            total, count = cross_entropy(logits, label, label >= 0, smoothing)
        return Sums(total, count, {"examples": count})

    kinds = {"image": jnp.uint8, "label": jnp.int32}
    if config.cutmix + config.mixup:
        kinds |= {"other": jnp.int32, "share": jnp.float32}
    batch = {
        name: jax.ShapeDtypeStruct((config.batch_size, *(image if name == "image" else ())), kind)
        for name, kind in kinds.items()
    }
    eval_loss = functools.partial(loss, train=False)
    return Model(init, loss, eval_loss, batch, network.tensor_rules)


def as_floats(images):
    """Bytes as numbers from -1 to 1."""
    return jnp.asarray(images, jnp.float32) / 127.5 - 1


@functools.lru_cache(maxsize=2)
def _load(data: str, data_dir: str, folder: str, size: int) -> dict[str, ImageSet]:
    return load_images(data, data_dir or None, folder=folder or None, size=size)


def load(config: Config) -> dict[str, ImageSet]:
    """The splits a config names; ValueError where they are not of its sizes."""
    splits = _load(config.data, config.data_dir, config.image_dir, config.image_size)
    found = splits["train"].images.shape[1:], len(splits["train"].classes)
    wanted = (config.image_size, config.image_size, config.channels), config.num_classes
    if found != wanted:
        (height, width, channels), classes = found
        raise ValueError(
            f"--data={config.data} has {classes} classes of {height} x {width} pixels of "
            f"{channels}: give --num_classes={classes} --image_size={height} --channels={channels}"
        )
    return splits


def build(config: Config) -> Experiment:
    """One row: its data, model and evaluation."""
    splits = load(config)
    batches = ImageBatches(
        splits["train"],
        config.batch_size,
        config.seed,
        pad=config.crop,
        flip=config.flip,
        turn=config.turn,
        zoom=config.zoom,
        color=config.color,
        erase=config.erase,
        cutmix=config.cutmix,
        mixup=config.mixup,
    )
    # A folder's images may stand in the order of their classes.
    every = max(1, len(splits["train"]) // len(splits["dev"]))

    def evaluate(params, folder):
        network = make_network(config)

        @jax.jit
        def predict(params, images):  # parameters in a closure would be constants of the program
            return network.apply(params, as_floats(images)).logits.argmax(axis=-1)

        found = np.zeros(len(splits["test"]), int)
        for members, batch in ordered(splits["test"], 256):
            found[members] = np.asarray(predict(params, batch["image"]))[: len(members)]
        write_whole(folder / "test.predictions.txt", "".join(f"{x}\n" for x in found).encode())
        some = splits["test"][:4]
        images = as_floats(some.images)
        image_tables.draw_maps(network, params, some, images, folder / "attention.png")
        return rescore(config, folder)

    def once(data: ImageSet, every: int = 1):
        return (batch for _, batch in ordered(data, 256, every))

    return Experiment(
        model=make_model(config),
        batches=batches.iterate,
        dev_batches=lambda: once(splits["dev"]),
        train_sample=lambda: once(splits["train"], every),
        evaluate=evaluate,
        about={
            "sha256": {name: [split.fingerprint] for name, split in splits.items()},
            "train_images": len(splits["train"]),
        },
        steps_per_epoch=batches.per_epoch,
    )


def rescore(config: Config, folder: Path) -> dict[str, Any]:
    """The accuracy, computed again from the predictions in `folder`."""
    path = folder / "test.predictions.txt"
    if not path.is_file():
        raise ValueError(f"{path} is missing: the predictions of this row were not kept")
    data = path.read_bytes()
    found, labels = np.array(data.split(), int), load(config)["test"].labels
    if len(found) != len(labels):
        raise ValueError(f"{path} has {len(found)} lines for {len(labels)} images")
    right = int((found == labels).sum())
    return {
        "tests": {"test": {"accuracy": round(right / len(labels), 6), "images": len(labels)}},
        "predictions": {path.name: hashlib.sha256(data).hexdigest()},
    }


def report(folder: Path) -> None:
    """The accuracy of each row, and Table 1, from the results in a folder."""
    image_tables.report(folder, __doc__.splitlines()[0], ROWS, PAPER_CIFAR_10)


PAPER = Paper(
    name="vit2020",
    config=Config,
    rows=ROWS,
    scales=SCALES,
    make_model=make_model,
    build=build,
    rescore=rescore,
    report=report,
)

if __name__ == "__main__":
    harness.main(PAPER)
