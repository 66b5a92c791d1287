"""The task of questions about images: batches, loss, answers and where they point."""

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from attn_research.data.batching import Rows
from attn_research.data.files import user_path
from attn_research.data.images.files import read_image
from attn_research.data.questions.asked import Question, QuestionSet, plain
from attn_research.data.text.saved_tokenizers import load_tokenizer
from attn_research.data.text.tokenizers import PAD, UNK, WordTokenizer, unknown_words
from attn_research.training.objectives import cross_entropy
from attn_research.training.step import Sums
from attn_research.types import PyTree
from experiments.harness.config import Config, padded_rows
from experiments.harness.task import Response
from experiments.tasks.images import as_floats, numbered
from experiments.tasks.visual_questions import data, predictions
from experiments.tasks.visual_questions.data import IMAGE_ID, Encoded, Split
from experiments.tasks.visual_questions.inference import answer, at_places

BATCH = 200  # questions of a batch of evaluation


@dataclasses.dataclass(frozen=True)
class VisualQuestionsTask:
    """Questions about images; `splits` are there after `load`, the tokenizer then too."""

    config: Config
    splits: dict[str, Split] | None = None
    tokenizer: WordTokenizer | None = None

    inputs = "image and question"
    example = '--image=FILE --question="what color is the circle ?" --attention=map.png'

    @property
    def about(self) -> dict[str, Any]:
        hashes = {name: [split.source.fingerprint()] for name, split in self.splits.items()}
        return {"sha256": hashes, "train_questions": len(self.splits["train"])}

    @property
    def contents(self) -> dict[str, Any]:
        """The fingerprints of questions and tokenizer."""
        return {"tokenizer": self.tokenizer.fingerprint} | self.about

    @property
    def steps_per_epoch(self) -> float:
        return len(self.splits["train"]) // self.config.task.batch_size

    def check(self) -> None:
        data.check(self.config.task)

    def load(self) -> "VisualQuestionsTask":
        part = self.config.task
        sets = {name: data.question_set(part, name) for name in data.SPLITS}
        if (count := len(sets["train"])) < part.batch_size:
            raise ValueError(f"{count} questions do not fill --batch_size={part.batch_size}")
        tokenizer = data.make_tokenizer(part, sets["train"])
        answers = sorted({each.answer for each in sets["train"].questions})
        if unknown := [word for word in answers if UNK in tokenizer.encode_words([word])]:
            raise ValueError(
                f"--vocab_size={part.vocab_size}: the answer {unknown[0]!r} is not among the "
                "words; give more"
            )
        splits = {name: data.make_split(part, tokenizer, one) for name, one in sets.items()}
        return dataclasses.replace(self, splits=splits, tokenizer=tokenizer)

    def save(self, folder: Path) -> None:
        self.tokenizer.save(folder)

    def restore(self, folder: Path) -> "VisualQuestionsTask":
        return dataclasses.replace(self, tokenizer=load_tokenizer(folder))

    def batch_spec(self) -> PyTree:
        part = self.config.task
        rows, size = padded_rows(self.config, part.batch_size), part.image_size
        length = part.described_length if part.learns == "described" else part.length
        return Encoded(
            jax.ShapeDtypeStruct((rows, part.num_images, size, size, 3), jnp.uint8),
            jax.ShapeDtypeStruct((rows, length), jnp.int32),
            jax.ShapeDtypeStruct((rows,), jnp.int32),
        )

    def init_inputs(self) -> tuple:
        part = self.config.task
        images = 1, part.num_images, part.image_size, part.image_size, 3
        return jnp.zeros((1, part.length - 1), jnp.int32), jnp.zeros(images)

    def train_batches(self, start: int, rows: Rows) -> Iterator[PyTree]:
        part, split = self.config.task, self.splits["train"]
        chosen, seed = rows(padded_rows(self.config, part.batch_size)), self.config.train.seed
        described = part.learns == "described"
        return split.shuffled(part.batch_size, chosen, seed=seed, start=start, described=described)

    def eval_batches(self, split: str) -> Iterator[PyTree]:
        found, dev = self.splits[split], self.splits["dev"]
        every = max(1, len(found) // len(dev)) if split == "train" else 1
        return (batch for _, batch in found.ordered(BATCH, every))

    def loss(self, network: nn.Module, params, batch, key, *, train: bool) -> Sums:
        images, ids, places = batch
        found = network.apply(
            params, ids[:, :-1], as_floats(images), train=train, rngs={"dropout": key}
        )
        real, before = places > 0, jnp.maximum(places - 1, 0)
        gold = jnp.take_along_axis(ids, places[:, None], axis=1)[:, 0]
        logits = at_places(found.logits, before)
        right = jnp.sum((logits.argmax(axis=-1) == gold) & real, dtype=jnp.float32)
        total, count = cross_entropy(logits, gold, real)
        counts = {"correct": right, "questions": count}
        if train and self.config.task.learns != "answers":
            words = ids[:, 1:]
            told = (words != PAD) & (words != IMAGE_ID)
            total, count = cross_entropy(found.logits, words, told)
        return Sums(total, count, counts)

    def summarize(self, sums: Sums) -> dict[str, float]:
        """The loss of an answer, in training of what is learned, and the accuracy of answers."""
        accuracy = sums.counts["correct"] / sums.counts["questions"]
        return {"loss": sums.total / sums.weight, "accuracy": accuracy}

    def evaluators(self) -> tuple:
        return ()

    def predict(
        self, networks: Sequence[nn.Module], params: Sequence[PyTree], folder: Path
    ) -> None:
        def found(split: Split) -> Iterator[tuple[int, predictions.Row]]:
            for members, batch in split.ordered(BATCH):
                rows = predictions.rows(answer(networks, params, batch))
                yield from zip(members, rows, strict=False)

        part, dev, test = self.config.task, self.splits["dev"], self.splits["test"]
        pointer = predictions.best_pointer(part, dev.source, found(dev))
        predictions.keep(part, test.source, self.tokenizer, found(test), pointer, folder)

    def score(self, folder: Path) -> dict[str, Any]:
        part = self.config.task
        sets = {name: data.question_set(part, name) for name in ("train", "test")}
        path = predictions.kept(folder)
        return {
            "tests": {"test": predictions.score(part, sets["test"], path)},
            "guesses": {k: round(v, 6) for k, v in data.guesses(**sets).items()},
            "predictions": {path.name: hashlib.sha256(path.read_bytes()).hexdigest()},
        }

    def respond(
        self,
        networks: Sequence[nn.Module],
        params: Sequence[PyTree],
        inputs: Iterable[tuple[str, Sequence[str]]],
    ) -> Iterator[Response]:
        part = self.config.task
        for text, names in inputs:
            if len(names) > part.num_images:
                raise ValueError(f"{len(names)} images: this model takes {part.num_images}")
            pixels = np.stack([read_image(user_path(name), part.image_size) for name in names])
            question = Question(tuple(range(len(names))), plain(text), "", "")
            regions = np.zeros((0, *pixels.shape[1:3]), bool)
            source = QuestionSet(pixels, regions, (question,))
            split = data.make_split(part, self.tokenizer, source)
            batch, words = split.batch([0], 1), question.text.split()
            (row,) = predictions.rows(answer(networks, params, batch))
            maps = {}
            if row.words is not None:
                maps = dict(zip(numbered(words), row.words[len(names) :], strict=False))
            unknown = unknown_words(zip(words, split.texts.ids[0, len(names) :], strict=False))
            yield predictions.respond(part, self.tokenizer, source, row, maps, unknown)
