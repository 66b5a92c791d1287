"""The task of retrieval: contrastive loss, and how often the right one is found first."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.data.batching import Rows
from attn_research.data.files import user_path, write_whole
from attn_research.data.images.files import read_image
from attn_research.data.text.tokenizers import PAD
from attn_research.evaluation.rollout import rollout
from attn_research.models.clip import Clip
from attn_research.models.vit import ViT
from attn_research.training.cores import over_cores
from attn_research.training.objectives import cross_entropy
from attn_research.training.step import Sums
from attn_research.types import Array, Float, PyTree
from experiments.harness.config import Config, padded_rows
from experiments.harness.task import AttentionMap, Response, kept_file
from experiments.tasks.image_retrieval import data
from experiments.tasks.image_retrieval.data import Pairs
from experiments.tasks.images import as_floats

FILE, TOP = "test.txt", 5  # what is kept: the first of those found
BOTH = {"captions": 0, "images": 1}  # what is retrieved, by its axis after that of groups


def contrast(network: Clip, params: PyTree, pairs: Pairs) -> Float[Array, "G N N"]:
    """The logits of the captions [.., N] of each image [.., N, ..] of a group."""

    def of_group(images, ids):
        return network.apply(params, ids, None, images).logits

    return jax.vmap(of_group)(as_floats(pairs.images), pairs.ids)


@dataclasses.dataclass(frozen=True)
class ImageRetrievalTask:
    """Retrieval within groups of pairs; `splits` are there after `load`, captions then too."""

    config: Config
    splits: dict[str, data.PairSet] | None = None
    captions: tuple[str, ...] = ()  # those that `respond` chooses from

    inputs, example = "image", "--image=FILE --attention=map.png"

    @property
    def about(self) -> dict[str, Any]:
        return {"sha256": {name: [split.fingerprint] for name, split in self.splits.items()}}

    @property
    def steps_per_epoch(self) -> float:
        part = self.config.task
        return len(self.splits["train"]) // (part.num_groups * part.group_size)

    def check(self) -> None:
        part = self.config.task
        data.make_tokenizer(part)
        if part.num_scenes < part.num_groups * part.group_size:
            raise ValueError(
                f"--num_scenes={part.num_scenes} do not fill --num_groups={part.num_groups} of "
                f"--group_size={part.group_size}"
            )

    def load(self) -> "ImageRetrievalTask":
        splits = {name: data.pair_set(self.config.task, name) for name in data.SPLITS}
        return dataclasses.replace(self, splits=splits, captions=splits["dev"].captions)

    def save(self, folder: Path) -> None:
        write_whole(folder / "captions.json", json.dumps(self.captions).encode())

    def restore(self, folder: Path) -> "ImageRetrievalTask":
        captions = tuple(json.loads((folder / "captions.json").read_bytes()))
        return dataclasses.replace(self, captions=captions)

    def batch_spec(self) -> PyTree:
        part, size = self.config.task, self.config.task.image_size
        shape = padded_rows(self.config, part.num_groups), part.group_size
        return Pairs(
            jax.ShapeDtypeStruct((*shape, size, size, 3), jnp.uint8),
            jax.ShapeDtypeStruct((*shape, part.max_words + 1), jnp.int32),
        )

    def init_inputs(self) -> tuple:
        part, size = self.config.task, self.config.task.image_size
        ids = jnp.zeros((1, part.max_words + 1), jnp.int32)
        return ids, None, jnp.zeros((1, size, size, 3))

    def train_batches(self, start: int, rows: Rows) -> Iterator[PyTree]:
        part, seed = self.config.task, self.config.train.seed
        chosen = rows(padded_rows(self.config, part.num_groups))
        shape = part.num_groups, part.group_size
        return self.splits["train"].shuffled(shape, chosen, seed=seed, start=start)

    def eval_batches(self, split: str) -> Iterator[PyTree]:
        found, part = self.splits[split], self.config.task
        if split == "train":
            some = slice(len(self.splits["dev"]))
            found = data.PairSet(found.images[some], found.captions[some], found.ids[some])
        return found.ordered(part.group_size, part.num_groups)

    def loss(self, network: Clip, params, batch, key, *, train: bool) -> Sums:
        """InfoNCE in both directions: the mean of the cross entropies of captions and of images."""
        logits = contrast(network, params, batch)
        real = batch.ids[..., 0] != PAD
        gold = jnp.broadcast_to(jnp.arange(logits.shape[-1]), real.shape)
        total, right = 0.0, 0.0
        for each in (logits, jnp.swapaxes(logits, 1, 2)):
            loss, count = cross_entropy(each, gold, real)
            total += loss / 2
            right += jnp.sum((each.argmax(axis=-1) == gold) & real, dtype=jnp.float32) / 2
        return Sums(total, count, {"correct": right})

    def summarize(self, sums: Sums) -> dict[str, float]:
        """The loss, and recall@1 within groups of the training's size, of both directions."""
        return {"loss": sums.total / sums.weight, "recall": sums.counts["correct"] / sums.weight}

    def evaluators(self) -> tuple:
        return ()

    def predict(self, networks: Sequence[Clip], params: Sequence[PyTree], folder: Path) -> None:
        lines = []
        for pairs in self.splits["test"].ordered(self.config.task.test_size):
            (logits,) = _mean_logits(tuple(networks))(tuple(params), pairs)
            found = [np.argsort(-x, axis=1)[:, :TOP] for x in (logits, logits.T)]
            for both in zip(*found, strict=True):
                lines.append("\t".join(" ".join(map(str, one)) for one in both) + "\n")
        write_whole(folder / FILE, "".join(lines).encode())

    def score(self, folder: Path) -> dict[str, Any]:
        """Recall@1 and @5: of images whose caption is found, and of captions whose image is."""
        path, part = kept_file(folder / FILE), self.config.task
        lines = [line.split("\t") for line in path.read_text().splitlines()]
        if len(lines) != part.test_groups * part.test_size:
            raise ValueError(f"{path} has {len(lines)} lines for another number of pairs")
        scores = {}
        for name, column in BOTH.items():
            found = np.array([line[column].split() for line in lines], int)
            hits = found == np.arange(len(lines))[:, None] % part.test_size
            for most in (1, TOP):
                scores[f"{name} @{most}"] = round(float(hits[:, :most].any(axis=1).mean()), 6)
        return {
            "tests": {"test": scores | {"pairs": len(lines)}},
            "predictions": {path.name: hashlib.sha256(path.read_bytes()).hexdigest()},
        }

    def respond(
        self, networks: Sequence[Clip], params: Sequence[PyTree], inputs: Iterable[str]
    ) -> Iterator[Response]:
        """The caption of the development set that is closest to an image."""
        part = self.config.task
        ids = data.encode(part, data.make_tokenizer(part), self.captions)
        for name in inputs:
            pixels = read_image(user_path(name), part.image_size)
            (logits,) = _mean_logits(tuple(networks))(
                tuple(params), Pairs(pixels[None, None], ids[None])
            )
            order = np.argsort(-logits[0])[:TOP]
            scores = {self.captions[i]: float(logits[0, i]) for i in order}
            maps = {}
            if len(networks) == 1:
                vision, own = networks[0].vision, params[0]["params"]["vision"]
                weights = _captured(vision)({"params": own}, as_floats(pixels[None])).weights
                grid = rollout(np.asarray(weights[0]))[0, 1:].reshape(vision.grid(pixels.shape[:2]))
                labels = (tuple(map(str, range(size))) for size in grid.shape)
                maps["rollout"] = AttentionMap(grid, *labels, pixels)
            yield Response(str(name), self.captions[order[0]], scores, maps)


@functools.cache
def _captured(vision: ViT):
    return jax.jit(functools.partial(vision.apply, capture="all"))


@functools.cache
def _mean_logits(networks: tuple[Clip, ...]):
    """The logits of one network, or the mean of several."""

    def mean(params, pairs):
        each = [contrast(*both, pairs) for both in zip(networks, params, strict=True)]
        return sum(each) / len(each)

    return over_cores(mean)
