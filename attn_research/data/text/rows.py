"""Rows of a language model: windows of a stream of ids, and documents packed into rows.

A batch is {"ids", "targets"} of int32 [B, T]: each id is the token before its target. A target is
-1 where nothing is predicted: at padding, and at tokens that are there as context alone. Packed
rows also have "segments", which number their pieces from 1 and are 0 at padding.

A piece (begin, first, end) stands for the targets from `begin` to `end`, counted in the stream, of
which those from `first` on are predicted.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Int, Int32

from attn_research.data.batching import Batch, Rows, all_rows

Pieces = Int[np.ndarray, "_ 3"]
Bounds = Int[np.ndarray, "_ 2"]  # begin and end of each document
Unit = Literal["text", "paragraph", "line"]
NOTHING = -1  # the target where nothing is predicted


@dataclasses.dataclass(frozen=True, eq=False)
class Stream:
    """A text as ids, and the id of the end of a line, which also stands before the first."""

    ids: Int32[np.ndarray, "_"]
    newline: int

    def __len__(self) -> int:
        return len(self.ids)

    @functools.cached_property
    def before(self) -> Int32[np.ndarray, "_"]:
        """The id before each."""
        return np.concatenate([np.array([self.newline], np.int32), self.ids[:-1]])

    def documents(self, unit: Unit) -> Bounds:
        """Documents: the whole text, its paragraphs, which end with an empty line, or its lines.

        A document begins after a newline, which is what its first token is predicted from.
        """
        ends = np.zeros(len(self), bool)
        if unit != "text":
            ends = self.ids == self.newline
        if unit == "paragraph":
            ends &= self.before == self.newline
        stops = np.flatnonzero(ends) + 1
        if len(self) and (not len(stops) or stops[-1] < len(self)):
            stops = np.append(stops, len(self))
        return np.stack([np.concatenate([[0], stops[:-1]])[: len(stops)], stops], axis=1)


def strided(documents: Bounds, context: int, stride: int) -> Pieces:
    """Pieces of at most `context` targets that predict every token of some documents once.

    A document that is no longer is one piece. Of a longer one each piece after the first predicts
    `stride` tokens, so that at least `context` - `stride` stand before each.
    """
    if not 1 <= stride <= context:
        raise ValueError(f"a stride of {stride}: give 1 to the context of {context}")
    found = []
    for begin, end in documents.tolist():
        first, stop = begin, min(begin + context, end)
        while first < end:
            found.append((max(begin, stop - context), first, stop))
            first, stop = stop, min(stop + stride, end)
    return np.array(found, np.int64).reshape(-1, 3)


def pack(
    lengths: Sequence[int], rows: int, length: int, most: int | None = None
) -> list[list[list[int]]]:
    """Indices of pieces by batch and row: each piece is in the first row that has room for it.

    A row has at most `most` pieces, if it is given. A batch is full where a piece fits none of its
    rows. ValueError for a piece longer than a row.
    """
    if max(lengths, default=0) > length:
        raise ValueError(f"a piece of {max(lengths)} tokens is longer than a row of {length}")
    batches, room = [], np.zeros(rows, np.int64)
    for index, size in enumerate(lengths):
        row = int(np.argmax(room >= size))
        if room[row] < size:
            batches.append([[] for _ in range(rows)])
            room, row = np.full(rows, length), 0
        batches[-1][row].append(index)
        full = len(batches[-1][row]) == most
        room[row] = 0 if full else room[row] - size
    return batches


@dataclasses.dataclass(frozen=True, eq=False)
class Packing:
    """Endless batches of `rows` rows of `length` tokens, of indices of pieces of some lengths.

    An epoch has every piece once, in an order drawn by (seed, epoch), so that batch n is a pure
    function of (seed, n). Empty rows fill a batch up to a multiple of `row_multiple`, so that
    devices can share it.
    """

    lengths: Int[np.ndarray, "_"]
    rows: int
    length: int
    seed: int
    row_multiple: int = 1
    most: int | None = None

    @property
    def per_epoch(self) -> int:
        """The number of batches of the first epoch; later ones have about as many."""
        return len(self._epoch(0))

    @property
    def efficiency(self) -> float:
        """The fraction of the first epoch's positions that hold a token."""
        return float(self.lengths.sum() / (self.per_epoch * self.rows * self.length))

    def iterate(
        self, start: int = 0, rows: Rows = all_rows
    ) -> Iterator[tuple[int, list[list[int]]]]:
        """(epoch, the pieces of the given rows) of each batch, from number `start` on."""
        first = 0
        for epoch in itertools.count():
            plan = self._epoch(epoch)
            for chosen in plan[max(0, start - first) :]:
                filled = chosen + [[]] * (-self.rows % self.row_multiple)
                yield epoch, filled[rows(len(filled))]
            first += len(plan)

    @functools.lru_cache(maxsize=2)  # noqa: B019 (lives as long as the run)
    def _epoch(self, epoch: int) -> list[list[list[int]]]:
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.lengths))
        plan = pack(self.lengths[order].tolist(), self.rows, self.length, self.most)
        return [[order[row].tolist() for row in batch] for batch in plan]


def collate(
    stream: Stream, rows: Sequence[Pieces], length: int, *, segments: bool
) -> tuple[Batch, Int[np.ndarray, "B T"]]:
    """A batch of rows of pieces, and the place in the stream of each target, -1 where it is none.

    Without `segments` a row has at most one piece.
    """
    shape = len(rows), length
    batch = {"ids": np.zeros(shape, np.int32), "targets": np.full(shape, NOTHING, np.int32)}
    if segments:
        batch["segments"] = np.zeros(shape, np.int32)
    places = np.full(shape, NOTHING, np.int64)
    for row, pieces in enumerate(rows):
        at = 0
        for number, (begin, first, end) in enumerate(pieces.tolist(), 1):
            stop, predicted = at + end - begin, at + first - begin
            batch["ids"][row, at:stop] = stream.before[begin:end]
            batch["targets"][row, predicted:stop] = stream.ids[first:end]
            places[row, predicted:stop] = np.arange(first, end)
            if segments:
                batch["segments"][row, at:stop] = number
            at = stop
    return batch, places


def ordered_batches(
    stream: Stream, pieces: Pieces, rows: int, length: int, *, packed: bool
) -> Iterator[tuple[Int[np.ndarray, "B T"], Batch]]:
    """Evaluation batches, (places, batch), with every piece once, packed or one in a row.

    Empty rows fill the last one.
    """
    if packed:
        plan = pack((pieces[:, 2] - pieces[:, 0]).tolist(), rows, length)
    else:
        starts = range(0, len(pieces), rows)
        plan = [[[i] for i in range(len(pieces))[start : start + rows]] for start in starts]
    for chosen in plan:
        of_rows = [pieces[each] for each in chosen]
        of_rows += [pieces[:0]] * (rows - len(of_rows))
        batch, places = collate(stream, of_rows, length, segments=packed)
        yield places, batch


@dataclasses.dataclass(frozen=True, eq=False)
class RandomWindows:
    """Endless batches of `rows` windows of `length` tokens that begin anywhere in a stream.

    Batch n is a pure function of (seed, n). Empty rows fill it up to a multiple of `row_multiple`,
    so that devices can share it.
    """

    stream: Stream
    rows: int
    length: int
    seed: int
    row_multiple: int = 1

    def __post_init__(self):
        if len(self.stream) < self.length:
            raise ValueError(
                f"a text of {len(self.stream)} tokens is shorter than a window of {self.length}: "
                "give more text, or a smaller --context"
            )

    @property
    def per_epoch(self) -> float:
        """The number of batches with as many tokens as the stream has."""
        return len(self.stream) / (self.rows * self.length)

    def iterate(self, start: int = 0, rows: Rows = all_rows) -> Iterator[Batch]:
        """Batches from number `start` on, the given rows of each."""
        for number in itertools.count(start):
            rng = np.random.default_rng((self.seed, number))
            begins = rng.integers(0, len(self.stream) - self.length + 1, self.rows)
            windows = list(np.stack([begins, begins, begins + self.length], axis=1)[:, None])
            windows += [np.zeros((0, 3), np.int64)] * (-self.rows % self.row_multiple)
            mine = windows[rows(len(windows))]
            yield collate(self.stream, mine, self.length, segments=False)[0]


class PackedRows:
    """Batches of the rows of a `packing`."""

    packing: Packing

    @property
    def per_epoch(self) -> int:
        """The number of batches of the first epoch; later ones have about as many."""
        return self.packing.per_epoch

    def padding_efficiency(self) -> float:
        """The fraction of the first epoch's positions that hold a token."""
        return self.packing.efficiency


@dataclasses.dataclass(frozen=True, eq=False)
class PackedDocuments(PackedRows):
    """Endless batches of `rows` rows of `length` tokens, packed with documents of a stream.

    An epoch has every document once. A longer document than a row is cut into pieces; each token is
    predicted once. Batches are those of `Packing`.
    """

    stream: Stream
    documents: Bounds
    rows: int
    length: int
    seed: int
    row_multiple: int = 1

    def __post_init__(self):
        if not len(self.documents):
            raise ValueError("no documents to train on: the text is empty")

    def iterate(self, start: int = 0, rows: Rows = all_rows) -> Iterator[Batch]:
        """Batches from number `start` on, the given rows of each."""
        for _, chosen in self.packing.iterate(start, rows):
            mine = [self._pieces[each] for each in chosen]
            yield collate(self.stream, mine, self.length, segments=True)[0]

    @functools.cached_property
    def _pieces(self) -> Pieces:
        return strided(self.documents, self.length, self.length)

    @functools.cached_property
    def packing(self) -> Packing:
        lengths = self._pieces[:, 2] - self._pieces[:, 0]
        return Packing(lengths, self.rows, self.length, self.seed, self.row_multiple)
