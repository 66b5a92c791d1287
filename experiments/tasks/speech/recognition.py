"""The task of speech recognition: batches, loss, predictions and their word error rate."""

import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from attn_research.data.audio.files import RATE
from attn_research.data.audio.mel import FRAME_SECONDS
from attn_research.data.audio.utterances import Corpus, Joined
from attn_research.data.batching import Rows
from attn_research.data.files import write_whole
from attn_research.data.text.saved_tokenizers import load_tokenizer
from attn_research.data.text.tokenizers import EOS, PAD, SPECIALS, Tokenizer, WordTokenizer
from attn_research.data.text.utf8 import Utf8Tokenizer
from attn_research.evaluation.speech import word_errors
from attn_research.layers.contracts import EncoderDecoder
from attn_research.training.objectives import cross_entropy
from attn_research.training.step import Sums
from attn_research.types import PyTree
from experiments.harness.config import Config
from experiments.harness.task import AttentionMap, Response, kept_file
from experiments.tasks.decoding import previous_words
from experiments.tasks.speech import alignments, batches, data
from experiments.tasks.speech.inference import (
    STEP_FRAMES,
    aligner,
    searcher,
    word_rows,
)
from experiments.tasks.speech.networks import valid_frames

GREEDY, BEAM = "test.greedy.txt", "test.beam.txt"


@dataclasses.dataclass(frozen=True)
class SpeechRecognitionTask:
    """Transcripts of sounds; `corpus` is there after `load`, the tokenizer after `restore` too."""

    config: Config
    tokenizer: Tokenizer | None = None
    corpus: Corpus | None = None

    inputs, example = "audio", "--audio=FILE.wav --attention=map.png"

    @property
    def vocab_size(self) -> int:
        """The vocabulary size."""
        part = self.config.task
        return part.vocab_size if self.tokenizer is None else self.tokenizer.vocab_size

    @property
    def about(self) -> dict[str, Any]:
        return data.about(self.corpus) | {"tokenizer": self.tokenizer.fingerprint}

    @property
    def steps_per_epoch(self) -> float:
        train, count = self.corpus.train, self.config.task.batch_size
        if isinstance(train, Joined):  # as many words as there are recordings
            return 2 * len(train.words) / (count * (train.max_words + 1))
        return len(train) / count

    def check(self) -> None:
        part = self.config.task
        data.check(part.sound)
        if part.sound.data == "audio":
            return
        drawn, most = (
            data.FILLED * part.sound.seconds,
            data.longest(self.config.task.sound, self.config.task.augment),
        )
        if drawn > most:
            raise ValueError(
                f"--speed={part.augment.speed} and --time_shift={part.augment.time_shift}: strings "
                f"of up to {drawn:.2f} seconds would no longer fit --seconds={part.sound.seconds}"
            )

    def load(self) -> "SpeechRecognitionTask":
        part = self.config.task
        corpus, tokenizer = data.load_strings(part.sound), Utf8Tokenizer()
        joined = isinstance(corpus.train, Joined)
        if part.tokenizer == "words":
            texts = corpus.train.words.texts if joined else corpus.train.texts
            size = part.vocab_size - len(SPECIALS)
            tokenizer = WordTokenizer.build(texts, size=size)
        elif tokenizer.vocab_size > part.vocab_size:
            raise ValueError(f"--vocab_size={part.vocab_size}: bytes are {tokenizer.vocab_size}")
        task = dataclasses.replace(self, corpus=corpus, tokenizer=tokenizer)
        if joined:
            longest = max(corpus.train.words.texts, key=len)
            task._target(" ".join([longest] * part.sound.max_words))
        else:
            task._check_files()
        return task

    def _check_files(self) -> None:
        """ValueError for a sound, or a transcript, that is longer than the config has it."""
        part = self.config.task
        for split in self.corpus:
            for text in split.texts:
                self._target(text)
        for name, lasts in data.too_long(part.sound, part.augment, self.corpus):
            raise ValueError(
                f"the sound {name} lasts {lasts:.2f} seconds: give more than "
                f"--seconds={part.sound.seconds}"
            )

    def save(self, folder: Path) -> None:
        self.tokenizer.save(folder)

    def restore(self, folder: Path) -> "SpeechRecognitionTask":
        return dataclasses.replace(self, tokenizer=load_tokenizer(folder))

    def batch_spec(self) -> PyTree:
        return batches.batch_spec(self.config, self._target)

    def init_inputs(self) -> tuple:
        features = jnp.zeros((1, 2, self.config.task.sound.num_mels))
        return features, jnp.ones((1, 2), bool), jnp.zeros((1, 2), jnp.int32)

    def train_batches(self, start: int, rows: Rows) -> Iterator[PyTree]:
        return batches.train_batches(self.config, self.corpus.train, self._target, start, rows)

    def eval_batches(self, split: str) -> Iterator[PyTree]:
        return batches.eval_split(self.config, self.corpus, split, self._target)

    def loss(self, network: EncoderDecoder, params, batch, key, *, train: bool) -> Sums:
        features, target = batch["features"], batch["target"]
        logits = network.apply(
            params,
            features,
            valid_frames(features, batch["frames"]),
            previous_words(target),
            train=train,
            rngs={"dropout": key},
        ).logits
        smoothing = self.config.task.label_smoothing if train else 0.0
        total, count = cross_entropy(logits, target, target != PAD, label_smoothing=smoothing)
        right = (logits.argmax(axis=-1) == target) & (target != PAD)
        return Sums(total, count, {"correct": jnp.sum(right, dtype=jnp.float32)})

    def summarize(self, sums: Sums) -> dict[str, float]:
        """The loss, and the accuracy, of a token, given those before it."""
        return {"loss": sums.total / sums.weight, "accuracy": sums.counts["correct"] / sums.weight}

    def evaluators(self) -> tuple:
        return ()

    def predict(
        self, networks: Sequence[EncoderDecoder], params: Sequence[PyTree], folder: Path
    ) -> None:
        test = self.corpus.test
        for name, beam_size in ((GREEDY, 1), (BEAM, self.config.task.beam_size)):
            lines = [""] * len(test)
            for indices, batch in batches.eval_batches(self.config, test, lambda _: {}):
                found = self._search(networks, params, batch, beam_size)
                for index, text in zip(indices, found, strict=False):
                    lines[index] = text
            write_whole(folder / name, "".join(f"{line}\n" for line in lines).encode())
        if len(networks) == 1 and self.corpus.test[0].times is not None:
            align = functools.partial(self._align, networks[0], params[0])
            alignments.keep(self.config, self.corpus.dev, test, align, folder)

    def score(self, folder: Path) -> dict[str, Any]:
        corpus = data.load_strings(self.config.task.sound)
        test = corpus.test
        scores, hashes = {"sounds": len(test)} | data.held_out(self.config.task.sound, corpus), {}
        for name in (GREEDY, BEAM):
            content = kept_file(folder / name).read_bytes()
            errors = word_errors(content.decode().splitlines(), test.texts)
            of_search = name.split(".")[1]
            scores[f"wer_{of_search}"] = round(errors.rate, 6)
            hashes[name] = hashlib.sha256(content).hexdigest()
        scores["words"] = errors.words
        if (path := folder / alignments.FILE).is_file():
            scores |= alignments.score(self.config, test, path)
            hashes[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
        return {
            "tests": {"test": scores},
            "predictions": hashes,
            "gold": {"test": test.fingerprint},
        }

    def respond(
        self, networks: Sequence[EncoderDecoder], params: Sequence[PyTree], inputs: Iterable[str]
    ) -> Iterator[Response]:
        part = self.config.task
        most = data.longest_read(part.sound, part.augment)
        for name in inputs:
            utterance = data.read(name)
            if (lasts := len(utterance.samples) / RATE) > most:
                raise ValueError(
                    f"{name} lasts {lasts:.2f} seconds, and this run's model reads {most:.2f}: cut "
                    "it into pieces, or train with more --seconds"
                )
            batch = batches.one(self.config, utterance)
            (text,) = self._search(networks, params, batch, part.beam_size)
            maps, fits = {}, len(self.tokenizer.encode(text)) < part.max_tokens
            if len(networks) == 1 and text and fits:
                maps["attention"] = self.attention_map(networks[0], params[0], batch, text)
            yield Response(str(name), text, {}, maps)

    def attention_map(
        self, network: EncoderDecoder, params: PyTree, batch: batches.Batch, text: str
    ) -> AttentionMap:
        """Where each word of a text attends in the only sound of a batch, by the mean of heads."""
        (weights,) = self._align(network, params, batch, [text])
        count = int(batch["frames"][0])
        shown = weights.mean(axis=(0, 1))[:, : -(-count // STEP_FRAMES)]
        return AttentionMap(
            shown,
            text.split(),
            [f"{step * alignments.STEP_SECONDS:.2f}" for step in range(shown.shape[1])],
            features=batch["features"][0, :count],
            seconds=count * FRAME_SECONDS,
        )

    def _target(self, text: str | None) -> batches.Batch:
        found = np.full(self.config.task.max_tokens, PAD, np.int32)
        if text is not None and self.tokenizer is not None:
            ids = [*self.tokenizer.encode(text), EOS]
            if len(ids) > len(found):
                raise ValueError(
                    f"{text[:40]!r} takes {len(ids)} tokens with its end: give --max_tokens="
                    f"{len(ids)} or more"
                )
            found[: len(ids)] = ids
        return {"target": found}

    def _search(self, networks, params, batch: batches.Batch, beam_size: int) -> list[str]:
        run = searcher(tuple(networks), beam_size, self.config.task.max_tokens)
        found = run(tuple(params), batch["features"], batch["frames"]).tokens
        return [" ".join(self.tokenizer.decode(row).split()) for row in np.asarray(found[:, 0])]

    def _align(self, network, params, batch: batches.Batch, texts: list[str]):
        """The weights [L, N, words, S] of each text, given its words."""
        rows = len(batch["features"])
        target = np.stack([self._target(text)["target"] for text in texts])
        target = np.pad(target, [(0, rows - len(target)), (0, 0)], constant_values=PAD)
        weights = aligner(network)(params, batch["features"], batch["frames"], target)
        for text, found in zip(texts, np.asarray(weights), strict=False):
            *words, last = text.split()
            counts = [len(self.tokenizer.encode(f"{word} ")) for word in words]
            yield word_rows(found, [*counts, len(self.tokenizer.encode(last))])
