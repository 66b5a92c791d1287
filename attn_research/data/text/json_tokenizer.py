"""Tokens as a tokenizer.json says, the format of the package `tokenizers`."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import SupportsIndex

from tokenizers import Tokenizer

from attn_research.data.files import one_line, user_path, write_whole
from attn_research.data.text.tokenizers import FILE

# Tokens that end a text, any of which can stand for the end of a line.
_ENDS = "<|endoftext|>", "</s>", "[SEP]"


def parse_tokenizer(content: str) -> Tokenizer:
    """The tokenizer of a tokenizer.json, without padding and truncation.

    ValueError, with the reason, for content that is none.
    """
    try:
        found = Tokenizer.from_str(content)
    except Exception as error:  # of a kind of its own, without a name
        raise ValueError(one_line(error)) from None
    found.no_padding()
    found.no_truncation()
    return found


@dataclasses.dataclass(frozen=True)
class JsonTokenizer:
    """The tokens of a tokenizer.json, without special ones around a text.

    ValueError for content that is no tokenizer.
    """

    content: str = dataclasses.field(repr=False)

    def __post_init__(self):
        self._tokenizer  # noqa: B018 (refuses content that is none)

    @classmethod
    def read(cls, path: str | Path) -> "JsonTokenizer":
        """The tokenizer of a file; FileNotFoundError where there is none."""
        path = user_path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no tokenizer: {path} does not exist")
        try:
            return cls(path.read_text("utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    @functools.cached_property
    def vocab_size(self) -> int:
        return 1 + max(self._tokenizer.get_vocab().values())

    @functools.cached_property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.content.encode()).hexdigest()

    @functools.cached_property
    def line_end(self) -> int:
        """The id of the end of a line, or of a text where a newline is no token."""
        found = self.encode("\n")
        if len(found) == 1 and self.decode(found) == "\n":
            return found[0]
        ends = (self._tokenizer.token_to_id(name) for name in _ENDS)
        if (end := next((end for end in ends if end is not None), None)) is None:
            raise ValueError(f"this tokenizer has no token of a newline, nor {' or '.join(_ENDS)}")
        return end

    def words(self, line: str) -> list[str]:
        """The tokens of a line."""
        return self._tokenizer.encode(line, add_special_tokens=False).tokens

    def encode_words(self, words: list[str]) -> list[int]:
        """The ids of tokens; ValueError for what is none."""
        ids = {word: self._tokenizer.token_to_id(word) for word in words}
        if other := [word for word, found in ids.items() if found is None]:
            raise ValueError(f"{other[0]!r} is no token of this tokenizer")
        return [ids[word] for word in words]

    def encode(self, line: str) -> list[int]:
        return self._tokenizer.encode(line, add_special_tokens=False).ids

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        """The text of ids, without special tokens."""
        return self._tokenizer.decode([int(i) for i in ids], skip_special_tokens=True)

    def save(self, folder: str | Path) -> None:
        about = {"kind": "json", "content": self.content}
        write_whole(Path(folder) / FILE, json.dumps(about, ensure_ascii=False).encode())

    @functools.cached_property
    def _tokenizer(self) -> Tokenizer:
        try:
            found = parse_tokenizer(self.content)
        except ValueError as error:
            raise ValueError(f"it is no tokenizer ({error})") from None
        if not found.get_vocab():
            raise ValueError("it has no tokens")
        return found
