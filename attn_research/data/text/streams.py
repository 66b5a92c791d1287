"""Tokenizers of whole texts, lines and all: characters, bytes, and words or subwords by line.

A text is a stream of ids in which `newline` ends every line. It also stands before the first token,
so that every token of a text has something before it and is predicted once.
"""

import array
import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, SupportsIndex, runtime_checkable

import numpy as np
from jaxtyping import Int32

from attn_research.data.files import shorten, write_whole
from attn_research.data.text.saved_tokenizers import load_tokenizer, saved_fields
from attn_research.data.text.tokenizers import EOS, Tokenizer

_FILE = "stream.json"


@runtime_checkable
class TextTokenizer(Protocol):
    """A tokenizer of texts; `load_text_tokenizer` reads what `save` wrote."""

    @property
    def vocab_size(self) -> int:
        """The number of ids."""
        ...

    @property
    def newline(self) -> int:
        """The id of the end of a line."""
        ...

    @property
    def fingerprint(self) -> str:
        """The SHA-256, in hex, of everything that encoding depends on."""
        ...

    def encode(self, text: str) -> Int32[np.ndarray, "_"]:
        """The ids of a text."""
        ...

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        """The text of ids."""
        ...

    def save(self, folder: Path) -> None:
        """Writes the tokenizer as plain files."""
        ...


@dataclasses.dataclass(frozen=True)
class CharacterTokenizer:
    """Characters, each an id by its place in an alphabet that has the newline."""

    alphabet: str

    def __post_init__(self):
        if "\n" not in self.alphabet or len(set(self.alphabet)) < len(self.alphabet):
            raise ValueError("an alphabet has every character once, and the newline")

    @classmethod
    def build(cls, texts: Iterable[str]) -> "CharacterTokenizer":
        """The alphabet of some texts, in the order of code points."""
        return cls("".join(sorted(set("\n").union(*texts))))

    @property
    def vocab_size(self) -> int:
        return len(self.alphabet)

    @property
    def newline(self) -> int:
        return self._ids["\n"]

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.alphabet.encode()).hexdigest()

    def encode(self, text: str) -> Int32[np.ndarray, "_"]:
        try:
            return np.array([self._ids[each] for each in text], np.int32)
        except KeyError as error:
            raise ValueError(
                f"the character {error.args[0]!r} is not in the text that this alphabet was made "
                "from: leave it out, or train with --tokenizer=bytes"
            ) from None

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        return "".join(self.alphabet[i] for i in ids)

    def save(self, folder: Path) -> None:
        _save(folder, {"kind": "characters", "alphabet": self.alphabet})

    @functools.cached_property
    def _ids(self) -> dict[str, int]:
        return {each: i for i, each in enumerate(self.alphabet)}


@dataclasses.dataclass(frozen=True)
class ByteTokenizer:
    """The bytes of UTF-8. Bytes that are no UTF-8 are decoded to the replacement character."""

    vocab_size = 256
    newline = 10
    fingerprint = "bytes"

    def encode(self, text: str) -> Int32[np.ndarray, "_"]:
        return np.frombuffer(text.encode(), np.uint8).astype(np.int32)

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        return bytes(int(i) for i in ids).decode(errors="replace")

    def save(self, folder: Path) -> None:
        _save(folder, {"kind": "bytes"})


@dataclasses.dataclass(frozen=True)
class LineTokenizer:
    """A tokenizer of lines, with the id `newline` for the end of each.

    Lines are cut from each other first, so that no token spans two.
    """

    lines: Tokenizer
    newline: int = EOS

    @property
    def vocab_size(self) -> int:
        return self.lines.vocab_size

    @property
    def fingerprint(self) -> str:
        return self.lines.fingerprint

    def encode(self, text: str) -> Int32[np.ndarray, "_"]:
        ids = array.array("i")
        for number, line in enumerate(text.split("\n")):
            ids.extend([self.newline] if number else [])
            ids.extend(self.lines.encode(line))
        return np.array(ids, np.int32)

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        found: list[list[SupportsIndex]] = [[]]
        for i in ids:
            if int(i) == self.newline:
                found.append([])
            else:
                found[-1].append(i)
        return "\n".join(map(self.lines.decode, found))

    def save(self, folder: Path) -> None:
        self.lines.save(folder)
        _save(folder, {"kind": "lines", "newline": self.newline})


def _save(folder: Path, about: dict) -> None:
    write_whole(folder / _FILE, json.dumps(about, ensure_ascii=False).encode())


def load_text_tokenizer(folder: str | Path) -> TextTokenizer:
    """The tokenizer that `save` wrote to a folder; a ValueError names a damaged file."""
    with saved_fields(folder, _FILE) as (_, about):
        match about:
            case {"kind": "characters", "alphabet": str(alphabet)}:
                return CharacterTokenizer(alphabet)
            case {"kind": "bytes"}:
                return ByteTokenizer()
            case {"kind": "lines", "newline": int(newline)}:
                return _of_lines(load_tokenizer(folder), newline)
            case {"kind": "lines"}:  # of earlier versions
                return LineTokenizer(load_tokenizer(folder))
        raise ValueError(f"unknown content {shorten(str(about))!r}")


def _of_lines(tokenizer: Tokenizer, newline: int) -> LineTokenizer:
    if not 0 <= newline < tokenizer.vocab_size:
        raise ValueError(f"newline {newline} is none of {tokenizer.vocab_size} ids")
    return LineTokenizer(tokenizer, newline)
