"""The task of captioning: batches, loss, captions and where their words point."""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from attn_research.data.batching import Rows
from attn_research.data.files import user_path
from attn_research.data.images.captioned import SPLITS, CaptionedImages
from attn_research.data.images.files import read_image
from attn_research.data.text.saved_tokenizers import load_tokenizer
from attn_research.data.text.tokenizers import EOS, PAD, WordTokenizer
from attn_research.models.captioner import Captioner
from attn_research.training.step import Sums
from attn_research.types import PyTree
from experiments.harness.config import Config, padded_rows
from experiments.harness.task import AttentionMap, Response
from experiments.tasks.captioning import data, losses, predictions, scores
from experiments.tasks.captioning.inference import Members
from experiments.tasks.decoding import previous_words
from experiments.tasks.images import as_floats, numbered


@dataclasses.dataclass(frozen=True)
class CaptioningTask:
    """Captioning of images; `splits` are there after `load`, the tokenizer also of `restore`."""

    config: Config
    splits: dict[str, CaptionedImages] | None = None
    tokenizer: WordTokenizer | None = None

    inputs: ClassVar[str] = "image"
    example: ClassVar[str] = "--image=FILE --attention=map.png"

    @property
    def vocab_size(self) -> int:
        """The vocabulary size; before words are known as large as the config allows."""
        known = self.tokenizer
        return self.config.task.images.vocab_size if known is None else known.vocab_size

    @functools.cached_property
    def about(self) -> dict[str, Any]:
        hashes = {split: [self.splits[split].fingerprint] for split in SPLITS}
        return {"sha256": hashes, "train_images": len(self.splits["train"])}

    @property
    def steps_per_epoch(self) -> float:
        return self._batches.per_epoch

    def check(self) -> None:
        data.check(self.config.task.images)

    def load(self) -> "CaptioningTask":
        part = self.config.task.images
        splits = data.load(part, self.config.train.seed)
        tokenizer = data.make_tokenizer(part, splits["train"])
        return dataclasses.replace(self, splits=splits, tokenizer=tokenizer)

    def save(self, folder: Path) -> None:
        self.tokenizer.save(folder / "text")

    def restore(self, folder: Path) -> "CaptioningTask":
        return dataclasses.replace(self, tokenizer=load_tokenizer(folder / "text"))

    def batch_spec(self) -> PyTree:
        part = self.config.task
        rows, size = padded_rows(self.config, part.batch_size), part.images.image_size
        return {
            "image": jax.ShapeDtypeStruct((rows, size, size, 3), jnp.uint8),
            "target": jax.ShapeDtypeStruct((rows, data.longest(self.config)), jnp.int32),
        }

    def init_inputs(self) -> tuple:
        size = self.config.task.images.image_size
        return jnp.zeros((1, size, size, 3)), jnp.full((1, 2), EOS, jnp.int32)

    @functools.cached_property
    def _batches(self):
        return data.make_batches(self.config, self.encode("train"))

    def encode(self, split: str) -> data.Captions:
        """The captions of a split as ids."""
        longest = self.config.task.images.max_words
        return data.encode(self.splits[split], self.tokenizer, longest)

    def train_batches(self, start: int, rows: Rows) -> Iterator[PyTree]:
        return self._batches.iterate(start, rows)

    def eval_batches(self, split: str) -> Iterator[PyTree]:
        some = data.sample(self.encode(split))
        return (batch for _, batch in data.eval_batches(self.config, some))

    def loss(self, network: Captioner, params, batch, key, *, train: bool) -> Sums:
        images, target = as_floats(batch["image"]), batch["target"]
        valid, previous = target != PAD, previous_words(target)
        # Draws of regions and of dropout are of keys of their own.
        rngs = {"dropout": key, "sample": jax.random.fold_in(key, 1)} if train else None
        found = network.apply(params, images, previous, train=train, rngs=rngs)
        sums = losses.loss_sums(self.config.task, found, target, valid, train=train)
        if found.weights is not None and "regions" in batch:
            sums.counts.update(losses.pointing_counts(found.weights, batch["regions"]))
        return sums

    def summarize(self, sums: Sums) -> dict[str, float]:
        """The loss of a caption, and pointing where gold regions are known."""
        found = {"loss": sums.total / sums.weight}
        if "gold" in sums.counts:
            found["pointing"] = sums.counts["pointed"] / max(1.0, sums.counts["gold"])
        return found

    def evaluators(self) -> tuple:
        return ()

    def predict(
        self, networks: Sequence[Captioner], params: Sequence[PyTree], folder: Path
    ) -> None:
        members = Members(tuple(networks), tuple(params))
        predictions.predict(self.config, self.splits, self.tokenizer, members, folder)
        if len(networks) == 1:
            predictions.keep_attention(
                self.config, self.encode("test"), self.tokenizer, members, folder
            )

    def score(self, folder: Path) -> dict[str, Any]:
        part = self.config.task.images
        test = self.splits["test"] if self.splits else data.load_test(part)
        return scores.score(test, folder)

    def respond(
        self, networks: Sequence[Captioner], params: Sequence[PyTree], inputs: Iterable[str]
    ) -> Iterator[Response]:
        members, part = Members(tuple(networks), tuple(params)), self.config.task
        for name in inputs:
            pixels = read_image(user_path(name), part.images.image_size)
            (found,) = members.write(pixels[None], part.beam_size, part.images.max_words)
            words = [self.tokenizer.decode([i]) for i in found.ids]
            maps = {}
            if found.weights is not None and len(networks) == 1:
                side = part.images.grid
                labels = tuple(map(str, range(side)))
                maps = {
                    title: AttentionMap(weights.reshape(side, side), labels, labels, pixels)
                    for title, weights in zip(numbered(words), found.weights, strict=True)
                }
            yield Response(str(name), " ".join(words), {"log_probability": found.log_prob}, maps)
