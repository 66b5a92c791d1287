"""Tokenizers: a shortlist of words, or SentencePiece subwords.

A tokenizer adds no begin or end of sentence: batching appends EOS.
"""

import dataclasses
import functools
import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol, SupportsIndex, runtime_checkable

from attn_research.data.files import write_whole
from attn_research.data.text.reserved import hide_reserved, show_reserved

PAD, BOS, EOS, UNK = range(4)
SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")

MAX_TRAINING_LINE = 1 << 20  # bytes; SentencePiece would drop a longer line without a word

FILE, MODEL_FILE = "tokenizer.json", "subwords.model"


def unknown_words(pairs: Iterable[tuple[str, SupportsIndex]], unk: int = UNK) -> list[str]:
    """A remark on the words of (word, id) that are not in the vocabulary, if there are any.

    `unk` is the id that stands for them.
    """
    unknown = [word for word, i in pairs if int(i) == unk]
    return [f"not in the vocabulary: {', '.join(unknown)}"] if unknown else []


@runtime_checkable
class Tokenizer(Protocol):
    """A tokenizer of lines; `saved_tokenizers.load_tokenizer` reads what `save` wrote."""

    @property
    def vocab_size(self) -> int:
        """The number of ids, the four special ones included."""
        ...

    @property
    def fingerprint(self) -> str:
        """The SHA-256, in hex, of everything that encoding depends on."""
        ...

    def words(self, line: str) -> list[str]:
        """The words of a line, as limits on sentence length count them."""
        ...

    def encode_words(self, words: list[str]) -> list[int]:
        """The ids of words, as `words` gives them."""
        ...

    def encode(self, line: str) -> list[int]:
        """The ids of a line."""
        ...

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        """The words of `ids`, separated by spaces; PAD, BOS and EOS leave no trace."""
        ...

    def save(self, folder: str | Path) -> None:
        """Writes the tokenizer as plain files."""
        ...


@dataclasses.dataclass(frozen=True)
class WordTokenizer:
    """A shortlist of words, the most frequent first; every other word is UNK (Bahdanau 2014, 4.1).

    `moses` first splits raw text as the Moses tokenizer does for `language`, with its escapes
    (&apos; for an apostrophe); without it words are what stands between spaces.
    """

    shortlist: tuple[str, ...]
    language: str = "en"
    moses: bool = False

    @classmethod
    def build(
        cls,
        lines: Iterable[str],
        *,
        size: int | None = None,
        language: str = "en",
        moses: bool = False,
    ) -> "WordTokenizer":
        """A shortlist of the `size` most frequent words of a stream of lines, or of all words.

        Equally frequent words are ranked in code point order, so that the same text gives the same
        ids. Only the counts are held in memory.
        """
        if size is not None and size < 1:
            raise ValueError(f"size={size}: a shortlist holds at least one word")
        words = cls((), language, moses).words
        counts = Counter[str]()
        for line in lines:
            counts.update(words(line))
        if not counts:
            raise ValueError("no words to build a shortlist from: the text is empty")
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return cls(tuple(word for word, _ in ranked[:size]), language, moses)

    @property
    def vocab_size(self) -> int:
        return len(SPECIALS) + len(self.shortlist)

    @functools.cached_property
    def fingerprint(self) -> str:
        return hashlib.sha256(self._json().encode()).hexdigest()

    def words(self, line: str) -> list[str]:
        return self._moses(line) if self.moses else line.split()

    def encode_words(self, words: list[str]) -> list[int]:
        ids = self._ids
        return [ids.get(word, UNK) for word in words]

    def encode(self, line: str) -> list[int]:
        return self.encode_words(self.words(line))

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        surfaces = self._surfaces
        return " ".join(surfaces[i] for i in ids if i not in (PAD, BOS, EOS))

    def save(self, folder: str | Path) -> None:
        write_whole(Path(folder) / FILE, self._json().encode())

    def _json(self) -> str:
        return json.dumps({"kind": "words", **dataclasses.asdict(self)}, ensure_ascii=False)

    @functools.cached_property
    def _surfaces(self) -> tuple[str, ...]:
        return SPECIALS + self.shortlist

    @functools.cached_property
    def _ids(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.shortlist, len(SPECIALS))}

    @functools.cached_property
    def _moses(self) -> Callable[[str], list[str]]:
        import sacremoses  # slow to import, and most text comes tokenized

        return sacremoses.MosesTokenizer(self.language).tokenize


@dataclasses.dataclass(frozen=True)
class SubwordTokenizer:
    """SentencePiece byte-pair encoding with settings close to subword-nmt (Sennrich et al. 2016).

    Nothing is normalized, every character of the training text is kept, those that SentencePiece
    reserves too (see `data.text.reserved`), a word is whatever stands between spaces, and the end
    of a word is marked, so that no merge crosses it. Unlike subword-nmt it merges pairs seen only
    once, and fixes the vocabulary rather than the number of merges: vocab_size = merges + distinct
    characters + 5 (the four special ids and the end-of-word mark).
    """

    model: bytes = dataclasses.field(repr=False)

    @classmethod
    def train(cls, lines: Iterable[str], *, vocab_size: int) -> "SubwordTokenizer":
        """Subwords learned from lines of one language, or of both for a joint vocabulary.

        SentencePiece holds the lines in memory: give it a sample of a large corpus. Raises a
        ValueError where the text cannot fill the vocabulary, or its characters alone exceed it.
        """
        import sentencepiece

        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=_training_lines(lines),
                model_writer=model,
                model_type="bpe",
                vocab_size=vocab_size,
                pad_id=PAD,
                bos_id=BOS,
                eos_id=EOS,
                unk_id=UNK,
                pad_piece=SPECIALS[PAD],
                unk_surface=SPECIALS[UNK],
                normalization_rule_name="identity",
                character_coverage=1.0,
                split_by_unicode_script=False,
                split_by_number=False,
                split_digits=False,
                treat_whitespace_as_suffix=True,
                max_sentencepiece_length=256,  # the default of 16 would cut German compounds
                max_sentence_length=MAX_TRAINING_LINE,
                minloglevel=2,
            )
        except RuntimeError as error:
            reason = str(error).rsplit("] ", 1)[-1]
            raise ValueError(f"vocab_size={vocab_size} does not fit the text: {reason}") from None
        return cls(model.getvalue())

    @property
    def vocab_size(self) -> int:
        return self._processor.vocab_size()

    @functools.cached_property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.model).hexdigest()

    def words(self, line: str) -> list[str]:
        return line.split()

    def encode_words(self, words: list[str]) -> list[int]:
        return self._processor.encode(hide_reserved(" ".join(words)))

    def encode(self, line: str) -> list[int]:
        return self.encode_words(self.words(line))

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        text = self._processor.decode([int(i) for i in ids])
        return show_reserved(text.rstrip(" "))

    def pieces(self) -> list[str]:
        """The piece of every id: special ones, merges from the first on, characters."""
        return [self.piece(i) for i in range(self.vocab_size)]

    def piece(self, token: int) -> str:
        """The piece of an id, which ends with SentencePiece's mark where it ends a word."""
        return self._processor.id_to_piece(int(token))

    def save(self, folder: str | Path) -> None:
        write_whole(Path(folder) / MODEL_FILE, self.model)
        about = {"kind": "subwords", "sha256": self.fingerprint}
        write_whole(Path(folder) / FILE, json.dumps(about).encode())

    @functools.cached_property
    def _processor(self):
        import sentencepiece

        return sentencepiece.SentencePieceProcessor(model_proto=self.model)


@functools.lru_cache(maxsize=2**14)  # systems of a table share their references
def detokenize(words: str, language: str) -> str:
    """Tokenized words as written text, by the Moses rules of the language."""
    import sacremoses

    return sacremoses.MosesDetokenizer(language).detokenize(words.split())


def _training_lines(lines: Iterable[str]) -> Iterator[str]:
    """The lines with words, as SentencePiece may read them; a ValueError where there are none."""
    empty = True
    for number, line in enumerate(lines, 1):
        if words := line.split():
            empty = False
            text = hide_reserved(" ".join(words))
            if len(text.encode()) > MAX_TRAINING_LINE:
                raise ValueError(
                    f"line {number} of the text, which starts {text[:40]!r}, is longer than "
                    f"{MAX_TRAINING_LINE:,} bytes: leave it out"
                )
            yield text
    if empty:
        raise ValueError("no words to train subwords on: the text is empty")
