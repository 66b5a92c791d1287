"""Tokenizers of lines as a folder keeps them."""

import contextlib
import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

from attn_research.data.files import one_line, user_path
from attn_research.data.text.json_tokenizer import JsonTokenizer
from attn_research.data.text.tokenizers import (
    FILE,
    MODEL_FILE,
    SPECIALS,
    SubwordTokenizer,
    Tokenizer,
    WordTokenizer,
)
from attn_research.data.text.utf8 import Utf8Tokenizer
from attn_research.data.text.wordpiece import WordPieceTokenizer


@contextlib.contextmanager
def saved_fields(folder: str | Path, name: str) -> Generator[tuple[Path, dict[str, Any]]]:
    """A file of a folder that describes a tokenizer, and the object in it.

    FileNotFoundError where there is none; a ValueError names a file from which none can be made.
    """
    path = user_path(folder) / name
    if not path.is_file():
        raise FileNotFoundError(f"no tokenizer in {folder}: {name} is missing")
    with _describing(path):
        yield path, json.loads(path.read_bytes())


@contextlib.contextmanager
def _describing(path: Path) -> Generator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{path} does not describe a tokenizer: {one_line(error)}") from None


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """The tokenizer that `save` wrote to a folder; a ValueError names a damaged file."""
    with saved_fields(folder, FILE) as (path, fields):
        match fields.pop("kind"):
            case "words":
                return _check_words(WordTokenizer(tuple(fields.pop("shortlist")), **fields))
            case "subwords":
                model, sha256 = path.with_name(MODEL_FILE), fields.get("sha256")
            case "utf8":
                return Utf8Tokenizer(**fields)
            case "json":
                return JsonTokenizer(**fields)
            case "wordpiece":
                return WordPieceTokenizer(tuple(fields.pop("vocabulary")), **fields)
            case kind:
                raise ValueError(f"unknown kind {kind!r}")
    with _describing(model):
        return _check_model(SubwordTokenizer(model.read_bytes()), sha256)


def _check_words(tokenizer: WordTokenizer) -> WordTokenizer:
    """The tokenizer; a ValueError for what is no word, no word of its own or no language."""
    for word in tokenizer.shortlist:
        if not isinstance(word, str) or word.split() != [word]:
            raise ValueError(f"its shortlist holds {word!r}, which is no word")
    if len(set(tokenizer.shortlist)) < len(tokenizer.shortlist):
        raise ValueError("its shortlist holds a word twice")
    if not isinstance(tokenizer.language, str) or not isinstance(tokenizer.moses, bool):
        raise ValueError(f"language={tokenizer.language!r} or moses={tokenizer.moses!r}")
    return tokenizer


def _check_model(tokenizer: SubwordTokenizer, sha256: str | None) -> SubwordTokenizer:
    """The tokenizer; a ValueError for a model that is not the one saved, or is none.

    Folders of earlier versions do not have its SHA-256.
    """
    if sha256 not in (None, tokenizer.fingerprint):
        raise ValueError("its content has changed since it was written")
    if not tokenizer.model or tokenizer.vocab_size <= len(SPECIALS):
        raise ValueError("it has no subwords")
    tokenizer.decode(range(len(tokenizer.pieces())))  # a ValueError where one of them is no text
    return tokenizer
