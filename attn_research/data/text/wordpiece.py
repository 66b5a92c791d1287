"""WordPiece with the vocabulary of a published BERT.

Devlin et al. 2018; Wu et al. 2016. A text is cleaned of control characters, split at spaces,
punctuation and Chinese characters, and each word is cut into the longest pieces of the vocabulary
from its left end on; pieces that continue a word begin with ##.
"""

import dataclasses
import functools
import hashlib
import json
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import SupportsIndex

from attn_research.data.files import read_lines, user_path, write_whole
from attn_research.data.text.tokenizers import FILE, PAD

PADDING, UNKNOWN, BEGIN, END, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
VOCABULARY, SETTINGS = "vocab.txt", "tokenizer_config.json"
LONGEST = 100  # characters of a word; a longer one is unknown
_CHINESE = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class WordPieceTokenizer:
    """Pieces of a vocabulary, each an id by its place; what `words` are to others, pieces are here.

    With `lowercase` accents are dropped as well. ValueError for a vocabulary without one of the
    special pieces, or whose padding is not the id 0.
    """

    vocabulary: tuple[str, ...] = dataclasses.field(repr=False)
    lowercase: bool = True

    def __post_init__(self):
        if absent := [x for x in (PADDING, UNKNOWN, BEGIN, END, MASK) if x not in self._ids]:
            raise ValueError(f"a vocabulary of WordPiece has {', '.join(absent)}: this one has not")
        if self._ids[PADDING] != PAD:
            raise ValueError(f"{PADDING} is id {self._ids[PADDING]}: the first line must have it")

    @classmethod
    def read(cls, path: str | Path) -> "WordPieceTokenizer":
        """The tokenizer of a checkpoint's folder, or of a vocabulary with a piece on each line.

        Beside the vocabulary a tokenizer_config.json may say whether words are in lower case.
        """
        path = user_path(path)
        file = path / VOCABULARY if path.is_dir() else path
        if not file.is_file():
            raise FileNotFoundError(f"no vocabulary of WordPiece: {file} does not exist")
        settings = file.with_name(SETTINGS)
        about = json.loads(settings.read_bytes()) if settings.is_file() else {}
        try:
            return cls(tuple(read_lines(file)), bool(about.get("do_lower_case", True)))
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from None

    @property
    def vocab_size(self) -> int:
        return len(self.vocabulary)

    @property
    def begin(self) -> int:
        """The id before an example, whose state stands for it."""
        return self._ids[BEGIN]

    @property
    def end(self) -> int:
        """The id after each text."""
        return self._ids[END]

    @property
    def mask(self) -> int:
        """The id of a blank."""
        return self._ids[MASK]

    @functools.cached_property
    def fingerprint(self) -> str:
        return hashlib.sha256(self._json().encode()).hexdigest()

    def words(self, line: str) -> list[str]:
        """The pieces of a line."""
        return [piece for word in self._split(line) for piece in self._pieces(word)]

    def encode_words(self, words: list[str]) -> list[int]:
        """The ids of pieces."""
        unknown = self._ids[UNKNOWN]
        return [self._ids.get(piece, unknown) for piece in words]

    def encode(self, line: str) -> list[int]:
        return self.encode_words(self.words(line))

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        """The words of ids, separated by spaces; padding and ids around texts leave no trace."""
        silent = {PADDING, BEGIN, END}
        pieces = (self.vocabulary[i] for i in ids)
        return " ".join(x for x in pieces if x not in silent).replace(" ##", "")

    def save(self, folder: str | Path) -> None:
        write_whole(Path(folder) / FILE, self._json().encode())

    def _json(self) -> str:
        about = {"kind": "wordpiece", "vocabulary": self.vocabulary, "lowercase": self.lowercase}
        return json.dumps(about, ensure_ascii=False)

    @functools.cached_property
    def _ids(self) -> dict[str, int]:
        return {piece: i for i, piece in enumerate(self.vocabulary)}

    @functools.cached_property
    def _known(self) -> dict[str, list[str]]:
        """The pieces of words that were cut before."""
        return {}

    def _split(self, line: str) -> list[str]:
        """Words and marks of punctuation."""
        text = "".join(_apart(x) if _is_chinese(x) else _cleaned(x) for x in line)
        if self.lowercase:
            plain = unicodedata.normalize("NFD", text)
            text = "".join(x for x in plain if unicodedata.category(x) != "Mn").lower()
        return "".join(_apart(x) if _is_punctuation(x) else x for x in text).split()

    def _pieces(self, word: str) -> list[str]:
        if word not in self._known:
            self._known[word] = self._cut(word)
        return self._known[word]

    def _cut(self, word: str) -> list[str]:
        """The longest pieces from the left; a word that they do not cover is unknown."""
        pieces, start = [], 0
        while start < len(word) <= LONGEST:
            for end in range(len(word), start, -1):
                piece = word[start:end] if start == 0 else f"##{word[start:end]}"
                if piece in self._ids:
                    pieces.append(piece)
                    start = end
                    break
            else:
                return [UNKNOWN]
        return pieces or [UNKNOWN]


def _apart(character: str) -> str:
    return f" {character} "


@functools.lru_cache(maxsize=4096)
def _cleaned(character: str) -> str:
    """A space for any of them, nothing for a control character, else the character."""
    kind = unicodedata.category(character)
    if character in "\t\n\r" or kind == "Zs":
        return " "
    return "" if kind[0] == "C" or character == "\ufffd" else character


@functools.lru_cache(maxsize=4096)
def _is_punctuation(character: str) -> bool:
    """Punctuation of Unicode, and every ASCII character that is neither letter, digit nor space."""
    if character.isascii():
        return character.isprintable() and not character.isalnum() and character != " "
    return unicodedata.category(character)[0] == "P"


@functools.lru_cache(maxsize=4096)
def _is_chinese(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in _CHINESE)
