"""WordPiece with the vocabulary of a published BERT.

Devlin et al. 2018; Wu et al. 2016. A text is cleaned of control characters, split at spaces,
punctuation and Chinese characters, and each word is cut into the longest pieces of the vocabulary
from its left end on; pieces that continue a word begin with ##.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import SupportsIndex

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from attn_research.data.files import read_json_object, read_lines, user_path, write_whole
from attn_research.data.text.tokenizers import FILE, PAD

PADDING, UNKNOWN, BEGIN, END, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
VOCABULARY, SETTINGS = "vocab.txt", "tokenizer_config.json"


def make_word_pieces(vocabulary: Mapping[str, int], *, lowercase: bool) -> Tokenizer:
    """The pieces of texts by the package `tokenizers`; the special ones are no tokens of a text."""
    tokenizer = Tokenizer(models.WordPiece(dict(vocabulary), unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def is_lowercase(vocabulary: Path) -> bool:
    """Whether words are in lower case, by the tokenizer_config.json beside a vocabulary, if any."""
    settings = vocabulary.with_name(SETTINGS)
    about = read_json_object(settings) if settings.is_file() else {}
    return bool(about.get("do_lower_case", True))


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
        lowercase = is_lowercase(file)
        try:
            return cls(tuple(read_lines(file)), lowercase)
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
    def unknown(self) -> int:
        """The id of a word without pieces."""
        return self._ids[UNKNOWN]

    @property
    def mask(self) -> int:
        """The id of a blank."""
        return self._ids[MASK]

    @functools.cached_property
    def fingerprint(self) -> str:
        return hashlib.sha256(self._json().encode()).hexdigest()

    def words(self, line: str) -> list[str]:
        """The pieces of a line."""
        return self._tokenizer.encode(line, add_special_tokens=False).tokens

    def encode_words(self, words: list[str]) -> list[int]:
        """The ids of pieces."""
        return [self._ids.get(piece, self.unknown) for piece in words]

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
    def _tokenizer(self) -> Tokenizer:
        return make_word_pieces(self._ids, lowercase=self.lowercase)
