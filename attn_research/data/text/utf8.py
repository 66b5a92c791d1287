"""A tokenizer of lines whose words are the bytes of their UTF-8."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import SupportsIndex

from attn_research.data.files import write_whole
from attn_research.data.text.tokenizers import FILE, SPECIALS

BYTES = 256


@dataclasses.dataclass(frozen=True)
class Utf8Tokenizer:
    """Bytes, after the special ids; nothing is unknown. A byte is the character of its number."""

    @property
    def vocab_size(self) -> int:
        return len(SPECIALS) + BYTES

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self._json().encode()).hexdigest()

    def words(self, line: str) -> list[str]:
        return list(line.encode().decode("latin-1"))

    def encode_words(self, words: list[str]) -> list[int]:
        return [len(SPECIALS) + ord(word) for word in words]

    def encode(self, line: str) -> list[int]:
        return [len(SPECIALS) + byte for byte in line.encode()]

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        kept = [int(i) - len(SPECIALS) for i in ids if int(i) >= len(SPECIALS)]
        return bytes(kept).decode(errors="replace")

    def save(self, folder: str | Path) -> None:
        write_whole(Path(folder) / FILE, self._json().encode())

    def _json(self) -> str:
        return json.dumps({"kind": "utf8"})
