"""The config of text classification, in parts: text, batches and loss."""

import dataclasses
from typing import Literal

from attn_research.data.text.classification import DATA_SETS
from experiments.harness.config import data_folder, fraction, setting
from experiments.tasks.batching import PACKED, BatchingConfig, bucket_width

DRAWN = "grammar", "listops", "pathfinder"  # at random
READ = *DATA_SETS, "pixels", "halves"  # from the data folder
_FILES, _SIZED = {"data": ("text",)}, {"data": (*DRAWN, "pixels")}


@dataclasses.dataclass(frozen=True)
class LabelledTextConfig:
    """Labelled text and its tokenizer."""

    data: Literal[*DRAWN, *READ, "text"] = setting(
        "grammar",
        "Data set: built-in number agreement, lists of operations (listops) or drawn paths "
        "(pathfinder), one of the public data sets, gray images as sequences (pixels), halves of "
        "reviews (halves), or files of labelled text.",
    )
    data_dir: str = data_folder(*READ)
    train: str = setting(
        "",
        "Training file of --data=text, a label, a tab and a text on each line.",
        path=True,
        needs=_FILES,
    )
    dev: str = setting("", "Development file of --data=text.", path=True, needs=_FILES)
    test: str = setting("", "Test file of --data=text.", path=True, needs=_FILES)
    labels: Literal["classes", "numbers", "tags"] = setting(
        "classes",
        "Labels of --data=text: classes, numbers, or tags of words in CoNLL's layout.",
        needs=_FILES,
    )
    num_texts: int = setting(
        1, "Texts of a line of --data=text: 1, or 2 with a tab between.", 1, needs=_FILES
    )
    num_classes: int = setting(2, "Classes, or tags, of --data=text.", 1, needs=_FILES)
    train_examples: int = setting(
        4000, "Training examples that are drawn, or the first so many of pixels.", 1, needs=_SIZED
    )
    test_examples: int = setting(
        1000, "Test examples that are drawn, or the first so many of pixels.", 2, needs=_SIZED
    )
    num_labelled: int = setting(
        0, "Training examples that are kept, drawn by the seed; 0: all of them.", 0
    )
    brackets: bool = setting(
        True, "Brackets that close the lists of --data=listops.", needs={"data": ("listops",)}
    )
    tokenizer: Literal["words", "bytes", "moses", "bpe", "given"] = setting(
        "words",
        "Tokenizer: words between spaces, bytes, Moses's rules for English, SentencePiece "
        "subwords, or the one of --vocabulary.",
    )
    vocabulary: str = setting(
        "",
        "Folder of a published BERT, with its vocab.txt, or of a run, whose tokenizer is used.",
        path=True,
        needs={"tokenizer": ("given",)},
    )
    class_token: bool = setting(
        False, "Begin every example with a token whose state stands for it, as BERT does."
    )
    lowercase: bool = setting(False, "Read texts in lower case.")
    min_words: int = setting(
        0, "Words between spaces that an example has at least; others are left out.", 0
    )
    vocab_size: int = setting(20_000, "Vocabulary size, special ids included.", 5)
    max_words: int = setting(
        100, "Words, or pieces of words, that are read of a text, or of the two of a pair.", 2
    )


@dataclasses.dataclass(frozen=True)
class ExamplesConfig(BatchingConfig):
    """Batches: how training examples share them."""

    bucket_width: int = bucket_width(8)
    row_examples: int = setting(24, "Most examples of a packed row.", 1, needs=PACKED)


EXAMPLES = ExamplesConfig(batch_size=64)


@dataclasses.dataclass(frozen=True)
class TextClassificationConfig:
    """Text classification."""

    text: LabelledTextConfig = LabelledTextConfig()
    batching: ExamplesConfig = EXAMPLES
    label_smoothing: float = fraction(0.0, "Label smoothing: probability spread over the classes.")
