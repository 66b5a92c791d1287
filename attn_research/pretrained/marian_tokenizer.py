"""The tokenizer of Marian's published models: SentencePiece of two languages, and vocabularies."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import sentencepiece

from attn_research.data.files import one_line, read_json_object

SOURCE, TARGET = "source.spm", "target.spm"
VOCABULARY, TARGET_VOCABULARY = "vocab.json", "target_vocab.json"
_UNKNOWN, _END, _SPECIAL = "<unk>", "</s>", ("<pad>", "</s>", "<s>")
_SPACE = "▁"


@dataclasses.dataclass(frozen=True, eq=False)
class MarianTokenizer:
    """Pieces of source and target, whose ids are those of vocabularies, not of the pieces' models.

    Kudo, Richardson 2018. A source may begin with a token of its target language, such as >>fra<<.
    """

    source: sentencepiece.SentencePieceProcessor
    target: sentencepiece.SentencePieceProcessor
    vocabulary: Mapping[str, int]
    names: Mapping[int, str]  # of target ids
    end: tuple[int, ...]
    mask: None = None

    def encode(self, text: str, pair: str | None = None) -> tuple[list[int], list[int]]:
        """The ids of a source text with its end, and a type of 0 for each."""
        if pair is not None:
            raise ValueError("a translation model reads one text, not a pair")
        language = text[: text.find("<<") + 2] if text.startswith(">>") and "<<" in text else ""
        pieces = [language] * bool(language) + self.source.encode(
            text[len(language) :], out_type=str
        )
        unknown = self.vocabulary[_UNKNOWN]
        ids = [self.vocabulary.get(piece, unknown) for piece in pieces]
        return [*ids, self.vocabulary[_END]], [0] * (len(ids) + 1)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of target ids, without special tokens."""
        names = [self.names.get(each, _UNKNOWN) for each in ids]
        text = self.target.decode_pieces([name for name in names if name not in _SPECIAL])
        return text.replace(_SPACE, " ").strip()

    def labels(self, ids: Sequence[int]) -> list[str]:
        """What each id of a source stands for, as it is read in a picture."""
        pieces = {number: piece for piece, number in self.vocabulary.items()}
        return [_label(pieces.get(each)) for each in ids]

    def target_labels(self, ids: Sequence[int]) -> list[str]:
        """What each target id stands for, as it is read in a picture."""
        return [_label(self.names.get(each)) for each in ids]


def is_marian(folder: Path) -> bool:
    """Whether a folder has the files of such a tokenizer."""
    return all((folder / name).is_file() for name in (SOURCE, TARGET, VOCABULARY))


def load_marian_tokenizer(folder: Path, sizes: tuple[int, int]) -> MarianTokenizer:
    """The tokenizer in a folder, of a model with vocabularies of those sizes for source and target.

    ValueError, in one line, for a damaged file, and for ids that the model does not have.
    """
    apart = (folder / TARGET_VOCABULARY).is_file()
    paths = folder / VOCABULARY, folder / (TARGET_VOCABULARY if apart else VOCABULARY)
    source, target = (_vocabulary(path, size) for path, size in zip(paths, sizes, strict=True))
    pieces = [_pieces(folder / name) for name in (SOURCE, TARGET)]
    names = {number: piece for piece, number in target.items()}
    return MarianTokenizer(*pieces, source, names, (target[_END],))


def _vocabulary(path: Path, size: int) -> dict[str, int]:
    found = read_json_object(path)
    for piece, number in found.items():
        if type(number) is not int or not 0 <= number < size:
            raise ValueError(
                f"{path}: {piece!r} is {number!r}, and the model embeds 0 to {size - 1}"
            )
    for needed in (_UNKNOWN, _END):
        if needed not in found:
            raise ValueError(f"{path} has no {needed}: it is no vocabulary of Marian's kind")
    return found


def _pieces(path: Path) -> sentencepiece.SentencePieceProcessor:
    try:
        return sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (RuntimeError, OSError) as error:
        raise ValueError(f"{path} is no SentencePiece model ({one_line(error)})") from None


def _label(piece: str | None) -> str:
    return (piece or "?").replace(_SPACE, "·")
