"""Labelled text by config, with its tokenizer, encoded."""

import dataclasses
import functools
import logging
from collections.abc import Sequence
from typing import Any

from attn_research.data.files import check_files, user_path
from attn_research.data.grammar.agreement import AgreementCorpus
from attn_research.data.sequences.listops import ListOps
from attn_research.data.sequences.pathfinder import Pathfinder
from attn_research.data.sequences.public import Halves, Pixels
from attn_research.data.text.classification import PublicCorpus
from attn_research.data.text.examples import (
    EncodedExamples,
    EncodedLabel,
    Frame,
    encode_examples,
)
from attn_research.data.text.json_tokenizer import JsonTokenizer
from attn_research.data.text.labelled import Example, LabelledCorpus, LabelledFiles, Labels
from attn_research.data.text.saved_tokenizers import load_tokenizer
from attn_research.data.text.tokenizers import BOS, EOS, SubwordTokenizer, Tokenizer, WordTokenizer
from attn_research.data.text.utf8 import Utf8Tokenizer
from attn_research.data.text.wordpiece import WordPieceTokenizer
from experiments.tasks.starting import read_json_tokenizer
from experiments.tasks.text_classification.config import LabelledTextConfig

SPLITS = ("train", "dev", "test")


@dataclasses.dataclass(frozen=True)
class Data:
    """Labelled text, encoded, and what is known of it."""

    tokenizer: Tokenizer
    classes: tuple[str, ...]
    train: EncodedExamples
    dev: EncodedExamples
    test: EncodedExamples
    about: dict[str, Any]


def labels_of(config: LabelledTextConfig) -> Labels:
    """The kind of labels of a config's data."""
    return corpus(config).labels


def num_texts(config: LabelledTextConfig) -> int:
    """The number of texts of an example."""
    return corpus(config).num_texts


def num_outputs(config: LabelledTextConfig) -> int:
    """The number of logits: of classes, or 1 for numbers."""
    if labels_of(config) == "numbers":
        return 1
    return config.num_classes if config.data == "text" else len(corpus(config).classes)


def check(config: LabelledTextConfig) -> None:
    """ValueError or FileNotFoundError for text that there is not, or a tokenizer that cannot be."""
    if labels_of(config) == "tags":
        if config.tokenizer not in ("words", "given"):
            raise ValueError(
                f"--tokenizer={config.tokenizer}: tags belong to the words between spaces; give "
                "--tokenizer=words, or a given one"
            )
        if num_texts(config) != 1:
            raise ValueError("--num_texts=2: tags are of the words of one text")
    if config.tokenizer == "given":
        read_tokenizer(config.vocabulary)
    if isinstance(found := corpus(config), PublicCorpus | Halves):
        found.check()
    if config.data == "text":
        if config.num_texts > 2:
            raise ValueError(f"--num_texts={config.num_texts}: a line has 1 text, or 2")
        check_files({split: getattr(config, split) for split in SPLITS})


def corpus(config: LabelledTextConfig) -> LabelledCorpus:
    """The corpus that a config names, of which nothing is read yet."""
    folder = config.data_dir or None
    sizes = 0, config.train_examples, config.test_examples // 2, config.test_examples
    match config.data:
        case "grammar":
            return AgreementCorpus(*sizes)
        case "listops":
            longest = config.max_words
            lengths = dict(shortest=longest // 4, longest=longest)
            return ListOps(*sizes, **lengths, brackets=config.brackets)
        case "pathfinder":
            return Pathfinder(*sizes)
        case "pixels":
            return Pixels(folder, config.train_examples, config.test_examples)
        case "halves":
            return Halves(folder)
        case "text":
            files = {split: getattr(config, split) for split in SPLITS}
            return LabelledFiles(files, config.labels, config.num_texts)
    return PublicCorpus(config.data, folder)


def examples(config: LabelledTextConfig, split: str) -> Sequence[Example]:
    """The examples of a split that are long enough, in lower case where the config asks for it.

    ValueError where none is.
    """
    found = corpus(config).split(split)
    if config.min_words:
        found = [x for x in found if sum(len(text.split()) for text in x.texts) >= config.min_words]
        if not found:
            raise ValueError(f"--min_words={config.min_words}: no example of {split} has as many")
    if not config.lowercase:
        return found
    return [Example(tuple(text.lower() for text in x.texts), x.label) for x in found]


def make_tokenizer(config: LabelledTextConfig) -> Tokenizer:
    """The tokenizer: the given one, or one that is made from the training texts."""
    if config.tokenizer == "given":
        return read_tokenizer(config.vocabulary)
    if config.tokenizer == "bytes":
        return Utf8Tokenizer()
    texts = (text for example in examples(config, "train") for text in example.texts)
    if config.tokenizer == "bpe":
        return SubwordTokenizer.train(texts, vocab_size=config.vocab_size)
    moses = config.tokenizer == "moses"
    return WordTokenizer.build(texts, size=config.vocab_size - 4, moses=moses)


def read_tokenizer(folder: str) -> Tokenizer:
    """The tokenizer of a published model, or of a run; an error names what is missing."""
    if not folder:
        raise ValueError("--tokenizer=given needs --vocabulary=FOLDER, or --init_from=FOLDER")
    path = user_path(folder)
    kept = path / "task"
    if kept.is_dir():
        return load_tokenizer(kept / "text" if (kept / "text").is_dir() else kept)
    json_alone = (path / "tokenizer.json").is_file() and not (path / "vocab.txt").is_file()
    if json_alone or not path.is_dir():
        return read_json_tokenizer(folder)
    return WordPieceTokenizer.read(folder)


def make_frame(config: LabelledTextConfig, tokenizer: Tokenizer) -> Frame:
    """The ids around texts: those of WordPiece, or the begin and the end of a sentence.

    A tokenizer.json ends them as lines; ValueError for a token before them, which it does not have.
    """
    begin, end = BOS, EOS
    if isinstance(tokenizer, WordPieceTokenizer):
        begin, end = tokenizer.begin, tokenizer.end
    elif isinstance(tokenizer, JsonTokenizer):
        if config.class_token:
            raise ValueError(
                f"--vocabulary={config.vocabulary}: its tokenizer has no token that stands for a "
                "text, as BERT's have; give that of a BERT, or a run on words or subwords"
            )
        end = tokenizer.line_end
    return Frame((begin,) if config.class_token else (), end)


@functools.lru_cache(maxsize=2)  # the rows of a table share their text
def load(config: LabelledTextConfig) -> Data:
    """Reads, tokenizes and encodes what a config names."""
    found = corpus(config)
    if labels_of(config) != "numbers" and len(found.classes) != num_outputs(config):
        raise ValueError(
            f"--train={config.train} has {len(found.classes)} classes: give "
            f"--num_classes={len(found.classes)}"
        )
    tokenizer = make_tokenizer(config)
    encoded = {
        split: encode_examples(
            examples(config, split),
            tokenizer,
            functools.partial(_encode_label, labels_of(config), found.classes),
            max_words=config.max_words,
            frame=make_frame(config, tokenizer),
        )
        for split in SPLITS
    }
    about = {
        "sha256": {split: [found.fingerprint(split)] for split in SPLITS},
        "train_examples": len(encoded["train"]),
        "train_tokens": int(encoded["train"].lengths.sum()),
        "vocabulary": tokenizer.vocab_size,
        "tokenizer": tokenizer.fingerprint,
    }
    logging.info("%d training examples, %d words", about["train_examples"], about["train_tokens"])
    return Data(tokenizer, found.classes, **encoded, about=about)


def _encode_label(labels: Labels, classes: tuple[str, ...], label: str) -> EncodedLabel:
    if labels == "numbers":
        return float(label)
    if labels == "classes":
        return classes.index(label)
    return [classes.index(tag) for tag in label.split()]
