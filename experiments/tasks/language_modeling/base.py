"""The common part of the tasks of language modelling: data, tokenizer and training batches."""

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import jax
import jax.numpy as jnp

from attn_research.data.batching import Batch, Rows
from attn_research.data.text.streams import TextTokenizer, load_text_tokenizer
from attn_research.evaluation.likelihood import perplexity
from attn_research.training.step import Sums
from attn_research.types import PyTree
from experiments.harness.config import Config, padded_rows
from experiments.tasks.language_modeling import data
from experiments.tasks.language_modeling.data import Data


class TrainingBatches(Protocol):
    """Endless batches of a text."""

    @property
    def per_epoch(self) -> float: ...

    def iterate(self, start: int, rows: Rows) -> Iterator[Batch]: ...


@dataclasses.dataclass(frozen=True)
class TextTask:
    """A task on streams of text, whose batches are rows of `context` ids.

    `data` is there after `load`, the tokenizer after `load` or `restore`; before, the vocabulary is
    as large as the config allows.
    """

    config: Config
    tokenizer: TextTokenizer | None = None
    data: Data | None = None

    inputs: ClassVar[str] = "text"

    @property
    def vocab_size(self) -> int:
        """The vocabulary size."""
        text = self.config.task.text
        if self.tokenizer is not None:
            return self.tokenizer.vocab_size
        if text.tokenizer == "given":
            return data.read_given(text.vocabulary).vocab_size
        return text.vocab_size

    @property
    def contents(self) -> dict[str, Any]:
        """Fingerprints of the text and the tokenizer."""
        return self.data.about

    @property
    def about(self) -> dict[str, Any]:
        if not self._packed:
            return self.contents
        return self.contents | {"padding_efficiency": round(self._train.padding_efficiency(), 4)}

    @property
    def steps_per_epoch(self) -> float:
        return self._train.per_epoch

    @functools.cached_property
    def _train(self) -> TrainingBatches:
        raise NotImplementedError

    @property
    def _packed(self) -> bool:
        return self.config.task.rows.rows == "packed"

    def load(self) -> Self:
        found = data.load(self.config.task.text)
        return dataclasses.replace(self, tokenizer=found.tokenizer, data=found)

    def save(self, folder: Path) -> None:
        self.tokenizer.save(folder)

    def restore(self, folder: Path) -> Self:
        return dataclasses.replace(self, tokenizer=load_text_tokenizer(folder))

    def batch_spec(self) -> PyTree:
        part = self.config.task.rows
        shape = padded_rows(self.config, part.batch_size), part.context
        names = ["ids", "targets", *["segments"] * self._packed]
        return dict.fromkeys(names, jax.ShapeDtypeStruct(shape, jnp.int32))

    def init_inputs(self) -> tuple:
        return (jnp.zeros((1, 2), jnp.int32),)

    def train_batches(self, start: int, rows: Rows) -> Iterator[PyTree]:
        return self._train.iterate(start, rows)

    def summarize(self, sums: Sums) -> dict[str, float]:
        """Loss per predicted token in nats, and its exponential."""
        loss = sums.total / sums.weight
        return {"loss": loss, "perplexity": perplexity(-sums.total, sums.weight)}

    def evaluators(self) -> tuple:
        return ()
