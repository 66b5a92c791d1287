"""The task of word classification: batches, loss, predictions and their accuracy."""

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
from flax import linen as nn

from attn_research.data.audio.files import RATE
from attn_research.data.audio.utterances import Corpus
from attn_research.data.batching import Rows
from attn_research.data.files import write_whole
from attn_research.evaluation.classification import accuracy
from attn_research.evaluation.rollout import rollout
from attn_research.training.cores import over_cores
from attn_research.training.objectives import cross_entropy
from attn_research.training.step import Sums
from attn_research.types import Array, Float, PyTree
from attn_research.viewing import plots
from attn_research.viewing.image_maps import ImageMaps, image_figure
from attn_research.viewing.sound_maps import SoundMap, sound_figure
from experiments.harness.config import Config
from experiments.harness.task import AttentionMap, Response, kept_file
from experiments.tasks.speech import batches, data
from experiments.tasks.speech.networks import SpectrogramViT, valid_frames

PREDICTIONS = "test.txt"
DRAWN = 6  # test sounds of the picture


@dataclasses.dataclass(frozen=True)
class SpeechClassificationTask:
    """Classification of sounds of one word; `corpus` and `classes` are there after `load`."""

    config: Config
    corpus: Corpus | None = None
    classes: tuple[str, ...] | None = None

    inputs, example = "audio", "--audio=FILE.wav --attention=map.png"

    @property
    def about(self) -> dict[str, Any]:
        return data.about(self.corpus)

    @property
    def contents(self) -> dict[str, Any]:
        """The names of the classes, and the fingerprints of the sounds."""
        return {"classes": list(self.classes)} | self.about

    @property
    def steps_per_epoch(self) -> float:
        return len(self.corpus.train) / self.config.task.batch_size

    def check(self) -> None:
        part = self.config.task
        data.check(part.sound)
        if part.augment.time_shift >= part.sound.seconds:
            raise ValueError(
                f"--time_shift={part.augment.time_shift} leaves nothing of "
                f"--seconds={part.sound.seconds}"
            )

    def load(self) -> "SpeechClassificationTask":
        part = self.config.task.sound
        corpus = data.load_words(part)
        classes = tuple(sorted({*corpus.train.texts, *corpus.dev.texts}))
        if len(classes) != part.num_classes:
            raise ValueError(
                f"--data={part.data} has {len(classes)} classes: give --num_classes={len(classes)}"
            )
        self._check_lengths(corpus)
        return dataclasses.replace(self, corpus=corpus, classes=classes)

    def _check_lengths(self, corpus: Corpus) -> None:
        """ValueError for a file that is longer than is read; of FSDD a line says how many are."""
        part = self.config.task
        cut = list(data.too_long(part.sound, part.augment, corpus))
        if cut and part.sound.data == "audio":
            raise ValueError(
                f"the sound {cut[0][0]} lasts {cut[0][1]:.2f} seconds: give more than "
                f"--seconds={part.sound.seconds}"
            )
        if cut:
            most = data.longest(part.sound, part.augment)
            logging.info("%d sounds last more than %.2f seconds, and may be cut", len(cut), most)

    def save(self, folder: Path) -> None:
        write_whole(folder / "classes.json", json.dumps(self.classes).encode())

    def restore(self, folder: Path) -> "SpeechClassificationTask":
        classes = tuple(json.loads((folder / "classes.json").read_bytes()))
        return dataclasses.replace(self, classes=classes)

    def batch_spec(self) -> PyTree:
        return batches.batch_spec(self.config, self._target)

    def init_inputs(self) -> tuple:
        sound = self.config.task.sound
        features = jnp.zeros((1, data.num_frames(sound), sound.num_mels))
        return features, jnp.ones(features.shape[:2], bool)

    def train_batches(self, start: int, rows: Rows) -> Iterator[PyTree]:
        return batches.train_batches(self.config, self.corpus.train, self._target, start, rows)

    def eval_batches(self, split: str) -> Iterator[PyTree]:
        return batches.eval_split(self.config, self.corpus, split, self._target)

    def loss(self, network: nn.Module, params, batch, key, *, train: bool) -> Sums:
        features, label = batch["features"], batch["label"]
        valid = valid_frames(features, batch["frames"])
        found = network.apply(params, features, valid, train=train, rngs={"dropout": key})
        smoothing = self.config.task.label_smoothing if train else 0.0
        total, count = cross_entropy(
            found.logits, jnp.maximum(label, 0), label >= 0, label_smoothing=smoothing
        )
        right = (found.logits.argmax(axis=-1) == label) & (label >= 0)
        return Sums(total, count, {"correct": jnp.sum(right, dtype=jnp.float32)})

    def summarize(self, sums: Sums) -> dict[str, float]:
        """The loss, and the accuracy, of a sound."""
        return {"loss": sums.total / sums.weight, "accuracy": sums.counts["correct"] / sums.weight}

    def evaluators(self) -> tuple:
        return ()

    def predict(
        self, networks: Sequence[nn.Module], params: Sequence[PyTree], folder: Path
    ) -> None:
        found = [""] * len(self.corpus.test)
        run = _mean_probs(tuple(networks))
        for indices, batch in batches.eval_batches(self.config, self.corpus.test, self._target):
            probs = np.asarray(run(tuple(params), batch["features"], batch["frames"]))
            for row, index in enumerate(indices):
                found[index] = self.classes[int(probs[row].argmax())]
        write_whole(folder / PREDICTIONS, "".join(f"{word}\n" for word in found).encode())
        if len(networks) == 1:
            self._draw(networks[0], params[0], found, folder / "attention.png")

    def score(self, folder: Path) -> dict[str, Any]:
        content = kept_file(folder / PREDICTIONS).read_bytes()
        corpus = data.load_words(self.config.task.sound)
        test = corpus.test
        found = content.decode().splitlines()
        if len(found) != len(test):
            raise ValueError(f"{folder / PREDICTIONS} has {len(found)} lines for {len(test)}")
        scores = {"accuracy": round(accuracy(found, test.texts), 6), "sounds": len(test)}
        scores |= data.held_out(self.config.task.sound, corpus)
        return {
            "tests": {"test": scores},
            "predictions": {PREDICTIONS: hashlib.sha256(content).hexdigest()},
            "gold": {"test": test.fingerprint},
        }

    def respond(
        self, networks: Sequence[nn.Module], params: Sequence[PyTree], inputs: Iterable[str]
    ) -> Iterator[Response]:
        seconds = self.config.task.sound.seconds
        for name in inputs:
            utterance = data.read(name)
            batch = batches.one(self.config, utterance)
            run = _mean_probs(tuple(networks))
            probs = np.asarray(run(tuple(params), batch["features"], batch["frames"]))[0]
            order = np.argsort(-probs)
            scores = {self.classes[i]: float(probs[i]) for i in order[:5]}
            maps = {}
            if len(networks) == 1:
                maps = attention_maps(networks[0], params[0], batch, seconds)
            lasts, notes = len(utterance.samples) / RATE, []
            most = data.longest_read(self.config.task.sound, self.config.task.augment)
            if lasts > most:
                notes.append(f"of {lasts:.2f} seconds the first {most:.2f} are read")
            yield Response(str(name), self.classes[order[0]], scores, maps, notes)

    def _target(self, text: str | None) -> batches.Batch:
        if text is None or self.classes is None:  # of an empty row, or before anything is read
            return {"label": np.array(-1, np.int32)}
        return {"label": np.array(self.classes.index(text), np.int32)}

    def _draw(self, network: nn.Module, params: PyTree, found: Sequence[str], path: Path) -> None:
        """The first test sounds of different classes, with what was found, and the attention."""
        texts = self.corpus.test.texts
        chosen = sorted({text: i for i, text in reversed(list(enumerate(texts)))}.values())[:DRAWN]
        over_pixels, sounds, seconds = [], [], self.config.task.sound.seconds
        for index in chosen:
            batch = batches.one(self.config, self.corpus.test[index])
            title = f"{found[index]} (gold: {texts[index]})"
            maps = attention_maps(network, params, batch, seconds)
            first = next(iter(maps.values()))
            if first.pixels is not None:
                weights = {name: each.weights for name, each in maps.items()}
                over_pixels.append(ImageMaps(first.pixels, weights, title))
            else:
                sounds.append(
                    SoundMap(batch["features"][0], first.weights, first.rows, seconds, title)
                )
        plots.save(image_figure(over_pixels) if over_pixels else sound_figure(sounds), path)


@functools.cache
def _mean_probs(networks: tuple[nn.Module, ...]) -> Callable[..., Float[Array, "B V"]]:
    """The mean distribution of several networks."""

    def mean_probs(params, features, frames):
        found = []
        for network, each in zip(networks, params, strict=True):
            valid = valid_frames(features, frames)
            found.append(jax.nn.softmax(network.apply(each, features, valid).logits))
        return sum(found) / len(found)

    return over_cores(mean_probs)


@functools.cache
def _captured(network: nn.Module) -> Callable[..., Array]:
    def weights(params, features, frames):
        valid = valid_frames(features, frames)
        return network.apply(params, features, valid, capture="all").weights

    return jax.jit(weights)


def attention_maps(
    network: nn.Module, params: PyTree, batch: batches.Batch, seconds: float
) -> dict[str, AttentionMap]:
    """The attention of one sound: of the class token over patches, or of rows over time."""
    weights = np.asarray(_captured(network)(params, batch["features"], batch["frames"]))[0]
    features = batch["features"][0]
    if isinstance(network, SpectrogramViT):
        return _over_patches(network, weights, features)
    rows = [f"row {number + 1}" for number in range(len(weights))]
    steps = [f"{seconds * step / weights.shape[1]:.2f}" for step in range(weights.shape[1])]
    return {"attention": AttentionMap(weights, rows, steps, features=features, seconds=seconds)}


def _over_patches(
    network: SpectrogramViT, weights: Float[np.ndarray, "L N P P"], features: np.ndarray
) -> dict[str, AttentionMap]:
    """The class token's attention by rollout and by head of the last layer; time goes right."""
    grid = network.vit.grid(features.shape)
    spread = features - features.min()
    pixels = np.round(255 * spread / max(float(spread.max()), 1e-6)).astype(np.uint8)
    found = {"rollout": rollout(weights)[0, 1:]}
    found |= {f"head {head + 1}": weights[-1, head, 0, 1:] for head in range(weights.shape[1])}
    maps = {}
    for name, one in found.items():
        turned = one.reshape(grid).T[::-1]
        rows, columns = (tuple(map(str, range(size))) for size in turned.shape)
        maps[name] = AttentionMap(turned, rows, columns, pixels.T[::-1][..., None])
    return maps
