"""Tokenizers of published checkpoints: tokenizer.json, vocab.txt, or that of a GGUF file.

The algorithms are those of the package `tokenizers`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    processors,
)

from attn_research.data.files import one_line, read_lines
from attn_research.data.text.json_tokenizer import parse_tokenizer
from attn_research.data.text.wordpiece import is_lowercase, make_word_pieces
from attn_research.pretrained.checkpoint import Checkpoint
from attn_research.pretrained.marian_tokenizer import (
    MarianTokenizer,
    is_marian,
    load_marian_tokenizer,
)

_MASKS = "[MASK]", "<mask>"
_BERT_SPECIAL = "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[PAD]"
_TEXT_END = "<|endoftext|>"
# The type of a special token in GGUF.
_CONTROL = 3
# A bracketed atom, an atom of two letters, a ring of two digits, an arrow, or one character.
_SMILES = r"\[[^\]]+\]|Br|Cl|%\d\d|>>|."
# How text is cut before byte pairs are merged, by its name in GGUF: with digits one by one, or not.
_SINGLE_DIGITS = "smollm", "starcoder", "refact", "command-r"
_WHOLE_DIGITS = "default", "gpt-2"


@dataclasses.dataclass(frozen=True, eq=False)
class PublishedTokenizer:
    """A tokenizer with the special tokens of its model, by id; None where there is no such."""

    tokenizer: Tokenizer
    mask: int | None = None
    end: tuple[int, ...] = ()  # of a text

    def encode(self, text: str, pair: str | None = None) -> tuple[list[int], list[int]]:
        """The ids of a text, or of two, and the type of each, with the special tokens around."""
        found = self.tokenizer.encode(text, pair)
        return found.ids, found.type_ids

    @property
    def around(self) -> list[int]:
        """The special tokens that are around every text."""
        return self.encode("")[0]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, without special tokens."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)

    def labels(self, ids: Sequence[int]) -> list[str]:
        """What each id stands for, as it is read in a picture."""
        names = [self.tokenizer.id_to_token(each) for each in ids]
        if isinstance(self.tokenizer.decoder, decoders.ByteLevel):
            names = [self.tokenizer.decode([each], skip_special_tokens=False) for each in ids]
        return [(name or "?").replace("\n", "↵").replace(" ", "·") for name in names]

    def target_labels(self, ids: Sequence[int]) -> list[str]:
        """The labels of target ids, which are of the same tokenizer."""
        return self.labels(ids)


def load_tokenizer(
    checkpoint: Checkpoint, vocab_size: int, target_size: int | None = None
) -> PublishedTokenizer | MarianTokenizer:
    """The tokenizer that lies beside the weights of a checkpoint, or in their file.

    `target_size` is that of the target vocabulary of a model that translates. ValueError, in one
    line, where there is none, where it is damaged, and where it has more tokens than the model has
    embeddings.
    """
    folder = checkpoint.where
    if target_size is not None and folder is not None and is_marian(folder):
        return load_marian_tokenizer(folder, (vocab_size, target_size))
    where, tokenizer = str(checkpoint.where), None
    if checkpoint.container == "gguf":
        tokenizer = _from_gguf(checkpoint)
        ends = checkpoint.config.get("tokenizer.ggml.eos_token_id")
    else:
        where, tokenizer = _from_folder(checkpoint.where)
        ends = checkpoint.config.get("eos_token_id")
    largest = max(tokenizer.get_vocab().values(), default=-1)
    if largest >= vocab_size:
        raise ValueError(
            f"{where} has tokens up to number {largest}, and the model embeds {vocab_size}: it is "
            "the tokenizer of another model"
        )
    masks = [tokenizer.token_to_id(name) for name in _MASKS]
    ends = {*(ends if isinstance(ends, list) else [ends]), tokenizer.token_to_id(_TEXT_END)}
    return PublishedTokenizer(
        tokenizer,
        next((mask for mask in masks if mask is not None), None),
        tuple(sorted(end for end in ends if isinstance(end, int))),
    )


def _from_folder(folder: Path | None) -> tuple[str, Tokenizer]:
    if folder is None:
        raise ValueError("a checkpoint that was read from no folder has no tokenizer")
    if (path := folder / "tokenizer.json").is_file():
        try:
            return str(path), parse_tokenizer(path.read_text("utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is no tokenizer ({one_line(error)})") from None
    if (path := folder / "vocab.txt").is_file():
        return str(path), _from_vocabulary(path)
    raise FileNotFoundError(
        f"{folder} has no tokenizer: tokenizer.json or vocab.txt of the model is needed beside it, "
        "of Marian source.spm, target.spm and vocab.json"
    )


def _from_vocabulary(path: Path) -> Tokenizer:
    """WordPiece of BERT (Schuster, Nakajima 2012), or the tokens of SMILES strings."""
    vocabulary: dict[str, int] = {}
    for number, token in enumerate(read_lines(path), 1):
        if token in vocabulary:
            raise ValueError(f"{path}, line {number}: the token {token!r} is there twice")
        vocabulary[token] = number - 1
    for token in ("[UNK]", "[CLS]", "[SEP]"):
        if token not in vocabulary:
            raise ValueError(f"{path} has no {token}: it is no vocabulary of BERT's kind")
    if any(token.startswith("##") for token in vocabulary):
        tokenizer = make_word_pieces(vocabulary, lowercase=is_lowercase(path))
    elif any(token in vocabulary for token in ("[nH]", "[C@H]", "[C@@H]")):
        tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
        cuts = [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Split(Regex(_SMILES), behavior="isolated"),
        ]
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(cuts)
        tokenizer.decoder = decoders.Fuse()
    else:
        raise ValueError(f"{path} holds neither word pieces (##ing) nor atoms of SMILES strings")
    tokenizer.add_special_tokens([name for name in vocabulary if name in _BERT_SPECIAL])
    around = (("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"]))
    tokenizer.post_processor = processors.BertProcessing(*around)
    return tokenizer


def _from_gguf(checkpoint: Checkpoint) -> Tokenizer:
    """Byte pairs (Sennrich et al. 2016) over bytes, as GPT-2 has them, of the metadata."""
    metadata, where = checkpoint.config, checkpoint.where
    kind, cut = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre", "default")
    if kind != "gpt2" or cut not in (*_SINGLE_DIGITS, *_WHOLE_DIGITS):
        raise ValueError(
            f"{where}: its tokenizer is {kind!r} with texts cut as {cut!r}: supported is 'gpt2' "
            f"with {', '.join((*_SINGLE_DIGITS, *_WHOLE_DIGITS))}"
        )
    tokens = _strings(metadata, "tokenizer.ggml.tokens", where)
    merges = [tuple(each.split(" ")) for each in _strings(metadata, "tokenizer.ggml.merges", where)]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    try:
        tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    except Exception as error:  # of a kind of its own, without a name
        raise ValueError(f"{where}: its tokenizer is damaged ({one_line(error)})") from None
    bytes_of_text = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    digits = [pre_tokenizers.Digits(individual_digits=True)] * (cut in _SINGLE_DIGITS)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*digits, bytes_of_text])
    tokenizer.decoder = decoders.ByteLevel()
    types = list(metadata.get("tokenizer.ggml.token_type", ()))
    special = [token for token, kind in zip(tokens, types, strict=False) if kind == _CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    return tokenizer


def _strings(metadata: Mapping[str, Any], key: str, where: Path | None) -> list[str]:
    found = metadata.get(key)
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise ValueError(f"{where}: {key} is missing, or no list of strings")
    return found
