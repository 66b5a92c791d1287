"""The config of text classification, in parts: text, batches and loss."""

import dataclasses
from typing import Literal

from attn_research.data.text.classification import DATA_SETS
from experiments.harness.config import data_folder, setting

_FILES, _GRAMMAR = ({"data": (name,)} for name in ("text", "grammar"))
_PACKED = {"batching": ("packed",)}


@dataclasses.dataclass(frozen=True)
class LabelledTextConfig:
    """Labelled text and its tokenizer."""

    data: Literal["grammar", *DATA_SETS, "text"] = setting(
        "grammar",
        "Data set: built-in number agreement, one of the public data sets, or files of labelled "
        "text.",
    )
    data_dir: str = data_folder(*DATA_SETS)
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
    train_examples: int = setting(4000, "Training examples of --data=grammar.", 1, needs=_GRAMMAR)
    test_examples: int = setting(1000, "Test examples of --data=grammar.", 2, needs=_GRAMMAR)
    tokenizer: Literal["words", "moses", "bpe", "given"] = setting(
        "words",
        "Tokenizer: words between spaces, Moses's rules for English, SentencePiece subwords, or "
        "the one of --vocabulary.",
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
    vocab_size: int = setting(20_000, "Vocabulary size, special ids included.", 5)
    max_words: int = setting(
        100, "Words, or pieces of words, that are read of a text, or of the two of a pair.", 2
    )


@dataclasses.dataclass(frozen=True)
class ExampleBatchesConfig:
    """Batches: how training examples share them."""

    batching: Literal["sorted", "tokens", "packed"] = setting(
        "sorted",
        "Batches of --batch_size examples sorted by length within 20 batches, of a budget of "
        "tokens, or of rows that several examples share.",
    )
    batch_size: int = setting(64, "Examples of a batch.", 1, needs={"batching": ("sorted",)})
    batch_tokens: int = setting(
        2000, "Padded tokens of a batch.", 1, needs={"batching": ("tokens",)}
    )
    packed_rows: int = setting(8, "Rows of a packed batch.", 1, needs=_PACKED)
    row_length: int = setting(128, "Tokens of a packed row.", 4, needs=_PACKED)
    row_examples: int = setting(24, "Most examples of a packed row.", 1, needs=_PACKED)
    bucket_width: int = setting(
        8,
        "Tokens between two lengths that batches are padded to: fewer shapes, or less padding.",
        1,
    )


@dataclasses.dataclass(frozen=True)
class TextClassificationConfig:
    """Text classification."""

    text: LabelledTextConfig = LabelledTextConfig()
    batches: ExampleBatchesConfig = ExampleBatchesConfig()
    label_smoothing: float = setting(
        0.0, "Label smoothing: probability spread over the classes.", 0.0
    )
