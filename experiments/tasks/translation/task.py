"""The task of translation: batches, loss, predictions and their scores."""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.data.batching import Rows
from attn_research.data.text.corpus import Pair
from attn_research.data.text.encoding import encode_pairs
from attn_research.data.text.saved_tokenizers import load_tokenizer
from attn_research.data.text.tokenizers import EOS, PAD, unknown_words
from attn_research.layers.contracts import EncoderDecoder
from attn_research.training.objectives import chunked_cross_entropy
from attn_research.training.step import Sums
from attn_research.types import PyTree
from attn_research.viewing.views import END, pair_views
from experiments.harness.config import Config
from experiments.harness.task import AttentionMap, Evaluator, Looked, Response
from experiments.tasks.decoding import previous_words
from experiments.tasks.translation import (
    batches,
    checks,
    data,
    maps,
    predictions,
    pronouns,
    scores,
)
from experiments.tasks.translation.batches import eval_batches
from experiments.tasks.translation.data import Data, Tokenizers
from experiments.tasks.translation.inference import Members, search
from experiments.tasks.translation.splits import check_references


@dataclasses.dataclass(frozen=True)
class TranslationTask:
    """Translation of sentence pairs.

    `data` is there after `load`, the tokenizers after `load` or `restore`; before, vocabularies are
    as large as the config allows.
    """

    config: Config
    tokenizers: Tokenizers | None = None
    data: Data | None = None

    inputs, example = "text", '--text="the cat sleeps ." --attention=map.png'

    @property
    def vocab_sizes(self) -> tuple[int, int]:
        """The vocabulary sizes of source and target."""
        if self.tokenizers is None:
            return (self.config.task.text.vocab_size,) * 2
        source, target = self.tokenizers
        return source.vocab_size, target.vocab_size

    @functools.cached_property
    def about(self) -> dict[str, Any]:
        efficiency = round(self._train.padding_efficiency(), 4)
        return self.data.about | {"padding_efficiency": efficiency}

    @property
    def contents(self) -> dict[str, Any]:
        """Fingerprints of the text and the tokenizers; padding depends on the devices too."""
        return self.data.about

    @property
    def steps_per_epoch(self) -> float:
        encoding = self.config.task.encoding
        return self._train.per_epoch / (encoding.segmentations if encoding.bpe_dropout else 1)

    def check(self) -> None:
        checks.check_text(self.config.task.text)

    def check_network(self, network: EncoderDecoder, params: PyTree) -> None:
        """Traces a search, for some scores and networks can be trained but not decode."""
        source, limits = (jax.ShapeDtypeStruct(shape, jnp.int32) for shape in ((1, 2), (1,)))
        run = functools.partial(search, [network], self.config.task.search)
        jax.eval_shape(run, [params], source, limits)

    def load(self) -> "TranslationTask":
        found = data.load(self.config.task.text, self.config.task.encoding)
        return dataclasses.replace(self, tokenizers=found.tokenizers, data=found)

    def save(self, folder: Path) -> None:
        for side, tokenizer in zip(("source", "target"), self.tokenizers, strict=True):
            tokenizer.save(folder / side)

    def restore(self, folder: Path) -> "TranslationTask":
        found = tuple(load_tokenizer(folder / side) for side in ("source", "target"))
        return dataclasses.replace(self, tokenizers=found)

    def batch_spec(self) -> PyTree:
        shapes = batches.largest_batch(self.config)
        return {name: jax.ShapeDtypeStruct(shape, jnp.int32) for name, shape in shapes.items()}

    def init_inputs(self) -> tuple:
        ids = jnp.zeros((1, 2), jnp.int32)
        return ids, ids == PAD, ids

    @functools.cached_property
    def _train(self):
        return batches.make_batches(self.config, self.data.train)

    def train_batches(self, start: int, rows: Rows) -> Iterator[PyTree]:
        return self._train.iterate(start, rows)

    def eval_batches(self, split: str) -> Iterator[PyTree]:
        pairs = self.data.dev if split == "dev" else batches.sample(self.data.train)
        return (batch for _, batch in eval_batches(self.config.task.batching, pairs))

    def loss(self, network: EncoderDecoder, params, batch, key, *, train: bool) -> Sums:
        config, source, target = self.config.task.loss, batch["source"], batch["target"]
        segments = None
        if "target_segments" in batch:
            segments = batch["source_segments"], batch["target_segments"]
            if not network.takes_segments:
                raise ValueError(
                    "--batching=packed needs a network that keeps the sentences of a row apart, as "
                    f"the Transformer does; {type(network).__name__} does not"
                )
        hidden = network.apply(
            params,
            source,
            source != PAD,
            previous_words(target, segments and segments[1]),
            train=train,
            segments=segments,
            rngs={"dropout": key},
            method="hidden_states",
        )
        total, tokens = chunked_cross_entropy(
            lambda states: network.apply(params, states, method="logits"),
            hidden.states,
            target,
            target != PAD,
            label_smoothing=config.label_smoothing if train else 0.0,
            chunk=config.loss_chunk or None,
        )
        sentences = jnp.sum(target == EOS, dtype=jnp.float32)
        weight = sentences if train and config.loss_per == "sentence" else tokens
        return Sums(total, weight, {"target_tokens": tokens, "examples": sentences})

    def summarize(self, sums: Sums) -> dict[str, float]:
        """The loss per token, and the negative log likelihood per sentence, in nats."""
        return {"loss": sums.total / sums.weight, "nll": sums.total / sums.counts["examples"]}

    def evaluators(self) -> list[Evaluator]:
        """BLEU of the development set, where the config asks for it."""
        every, text = self.config.task.alignment.bleu_every, self.config.task.text
        if every:
            check_references({"dev": data.pairs_of(text, "dev")})

        def measure(network: EncoderDecoder, params: PyTree) -> dict[str, float]:
            members = self._members([network], [params])
            pairs = data.pairs_of(text, "dev")
            found = predictions.translate(self.config, self.tokenizers, self.data.dev, members)
            hypotheses = [found[i] for i in range(len(pairs))]
            return {"bleu": scores.bleu(hypotheses, [pair.target for pair in pairs]).score}

        return [Evaluator(every, measure)] if every else []

    def predict(
        self, networks: Sequence[EncoderDecoder], params: Sequence[PyTree], folder: Path
    ) -> None:
        members = self._members(networks, params)
        predictions.predict(self.config, self.data, members, folder)
        if members.alignment is not None:
            maps.keep_alignments(self.config, self.data, members, folder)
        if len(networks) == 1:  # where one network attends, head by head
            maps.keep_heads(self.config, self.data, networks[0], params[0], folder)
            if pronouns.has_pronouns(self.config.task.text):
                pronouns.predict(self.config, self.data, networks[0], params[0], folder)

    def score(self, folder: Path) -> dict[str, Any]:
        text = self.config.task.text
        return scores.score_all(data.gold(text), folder, text.languages.split("-")[1])

    def respond(
        self, networks: Sequence[EncoderDecoder], params: Sequence[PyTree], inputs: Iterable[str]
    ) -> Iterator[Response]:
        members = self._members(networks, params)
        for line in inputs:
            yield self._translate(members, line)[0]

    def look(
        self, network: EncoderDecoder, params: PyTree, inputs: Iterable[str]
    ) -> Iterator[Looked]:
        """The attention of encoder and decoder over a line and its translation."""
        members = self._members([network], [params])
        for line in inputs:
            response, *ids = self._translate(members, line)
            if members.alignment is None or not ids:
                yield Looked(response, [])
                continue
            words = tuple(
                [END if i == EOS else tokenizer.decode([i]) for i in side.tolist()]
                for tokenizer, side in zip(self.tokenizers, ids, strict=True)
            )
            weights = maps.look_at_pair(network, params, *ids)
            yield Looked(response, [*pair_views(words, weights).values()])

    def _translate(self, members: Members, line: str) -> tuple[Response, *tuple[np.ndarray, ...]]:
        """The translation of a line, its log probability and its alignment; and both sides' ids."""
        text = self.config.task.text
        if not line.strip():
            return (Response(line, "", {}, {}, ["an empty line has no translation"]),)
        ((words, *_),) = data.in_words(text, [Pair(line, "")])
        encoded = encode_pairs([Pair(words, "")], *self.tokenizers)
        ((_, batch),) = eval_batches(self.config.task.batching, encoded, batch_size=1)
        found = members.search(batch["source"])
        ids = np.asarray(found.tokens[0, 0])
        ids = ids[: int(found.lengths[0, 0])]
        source = [int(i) for i in encoded[0][0]]
        sides = [
            [tokenizer.decode([i]) for i in side if i != EOS]
            for tokenizer, side in zip(self.tokenizers, (source, ids), strict=True)
        ]
        scored = {
            "log_probability": float(found.log_probs[0, 0]),
            "per_token": float(found.log_probs[0, 0]) / max(1, len(ids)),
        }
        found_maps = {}
        if members.alignment is not None:
            weights = members.align(batch["source"], ids[None])[0, : len(ids), : len(source) + 1]
            found_maps["alignment"] = AttentionMap(weights, sides[1], sides[0])
        notes = unknown_words(zip(words.split(), source, strict=False))
        response = Response(line, self.tokenizers[1].decode(ids), scored, found_maps, notes)
        return response, batch["source"][0, : len(source) + 1], ids

    def _members(self, networks, params) -> Members:
        return Members(tuple(networks), tuple(params), self.config.task.search)
