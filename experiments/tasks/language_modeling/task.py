"""The task of language modelling: batches, loss, likelihoods of test texts, continuations."""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from attn_research.data.batching import spread_evenly
from attn_research.data.files import write_whole
from attn_research.data.text.rows import (
    NOTHING,
    PackedDocuments,
    Pieces,
    RandomWindows,
    Stream,
    ordered_batches,
    strided,
)
from attn_research.data.text.streams import LineTokenizer
from attn_research.data.text.tokenizers import WordTokenizer, unknown_words
from attn_research.evaluation.likelihood import bits
from attn_research.layers.decoders import Decoder
from attn_research.training.objectives import chunked_cross_entropy
from attn_research.training.step import Sums
from attn_research.types import PyTree
from experiments.harness.config import config_placement
from experiments.harness.task import AttentionMap, Response, head_maps
from experiments.tasks.language_modeling import data
from experiments.tasks.language_modeling.base import TextTask
from experiments.tasks.language_modeling.config import TESTS
from experiments.tasks.language_modeling.inference import Members, eval_rows
from experiments.tasks.language_modeling.predictions import (
    SCORINGS,
    likelihood_path,
    score_all,
    write_likelihoods,
)


@dataclasses.dataclass(frozen=True)
class LanguageModelingTask(TextTask):
    """Prediction of each next token of a text."""

    example: ClassVar[str] = '--text="the cat" --attention=map.png'

    def check(self) -> None:
        part = self.config.task
        data.check_text(part.text)
        if part.scoring.stride > part.rows.context:
            raise ValueError(
                f"--stride={part.scoring.stride} is more than --context={part.rows.context}"
            )
        if part.continuation.top_p > 1:
            raise ValueError(f"--top_p={part.continuation.top_p}: a probability, at most 1")

    def load(self) -> Self:
        found = super().load()
        try:
            found._encode(self.config.task.continuation.prompt)
        except ValueError as error:
            raise ValueError(f"--prompt: {error}") from None
        return found

    def check_network(self, network: nn.Module, params: PyTree) -> None:
        """Traces a step of a continuation, for some networks can be trained but not decode."""
        decoder = Decoder((network,))

        def step(params):
            state = decoder.begin(params, 1, self.config.task.rows.context)
            return decoder.extend(params, state, jnp.zeros((1, 1, 1), jnp.int32))

        jax.eval_shape(step, (params,))

    @functools.cached_property
    def _train(self) -> RandomWindows | PackedDocuments:
        part, text = self.config.task.rows, self.data.train
        multiple = config_placement(self.config).row_multiple
        sizes = part.batch_size, part.context, self.config.train.seed, multiple
        if self._packed:
            return PackedDocuments(text, text.documents(part.document), *sizes)
        return RandomWindows(text, *sizes)

    def eval_batches(self, split: str) -> Iterator[PyTree]:
        """Every token of "dev" once, in windows without overlap; of "train" as many windows."""
        streams = {"train": self.data.train, "dev": self.data.dev}
        pieces = self._pieces(streams[split], "windows")
        if split == "train":
            count = len(self._pieces(self.data.dev, "windows"))
            pieces = pieces[spread_evenly(len(pieces), count)]
        length = self.config.task.rows.context
        options = dict(rows=eval_rows(length), length=length, packed=self._packed)
        return (batch for _, batch in ordered_batches(streams[split], pieces, **options))

    def _pieces(self, stream: Stream, scoring: str) -> Pieces:
        """The pieces of each document of a stream, which is one document unless rows are packed."""
        part = self.config.task
        documents = stream.documents(part.rows.document if self._packed else "text")
        stride = {
            "windows": part.rows.context,
            "strided": part.scoring.stride or max(1, part.rows.context // 2),
        }
        return strided(documents, part.rows.context, stride[scoring])

    def loss(self, network: nn.Module, params, batch, key, *, train: bool) -> Sums:
        targets = batch["targets"]
        valid = targets != NOTHING
        found = network.apply(
            params,
            batch["ids"],
            segments=batch.get("segments"),
            train=train,
            rngs={"dropout": key},
            method="read",
        )
        total, tokens = chunked_cross_entropy(
            lambda states: network.apply(params, states, method="logits"),
            found.states,
            jnp.maximum(targets, 0),
            valid,
        )
        counts = {"target_tokens": tokens}
        if self.config.task.text.tokenizer == "bytes":
            begins = valid & (targets & 0xC0 != 0x80)  # a character has one byte that begins it
            counts["characters"] = jnp.sum(begins, dtype=jnp.float32)
        return Sums(total, tokens, counts)

    def summarize(self, sums: Sums) -> dict[str, float]:
        """Loss per token in nats, perplexity, and bits per character of characters and bytes."""
        found = super().summarize(sums)
        if self.config.task.text.tokenizer in ("characters", "bytes"):
            characters = sums.counts.get("characters", sums.weight)
            found["bits_per_character"] = bits(-sums.total, characters)
        return found

    def predict(
        self, networks: Sequence[nn.Module], params: Sequence[PyTree], folder: Path
    ) -> None:
        members = self._members(networks, params)
        for name, stream in self.data.tests.items():
            for scoring in SCORINGS:
                pieces = self._pieces(stream, scoring)
                log_probs = members.log_probs(stream, pieces, packed=self._packed)
                lines = data.by_line(self.data.texts[name], stream, log_probs)
                write_likelihoods(likelihood_path(folder, name, scoring), lines)
        text = self._extend(members, self._encode(self.config.task.continuation.prompt))
        write_whole(folder / "sample.txt", f"{text}\n".encode())

    def score(self, folder: Path) -> dict[str, Any]:
        text = self.config.task.text
        return score_all(folder, TESTS[text.data], text.tokenizer)

    def respond(
        self, networks: Sequence[nn.Module], params: Sequence[PyTree], inputs: Iterable[str]
    ) -> Iterator[Response]:
        members = self._members(networks, params)
        for line in inputs:
            prompt = self._encode(line)
            yield Response(
                line,
                self._extend(members, prompt),
                self._likelihood(members, prompt),
                self._maps(members, prompt),
                self._remarks(line, prompt),
            )

    def _members(self, networks, params) -> Members:
        return Members(tuple(networks), tuple(params), self.config.task.rows.context)

    def _encode(self, prompt: str) -> np.ndarray:
        """A prompt as ids, after the newline that stands before every text."""
        ids = self.tokenizer.encode(prompt)
        return np.concatenate([np.array([self.tokenizer.newline], np.int32), ids])

    def _extend(self, members: Members, prompt: np.ndarray) -> str:
        """The text of a prompt and its continuation."""
        key = jax.random.key(self.config.train.seed)
        found = members.extend(prompt, self.config.task.continuation, key)
        return self.tokenizer.decode(np.concatenate([prompt[1:], found]))

    def _likelihood(self, members: Members, prompt: np.ndarray) -> dict[str, float]:
        """The log-probability of a prompt as one document."""
        stream = Stream(prompt[1:], self.tokenizer.newline)
        if not len(stream):
            return {}
        half = max(1, members.context // 2)
        pieces = strided(stream.documents("text"), members.context, half)
        found = float(members.log_probs(stream, pieces, packed=False).sum())
        return {"prompt_log_probability": found, "prompt_per_token": found / len(stream)}

    def _maps(self, members: Members, prompt: np.ndarray) -> dict[str, AttentionMap]:
        weights = members.maps(prompt)
        shown = prompt[-members.context :]
        tokens = [self.tokenizer.decode([i]).replace("\n", "↵") for i in shown.tolist()]
        return head_maps(weights, tokens, tokens)

    def _remarks(self, line: str, prompt: np.ndarray) -> list[str]:
        tokenizer = self.tokenizer
        if not isinstance(tokenizer, LineTokenizer):
            return []
        if not isinstance(tokenizer.lines, WordTokenizer):
            return []
        ids = [i for i in prompt.tolist() if i != tokenizer.newline]
        return unknown_words(zip(line.split(), ids, strict=True))
