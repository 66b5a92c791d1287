"""Labelled examples as ids, and their batches.

A batch is {"ids", "types": int32 [B, S], "valid": bool [B, S], "label"}: each text ends with EOS,
rows are padded with PAD, where `valid` is false, and types are 1 in the second text of a pair, its
EOS included, else 0. The label is that of a row [B], or of each of its ids [B, S]: the number of a
class, or -1 where there is none, as in rows that only fill a batch; of numbers it is a float32, NaN
where there is none. Packed batches have "segments" in place of "valid", and the label of a row is
[B, E] (see `PackedExamples`).
"""

import array
import dataclasses
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, SupportsIndex

import numpy as np
from jaxtyping import Int, Shaped

from attn_research.data.batching import Batch, Rows, all_rows
from attn_research.data.text.labelled import Example, Labels
from attn_research.data.text.rows import PackedRows, Packing
from attn_research.data.text.tokenizers import EOS, PAD, Tokenizer

EncodedLabel = int | float | list[int]


class Frame(NamedTuple):
    """Ids around texts: those before an example, if any, and the one after each text."""

    begin: tuple[int, ...] = ()
    end: int = EOS


PLAIN = Frame()


class Item(NamedTuple):
    """An example as ids, without the end of its last text; `second` is where a second text begins.

    Without a second text `second` is the number of ids with that end. A label of tags is that of
    each id, -1 where no word begins.
    """

    ids: Int[np.ndarray, "S"]
    second: int
    label: EncodedLabel


class EncodedExamples(Sequence[Item]):
    """Examples in memory, 4 bytes an id; `lengths` [N, 1] leave out the last end."""

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
    frame: Frame = PLAIN,
) -> EncodedExamples:
    """Examples as ids. A text keeps its first `max_words` words, and their tags, if there are tags.

    The longer of two texts is cut first, until both together have that many. The tag of a word
    stands at the first of its pieces.
    """
    return EncodedExamples(
        [_encode(example, tokenizer, encode_label, max_words, frame) for example in examples]
    )


def _encode(example, tokenizer, encode_label, max_words, frame) -> Item:
    label = encode_label(example.label)
    if isinstance(label, list):
        pieces = pieces_of_words(example.texts[0], tokenizer)
        texts = [[piece for word in pieces for piece in word]]
        each = zip(label, pieces, strict=True)
        label = [x for tag, word in each for x in (tag, *[-1] * (len(word) - 1))]
    else:
        texts = [tokenizer.words(text) for text in example.texts]
    if max_words is not None:
        texts = truncate(texts, max_words)
    first, *rest = (tokenizer.encode_words(words) for words in texts)
    if isinstance(label, list):
        label = [-1] * len(frame.begin) + label[: len(first)]
    first = [*frame.begin, *first]
    ids = np.array(first + [i for each in rest for i in (frame.end, *each)], np.int32)
    return Item(ids, len(first) + 1, label)


def pieces_of_words(text: str, tokenizer: Tokenizer) -> list[list[str]]:
    """The pieces of each word between spaces; one that has none, such as a mark, is its own."""
    return [tokenizer.words(word) or [word] for word in text.split()]


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
    end: int = EOS

    def __call__(self, items: Sequence[Item], rows: int, length: int) -> dict[str, np.ndarray]:
        batch = self.packed([[item] for item in items], rows, length, 1)
        batch["valid"] = batch.pop("segments") > 0
        if self.labels != "tags":
            batch["label"] = batch["label"][:, 0]
        return batch

    def packed(
        self, chosen: Sequence[Sequence[Item]], rows: int, length: int, most: int
    ) -> dict[str, np.ndarray]:
        """A batch of rows of up to `most` items each."""
        ids, types = np.full((rows, length), PAD, np.int32), np.zeros((rows, length), np.int32)
        segments, label = np.zeros((rows, length), np.int32), self._no_labels(rows, length, most)
        for row, items in enumerate(chosen):
            begin = 0
            for number, item in enumerate(items):
                end = begin + len(item.ids)
                ids[row, begin:end], ids[row, end] = item.ids, self.end
                types[row, begin + item.second : end + 1] = 1
                segments[row, begin : end + 1] = number + 1
                if self.labels == "tags":
                    label[row, begin : begin + len(item.label)] = item.label
                else:
                    label[row, number] = item.label
                begin = end + 1
        return {"ids": ids, "types": types, "segments": segments, "label": label}

    def _no_labels(self, rows: int, length: int, most: int) -> Shaped[np.ndarray, "B _"]:
        if self.labels == "numbers":
            return np.full((rows, most), np.nan, np.float32)
        return np.full((rows, length if self.labels == "tags" else most), -1, np.int32)


@dataclasses.dataclass(frozen=True, eq=False)
class PackedExamples(PackedRows):
    """Endless batches of rows of `packing`, each of several examples, of which none is cut.

    "segments" number the examples of a row from 1 and are 0 at padding; the labels of a row [B, E]
    are those of its examples in this order, E being the most that `packing` puts into one.
    """

    examples: EncodedExamples
    collate: CollateExamples
    packing: Packing

    def iterate(self, start: int = 0, rows: Rows = all_rows) -> Iterator[Batch]:
        """Batches from number `start` on, the given rows of each."""
        for _, chosen in self.packing.iterate(start, rows):
            items = [[self.examples[i] for i in row] for row in chosen]
            yield self.collate.packed(items, len(items), self.packing.length, self.packing.most)
