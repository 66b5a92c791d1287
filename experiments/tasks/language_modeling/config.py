"""The config of language modelling, in parts: text, rows, scoring and continuations."""

import dataclasses
from typing import Literal

from experiments.harness.config import data_folder, fraction, setting

# The texts that are scored at the end, by data set.
TESTS = {
    "grammar": ("test",),
    "tinyshakespeare": ("validation",),
    "ptb": ("test",),
    "wikitext2": ("test",),
    "warandpeace": ("test",),
    "text": ("test",),
}
_FILES = {"data": ("text",)}
_FOLDERS = "tinyshakespeare", "ptb", "wikitext2", "warandpeace"


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """Text and its tokenizer."""

    data: Literal[*TESTS] = setting(
        "grammar",
        "Data set: the built-in corpus, tinyshakespeare, the Penn Treebank, WikiText-2, War and "
        "Peace, or text files.",
    )
    data_dir: str = data_folder(*_FOLDERS)
    train: str = setting("", "Training file of --data=text.", path=True, needs=_FILES)
    dev: str = setting("", "Development file of --data=text.", path=True, needs=_FILES)
    test: str = setting("", "Test file of --data=text.", path=True, needs=_FILES)
    sentences: int = setting(
        20_000, "Training sentences of --data=grammar.", 1, needs={"data": ("grammar",)}
    )
    tokenizer: Literal["characters", "bytes", "words", "subwords", "given"] = setting(
        "words",
        "Tokens: characters, bytes, words between spaces, SentencePiece subwords, or those of a "
        "given tokenizer.",
    )
    vocabulary: str = setting(
        "",
        "Given tokenizer: a tokenizer.json, or the folder of a published checkpoint or of a run.",
        path=True,
        needs={"tokenizer": ("given",)},
    )
    vocab_size: int = setting(
        10_000,
        "Vocabulary size, special ids included.",
        5,
        needs={"tokenizer": ("words", "subwords")},
    )


@dataclasses.dataclass(frozen=True)
class RowsConfig:
    """Rows: what a row of a batch holds."""

    rows: Literal["windows", "packed"] = setting(
        "windows",
        "Rows of a batch: a window that begins anywhere in the text, or as many documents as fit, "
        "of which no token attends to another.",
    )
    document: Literal["paragraph", "line", "text"] = setting(
        "line",
        "Documents of --rows=packed: paragraphs, with an empty line between, lines, or the whole "
        "text in pieces of --context.",
        needs={"rows": ("packed",)},
    )
    context: int = setting(64, "Tokens of a row.", 2)
    batch_size: int = setting(32, "Rows of a batch.", 1)


@dataclasses.dataclass(frozen=True)
class ScoringConfig:
    """Scoring of test texts."""

    stride: int = setting(
        0,
        "Tokens that each window of a long document scores, after those that are there as context "
        "alone; 0: half of --context.",
        0,
    )


@dataclasses.dataclass(frozen=True)
class ContinuationConfig:
    """Continuations of prompts."""

    prompt: str = setting("", "Prompt of the sample among the results; unset, a new line.")
    sample_length: int = setting(200, "Tokens of a continuation.", 1)
    temperature: float = setting(
        0.8, "Divisor of the logits that tokens are drawn from; 0: the most probable token.", 0.0
    )
    top_k: int = setting(
        0, "Most probable tokens that are drawn from; 0: all.", 0, needs={"temperature": ()}
    )
    top_p: float = setting(
        1.0,
        "Probability of the nucleus, the most probable tokens, that is drawn from.",
        1e-6,
        needs={"temperature": ()},
    )


_MASKED = {"objective": ("masked",)}


@dataclasses.dataclass(frozen=True)
class MaskingConfig:
    """Objective: what is predicted, and what of it the network does not see."""

    objective: Literal["masked", "next"] = setting(
        "masked",
        "What is predicted: masked words from both sides, or each next word from those before.",
    )
    masking: float = fraction(0.15, "Fraction of words that are predicted.", needs=_MASKED)
    mask_share: float = fraction(0.8, "Fraction of these that a mask stands for.", needs=_MASKED)
    random_share: float = fraction(
        0.1, "Fraction of these that are another word, drawn evenly.", needs=_MASKED
    )
    blanks: int = setting(
        500, "Lines of the test text in each of which a word is predicted at the end.", 1
    )
    pairs: int = setting(
        0, "BLiMP's pairs of each paradigm that are judged at the end.", 0, needs={"data": _FOLDERS}
    )


@dataclasses.dataclass(frozen=True)
class MaskedLanguageModelingConfig:
    """Masked language modelling, or prediction of each next word by the same network."""

    text: TextConfig = TextConfig()
    rows: RowsConfig = RowsConfig(rows="packed")
    masking: MaskingConfig = MaskingConfig()


@dataclasses.dataclass(frozen=True)
class LanguageModelingConfig:
    """Language modelling."""

    text: TextConfig = TextConfig()
    rows: RowsConfig = RowsConfig()
    scoring: ScoringConfig = ScoringConfig()
    continuation: ContinuationConfig = ContinuationConfig()
