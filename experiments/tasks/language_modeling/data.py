"""Texts of language modelling by config, with their tokenizer, as streams of ids."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from attn_research.data.download import find_data_dir
from attn_research.data.files import check_files, user_path
from attn_research.data.text.long_texts import KNOWN, LongTexts, grammar_text, read_text
from attn_research.data.text.rows import Stream
from attn_research.data.text.streams import (
    ByteTokenizer,
    CharacterTokenizer,
    LineTokenizer,
    TextTokenizer,
    load_text_tokenizer,
)
from attn_research.data.text.tokenizers import SubwordTokenizer, WordTokenizer
from attn_research.evaluation.likelihood import LineLikelihood
from experiments.tasks.language_modeling.config import TextConfig
from experiments.tasks.starting import read_json_tokenizer

SPLITS = ("train", "dev", "test")


@dataclasses.dataclass(frozen=True, eq=False)
class Data:
    """Texts as ids, with the tokenizer; of the tests, the text as well."""

    tokenizer: TextTokenizer
    train: Stream
    dev: Stream
    tests: Mapping[str, Stream]
    texts: Mapping[str, str]
    about: dict[str, Any]


def check_text(config: TextConfig) -> None:
    """ValueError or FileNotFoundError for text that there is not, before any is read."""
    if config.data in KNOWN:
        find_data_dir(config.data_dir or None)
    if config.data == "text":
        check_files({split: getattr(config, split) for split in SPLITS})
    if config.tokenizer == "given":
        read_given(config.vocabulary)


def _read(config: TextConfig) -> LongTexts:
    if config.data == "grammar":
        return grammar_text(config.sentences)
    if config.data == "text":
        train, dev, test = (read_text(getattr(config, split)) for split in SPLITS)
        return LongTexts(train, dev, {"test": test})
    return KNOWN[config.data](config.data_dir or None)


@functools.lru_cache(maxsize=2)
def read_given(place: str) -> TextTokenizer:
    """The tokenizer of a run, of a published checkpoint, or of a tokenizer.json."""
    if not place:
        raise ValueError("--tokenizer=given needs --vocabulary, a tokenizer.json or a folder")
    path = user_path(place)
    if (path / "task").is_dir():
        return load_text_tokenizer(path / "task")
    lines = read_json_tokenizer(place)
    return LineTokenizer(lines, lines.line_end)


def _make_tokenizer(config: TextConfig, texts: LongTexts) -> TextTokenizer:
    """The tokenizer of the training text; the alphabet of characters is that of all splits."""
    lines = texts.train.split("\n")
    match config.tokenizer:
        case "characters":
            return CharacterTokenizer.build([texts.train, texts.dev, *texts.tests.values()])
        case "bytes":
            return ByteTokenizer()
        case "words":
            return LineTokenizer(WordTokenizer.build(lines, size=config.vocab_size - 4))
        case "given":
            return read_given(config.vocabulary)
        case "subwords":
            return LineTokenizer(SubwordTokenizer.train(lines, vocab_size=config.vocab_size))


@functools.lru_cache(maxsize=2)  # the rows of a table share their text
def load(config: TextConfig) -> Data:
    """Reads and encodes the texts that a config names."""
    texts = _read(config)
    tokenizer = _make_tokenizer(config, texts)

    def encode(text: str) -> Stream:
        return Stream(tokenizer.encode(text), tokenizer.newline)

    train, dev = encode(texts.train), encode(texts.dev)
    about = {
        "sha256": texts.fingerprints(),
        "train_tokens": len(train),
        "vocabulary": tokenizer.vocab_size,
        "tokenizer": tokenizer.fingerprint,
    }
    tests = {name: encode(text) for name, text in texts.tests.items()}
    return Data(tokenizer, train, dev, tests, texts.tests, about)


def by_line(text: str, stream: Stream, log_probs: np.ndarray) -> list[LineLikelihood]:
    """The log-probability of every line of a text, of those of its tokens [N]."""
    lines = text.removesuffix("\n").split("\n")
    found = []
    for line, (begin, end) in zip(lines, stream.documents("line").tolist(), strict=True):
        words, characters = len(line.split()) + 1, len(line) + 1
        found.append(
            LineLikelihood(end - begin, words, characters, float(log_probs[begin:end].sum()))
        )
    return found
