"""The task of text classification: batches, loss, predictions and their scores."""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from attn_research.data.batching import Batches, Rows
from attn_research.data.files import write_whole
from attn_research.data.text.examples import PackedExamples
from attn_research.data.text.labelled import Labels
from attn_research.data.text.saved_tokenizers import load_tokenizer
from attn_research.data.text.tokenizers import Tokenizer
from attn_research.layers.contracts import TextClassifier
from attn_research.training.step import Sums
from attn_research.types import PyTree
from experiments.harness.config import Config
from experiments.harness.task import Response
from experiments.tasks.text_classification import batches, data, losses, predictions, scores
from experiments.tasks.text_classification.data import Data
from experiments.tasks.text_classification.inference import Members


@dataclasses.dataclass(frozen=True)
class TextClassificationTask:
    """Classification of texts, of pairs, or of words, or regression, as the data has labels.

    `data` and `train` are there after `load`, tokenizer and classes after `load` or `restore`;
    before, the vocabulary is as large as the config allows.
    """

    config: Config
    tokenizer: Tokenizer | None = None
    classes: tuple[str, ...] | None = None
    data: Data | None = None
    train: Batches | PackedExamples | None = None

    inputs, example = "text", '--text="the dogs of my old friend" --attention=map.png'

    @property
    def labels(self) -> Labels:
        """The kind of labels."""
        return data.labels_of(self.config.task.text)

    @property
    def num_outputs(self) -> int:
        """The number of logits: of classes, or 1 for numbers."""
        return data.num_outputs(self.config.task.text)

    @property
    def vocab_size(self) -> int:
        """The vocabulary size: of a given tokenizer the one that the config has."""
        text = self.config.task.text
        if self.tokenizer is None or text.tokenizer == "given":
            return text.vocab_size
        return self.tokenizer.vocab_size

    @property
    def about(self) -> dict[str, Any]:
        efficiency = round(self.train.padding_efficiency(), 4)
        return self.data.about | {"padding_efficiency": efficiency}

    @property
    def contents(self) -> dict[str, Any]:
        """Fingerprints and classes of the text; padding depends on the devices too."""
        return {"classes": list(self.classes)} | self.data.about

    @property
    def steps_per_epoch(self) -> float:
        return self.train.per_epoch

    def check(self) -> None:
        text, part = self.config.task.text, self.config.task.batching
        data.check(text)
        if self.labels == "numbers" and self.config.task.label_smoothing:
            raise ValueError(
                f"--label_smoothing={self.config.task.label_smoothing} is of classes, and "
                f"--data={text.data} has numbers: remove it"
            )
        if part.batching == "packed" and part.row_length < batches.longest(text):
            raise ValueError(
                f"--row_length={part.row_length}: a text of --max_words={text.max_words} takes "
                f"{batches.longest(text)}"
            )

    def load(self) -> "TextClassificationTask":
        found, text = data.load(self.config.task.text), self.config.task.text
        if text.tokenizer == "given" and found.tokenizer.vocab_size > text.vocab_size:
            raise ValueError(
                f"--vocab_size={text.vocab_size}: the tokenizer of {text.vocabulary} has "
                f"{found.tokenizer.vocab_size}"
            )
        frame = data.make_frame(text, found.tokenizer)
        if text.num_labelled:
            kept = batches.draw(found.train, text.num_labelled, self.config.train.seed)
            about = {"train_examples": len(kept), "train_tokens": int(kept.lengths.sum())}
            found = dataclasses.replace(found, train=kept, about=found.about | about)
        return dataclasses.replace(
            self,
            tokenizer=found.tokenizer,
            classes=found.classes,
            data=found,
            train=batches.make_batches(self.config, found.train, frame),
        )

    def save(self, folder: Path) -> None:
        self.tokenizer.save(folder / "text")
        write_whole(folder / "classes.json", json.dumps(self.classes).encode())

    def restore(self, folder: Path) -> "TextClassificationTask":
        classes = tuple(json.loads((folder / "classes.json").read_bytes()))
        return dataclasses.replace(self, tokenizer=load_tokenizer(folder / "text"), classes=classes)

    def batch_spec(self) -> PyTree:
        shape, part = batches.largest_batch(self.config), self.config.task.batching
        packed = part.batching == "packed"
        of_label = (shape[0], part.row_examples) if packed else shape[:1]
        label = {
            "classes": (of_label, jnp.int32),
            "numbers": (of_label, jnp.float32),
            "tags": (shape, jnp.int32),
        }[self.labels]
        specs = dict.fromkeys(("ids", "types"), (shape, jnp.int32)) | {"label": label}
        specs |= {"segments": (shape, jnp.int32)} if packed else {"valid": (shape, jnp.bool_)}
        return {name: jax.ShapeDtypeStruct(*spec) for name, spec in specs.items()}

    def init_inputs(self) -> tuple:
        ids = jnp.zeros((1, 2), jnp.int32)
        return ids, ids == 0

    def train_batches(self, start: int, rows: Rows) -> Iterator[PyTree]:
        return self.train.iterate(start, rows)

    def eval_batches(self, split: str) -> Iterator[PyTree]:
        examples = self.data.dev if split == "dev" else batches.sample(self.data.train)
        frame = data.make_frame(self.config.task.text, self.tokenizer)
        return (batch for _, batch in batches.eval_batches(self.config, examples, frame))

    def loss(self, network: TextClassifier, params, batch, key, *, train: bool) -> Sums:
        label, segments = batch["label"], batch.get("segments")
        found = network.apply(
            params,
            batch["ids"],
            batch["valid"] if segments is None else segments > 0,
            types=batch["types"],
            segments=segments,
            train=train,
            rngs={"dropout": key},
        )
        smoothing = self.config.task.label_smoothing if train else 0.0
        sums = losses.loss_sums(self.labels, found.logits, label, label_smoothing=smoothing)
        if train and found.auxiliary is not None:
            valid = ~jnp.isnan(label) if self.labels == "numbers" else label >= 0
            auxiliary = jnp.sum(jnp.where(valid, found.auxiliary, 0))
            sums = sums._replace(total=sums.total + auxiliary)
        return sums

    def summarize(self, sums: Sums) -> dict[str, float]:
        """The loss of an example, and the accuracy, or Pearson's correlation of numbers."""
        return losses.summarize(self.labels, sums)

    def evaluators(self) -> tuple:
        return ()

    def predict(
        self, networks: Sequence[TextClassifier], params: Sequence[PyTree], folder: Path
    ) -> None:
        members = Members(tuple(networks), tuple(params), self.labels)
        predictions.predict(self.config, self.data, members, folder)

    def score(self, folder: Path) -> dict[str, Any]:
        return scores.score(self.config.task.text, folder)

    def respond(
        self, networks: Sequence[TextClassifier], params: Sequence[PyTree], inputs: Iterable[str]
    ) -> Iterator[Response]:
        members = Members(tuple(networks), tuple(params), self.labels)
        for line in inputs:
            yield predictions.respond(self.config, (self.tokenizer, self.classes), members, line)
