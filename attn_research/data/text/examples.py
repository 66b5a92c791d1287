"""Labelled examples as ids, and their batches.

A batch is {"ids", "types": int32 [B, S], "label"}: each text ends with EOS, rows are padded with
PAD, and types are 1 in the second text of a pair, its EOS included, else 0. The label is that of a
row [B], or of each of its ids [B, S]: the number of a class, or -1 where there is none, as in rows
that only fill a batch; of numbers it is a float32, NaN where there is none.
"""

import array
import dataclasses
import operator
from collections.abc import Callable, Sequence
from typing import NamedTuple, SupportsIndex

import numpy as np
from jaxtyping import Int, Shaped

from attn_research.data.text.labelled import Example, Labels
from attn_research.data.text.tokenizers import EOS, PAD, Tokenizer

EncodedLabel = int | float | list[int]


class Item(NamedTuple):
    """An example as ids, without the EOS of its last text; `second` is where a second text begins.

    Without a second text `second` is the number of ids with the EOS.
    """

    ids: Int[np.ndarray, "S"]
    second: int
    label: EncodedLabel


class EncodedExamples(Sequence[Item]):
    """Examples in memory, 4 bytes an id; `lengths` [N, 1] leave out the last EOS."""

    def __init__(self, rows: Sequence[Item]):
        flat = array.array("i")
        for row in rows:
            flat.extend(row.ids)
        self._ids = np.array(flat, np.int32)
        self.lengths = np.array([len(row.ids) for row in rows], np.int64).reshape(-1, 1)
        self._ends = np.cumsum(self.lengths)
        self._others = [(row.second, row.label) for row in rows]

    def __len__(self) -> int:
        return len(self._others)

    def __getitem__(self, index: SupportsIndex) -> Item:
        index = range(len(self))[operator.index(index)]
        end = self._ends[index]
        return Item(self._ids[end - self.lengths[index, 0] : end], *self._others[index])


def encode_examples(
    examples: Sequence[Example],
    tokenizer: Tokenizer,
    encode_label: Callable[[str], EncodedLabel],
    *,
    max_words: int | None = None,
) -> EncodedExamples:
    """Examples as ids. A text keeps its first `max_words` words, and their tags, if there are tags.

    The longer of two texts is cut first, until both together have that many.
    """
    return EncodedExamples(
        [_encode(example, tokenizer, encode_label, max_words) for example in examples]
    )


def _encode(example, tokenizer, encode_label, max_words) -> Item:
    texts = [tokenizer.words(text) for text in example.texts]
    label = encode_label(example.label)
    if max_words is not None:
        texts = truncate(texts, max_words)
        if isinstance(label, list):
            label = label[:max_words]
    first, *rest = (tokenizer.encode_words(words) for words in texts)
    ids = np.array(first + [i for each in rest for i in (EOS, *each)], np.int32)
    return Item(ids, len(first) + 1, label)


def truncate(texts: Sequence[list[str]], max_words: int) -> list[list[str]]:
    """One or two texts of at most `max_words` words together, the longer cut first, at its end."""
    lengths = [len(words) for words in texts]
    while sum(lengths) > max_words:
        lengths[lengths.index(max(lengths))] -= 1
    return [words[:length] for words, length in zip(texts, lengths, strict=True)]


@dataclasses.dataclass(frozen=True)
class CollateExamples:
    """The collation of items of one kind of labels; picklable, for worker processes."""

    labels: Labels

    def __call__(self, items: Sequence[Item], rows: int, length: int) -> dict[str, np.ndarray]:
        ids, types = np.full((rows, length), PAD, np.int32), np.zeros((rows, length), np.int32)
        label = self._no_labels(rows, length)
        for row, item in enumerate(items):
            end = len(item.ids)
            ids[row, :end], ids[row, end] = item.ids, EOS
            types[row, item.second : end + 1] = 1
            if self.labels == "tags":
                label[row, : len(item.label)] = item.label
            else:
                label[row] = item.label
        return {"ids": ids, "types": types, "label": label}

    def _no_labels(self, rows: int, length: int) -> Shaped[np.ndarray, "B ..."]:
        if self.labels == "numbers":
            return np.full(rows, np.nan, np.float32)
        return np.full((rows, length) if self.labels == "tags" else rows, -1, np.int32)
