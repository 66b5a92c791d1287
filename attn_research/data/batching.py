"""Bucketing by length: batches of encoded sentence pairs, padded to few shapes.

Batch n of a run is a pure function of (seed, n), so a run that stopped after n steps continues with
batch n. A batch is {"source": [B, S], "target": [B, T]} of int32 ids, each sentence ending with EOS
and padded with PAD. S = T is the upper bound of a bucket, so few shapes are compiled.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, SupportsIndex, runtime_checkable

import numpy as np
from jaxtyping import Int, Shaped

from attn_research.data.prefetch import prefetch
from attn_research.data.text.encoding import Ids
from attn_research.data.text.tokenizers import EOS, PAD

Batch = dict[str, Shaped[np.ndarray, "B ..."]]
# A batch of some items, padded to a number of rows and a length.
Collate = Callable[[Sequence[Any], int, int], dict[str, np.ndarray]]
# The rows that this process reads, of a total number of rows.
Rows = Callable[[int], slice]


def all_rows(total: int) -> slice:
    """All rows, for a single process."""
    return slice(0, total)


@functools.lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, total: int) -> Int[np.ndarray, "N"]:
    """The shuffled order of an epoch over so many examples."""
    return np.random.default_rng((seed, epoch)).permutation(total)


def spread_evenly(total: int, count: int) -> Int[np.ndarray, "N"]:
    """The indices of `count` of so many examples, evenly spread over all; of fewer, all of them."""
    count = min(total, count)
    return np.arange(count) * total // max(count, 1)


@runtime_checkable
class EncodedPairs(Protocol):
    """Encoded sentence pairs: `Encoded` in memory or `Records` on disk.

    Other items than pairs are batched alike, by a `Collate` of their own: `lengths` are those of
    the sides that they have, without the EOS of each.
    """

    lengths: Int[np.ndarray, "_ _"]

    def __len__(self) -> int: ...

    def __getitem__(self, index: SupportsIndex) -> Ids: ...


@runtime_checkable
class Plan(Protocol):
    """The batching of an epoch: arrays of pair indices, each with the padded number of rows."""

    def __call__(
        self, lengths: Int[np.ndarray, "_"], rng: np.random.Generator
    ) -> list[tuple[Int[np.ndarray, "_"], int]]:
        """The epoch of pairs whose longer sides have `lengths`, EOS included."""
        ...


@dataclasses.dataclass(frozen=True)
class SortedWindows:
    """Batches cut from windows of `window` shuffled batches that are sorted by length.

    Bahdanau, Cho, Bengio 2014, appendix B.2, with 80 and 20. The pairs of an epoch that fill no
    batch are left to the next epoch, which is shuffled anew.
    """

    batch_size: int
    window: int = 20

    def __call__(self, lengths, rng):
        order = rng.permutation(len(lengths))
        order = order[: len(order) // self.batch_size * self.batch_size]
        batches = []
        for start in range(0, len(order), self.batch_size * self.window):
            fetched = order[start : start + self.batch_size * self.window]
            fetched = fetched[np.argsort(lengths[fetched], kind="stable")]
            cut = np.split(fetched, len(fetched) // self.batch_size)
            # Shuffled, so that training does not go through a window in order of length.
            batches += [cut[i] for i in rng.permutation(len(cut))]
        return [(batch, self.batch_size) for batch in batches]


@dataclasses.dataclass(frozen=True)
class TokenBuckets:
    """Bucketing by length: pairs of one bucket, as many as fit `tokens` padded positions a side.

    There is at least one pair in a batch, even where it does not fit. The last batch of a bucket is
    filled up with empty rows.
    """

    tokens: int
    bounds: tuple[int, ...]

    def __call__(self, lengths, rng):
        batches = []
        bounds = _sorted_bounds(lengths, self.bounds)
        buckets = np.searchsorted(bounds, lengths)
        for bucket, bound in enumerate(bounds.tolist()):
            members = rng.permutation(np.flatnonzero(buckets == bucket))
            size = max(1, self.tokens // bound)
            cuts = range(0, len(members), size)
            batches += [(members[start : start + size], size) for start in cuts]
        return [batches[i] for i in rng.permutation(len(batches))]


def collate(pairs: Sequence[tuple[Int[np.ndarray, "_"], ...]], rows: int, length: int) -> Batch:
    """A batch of pairs, padded to `rows` rows of `length` ids."""
    batch = {name: np.full((rows, length), PAD, np.int32) for name in ("source", "target")}
    for row, pair in enumerate(pairs):
        for ids, side in zip(batch.values(), pair, strict=True):
            ids[row, : len(side)] = side
            ids[row, len(side)] = EOS
    return batch


class Batches(Sequence[Batch]):
    """The first `num_batches` batches of a run, over as many epochs as that takes.

    Empty rows fill a batch up to a multiple of `row_multiple`, so that devices can share it.
    """

    def __init__(
        self,
        pairs: EncodedPairs,
        plan: Plan,
        *,
        bounds: tuple[int, ...],
        seed: int,
        num_batches: int,
        row_multiple: int = 1,
        collate: Collate = collate,
    ):
        self._pairs, self._plan, self._seed, self._num_batches = pairs, plan, seed, num_batches
        self._row_multiple, self._collate = row_multiple, collate
        if not len(pairs):
            raise ValueError("no pairs to train on: the corpus is empty")
        self._lengths = pair_lengths(pairs)
        self._bounds = _sorted_bounds(self._lengths, bounds)
        if not self._epoch(0):
            raise ValueError(
                f"{len(pairs)} pairs do not fill one batch of {plan}: make batches smaller"
            )

    def __len__(self) -> int:
        return self._num_batches

    def __getitem__(self, index: SupportsIndex) -> Batch:
        return self._make(range(len(self))[index], all_rows)

    @property
    def per_epoch(self) -> int:
        """The number of batches in an epoch, the same in every epoch."""
        return len(self._epoch(0))

    def iterate(self, start: int = 0, rows: Rows = all_rows) -> Iterator[Batch]:
        """Batches from number `start` on, prefetched; only the given rows of each are read."""
        return prefetch(lambda n: self._make(n, rows), start, len(self))

    def shapes(self) -> list[tuple[int, int]]:
        """The distinct (rows, length) of an epoch's batches; a program is compiled for each."""
        return sorted({(rows, self._length(members)) for members, rows in self._epoch(0)})

    def padding_efficiency(self) -> float:
        """The fraction of an epoch's padded positions, of all sides, that hold a token."""
        lengths = np.asarray(self._pairs.lengths, np.int64) + 1
        real = sum(lengths[members].sum() for members, _ in self._epoch(0))
        padded = sum(rows * self._length(members) for members, rows in self._epoch(0))
        padded *= lengths.shape[1]
        return float(real / padded)

    def _make(self, number: int, rows: Rows) -> Batch:
        epoch, number = divmod(number, self.per_epoch)
        members, total = self._epoch(epoch)[number]
        length, mine = self._length(members), rows(total)
        members = members[mine]
        return self._collate([self._pairs[i] for i in members], mine.stop - mine.start, length)

    def _length(self, members) -> int:
        return _bucket_bound(self._lengths[members], self._bounds)

    @functools.lru_cache(maxsize=2)  # noqa: B019 (lives as long as the run)
    def _epoch(self, epoch: int):
        plan = self._plan(self._lengths, np.random.default_rng((self._seed, epoch)))
        return [(members, rows + -rows % self._row_multiple) for members, rows in plan]


def pair_lengths(pairs: EncodedPairs) -> Int[np.ndarray, "_"]:
    """The length of the longer side of every pair, EOS included."""
    return np.asarray(pairs.lengths, np.int64).max(axis=1, initial=0) + 1


def bucket_bounds(longest: int, bucket_width: int = 10) -> tuple[int, ...]:
    """Upper bounds of buckets `bucket_width` ids wide, plus 1 for EOS, up to `longest` ids."""
    first, stop = bucket_width + 1, max(longest, 1) + bucket_width + 1
    return tuple(range(first, stop, bucket_width))


def ordered_batches(
    pairs: EncodedPairs, batch_size: int, bounds: tuple[int, ...], collate: Collate = collate
) -> Iterator[tuple[Int[np.ndarray, "_"], Batch]]:
    """Evaluation batches: (indices, batch) with every pair once, in order of length.

    The last batch is filled up with empty rows.
    """
    lengths = pair_lengths(pairs)
    ordered = _sorted_bounds(lengths, bounds)
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        members = order[start : start + batch_size]
        length = _bucket_bound(lengths[members], ordered)
        yield members, collate([pairs[i] for i in members], batch_size, length)


def _bucket_bound(lengths: Int[np.ndarray, "_"], ordered: Int[np.ndarray, "_"]) -> int:
    """The smallest bound that no length exceeds."""
    return int(ordered[np.searchsorted(ordered, lengths.max())])


def _sorted_bounds(lengths: Int[np.ndarray, "_"], bounds: Sequence[int]) -> Int[np.ndarray, "_"]:
    """The bounds in order; a ValueError if a length exceeds the last one."""
    ordered = np.array(sorted(bounds))
    if lengths.max(initial=0) > ordered[-1]:
        raise ValueError(
            f"a sentence of {lengths.max()} ids, EOS included, is longer than the last bound "
            f"{ordered[-1]}: leave long pairs out, or add a bound"
        )
    return ordered
