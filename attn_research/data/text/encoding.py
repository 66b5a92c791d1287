"""Encoding of sentence pairs to ids: as a stream, by several processes, or in memory.

Ids are those of the sentences alone; batching appends EOS.
"""

import array
import dataclasses
import itertools
import multiprocessing
import operator
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import SupportsIndex

import numpy as np
from jaxtyping import Int32, UInt16  # not by way of types, which would load jax in every worker

from attn_research.data.text.corpus import Pair
from attn_research.data.text.tokenizers import Tokenizer

Ids = tuple[Int32[np.ndarray, "S"], Int32[np.ndarray, "T"]]
MAX_LENGTH = np.iinfo(np.uint16).max


class Encoded(Sequence[Ids]):
    """Encoded pairs in memory: pair i is (source ids, target ids), views of one flat array.

    `lengths` holds the source and target length of every pair.
    """

    def __init__(self, ids: Int32[np.ndarray, "_"], lengths: UInt16[np.ndarray, "_ 2"]):
        self._ids, self.lengths = ids, lengths
        self._ends = np.cumsum(lengths, dtype=np.int64).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: SupportsIndex) -> Ids:
        index = range(len(self))[operator.index(index)]
        middle, end = self._ends[index]
        return self._ids[middle - self.lengths[index, 0] : middle], self._ids[middle:end]


def encode_pairs(
    pairs: Iterable[Pair],
    source_tokenizer: Tokenizer,
    target_tokenizer: Tokenizer,
    *,
    max_words: int | None = None,
) -> Encoded:
    """A small corpus encoded in memory, 4 bytes an id; `max_words` as in `encode_stream`."""
    ids, lengths = array.array("i"), array.array("H")
    for pair in encode_stream(pairs, source_tokenizer, target_tokenizer, max_words=max_words):
        for side in pair or ():
            ids.extend(side)
            lengths.append(len(side))
    return Encoded(np.array(ids, np.int32), np.array(lengths, np.uint16).reshape(-1, 2))


def encode_stream(
    pairs: Iterable[Pair],
    source_tokenizer: Tokenizer,
    target_tokenizer: Tokenizer,
    *,
    max_words: int | None = None,
    num_workers: int = 0,
    chunk_size: int = 10_000,
) -> Iterator[tuple[list[int], list[int]] | None]:
    """A stream of (source ids, target ids), with None for a pair that is left out.

    With `max_words`, pairs with more words than that on a side, or none, are left out. With
    `num_workers` processes, which pays for Moses tokenization, at most two chunks of `chunk_size`
    pairs a worker are in flight; the ids are the same and in the same order.
    """
    encode = _ChunkEncoder(source_tokenizer, target_tokenizer, max_words)
    pairs = iter(pairs)
    chunks = iter(lambda: list(itertools.islice(pairs, chunk_size)), [])
    if not num_workers:
        yield from itertools.chain.from_iterable(map(encode, chunks))
        return
    # Spawned, because a fork of a process in which jax runs threads can hang. The tokenizers travel
    # with each chunk: little beside its pairs, and a worker has no state to set up.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_workers, mp_context=context) as pool:
        pending = deque()
        for chunk in chunks:
            pending.append(pool.submit(encode, chunk))
            if len(pending) == 2 * num_workers:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()


@dataclasses.dataclass(frozen=True)
class _ChunkEncoder:
    """The encoder of a list of pairs; picklable, so that a worker process can run it."""

    source: Tokenizer
    target: Tokenizer
    max_words: int | None

    def __call__(self, chunk: list[Pair]) -> list[tuple[list[int], list[int]] | None]:
        return [self._encode(pair) for pair in chunk]

    def _encode(self, pair: Pair) -> tuple[list[int], list[int]] | None:
        sources, targets = self.source.words(pair.source), self.target.words(pair.target)
        if self.max_words is not None and not all(
            0 < len(words) <= self.max_words for words in (sources, targets)
        ):
            return None
        source, target = self.source.encode_words(sources), self.target.encode_words(targets)
        if max(len(source), len(target)) > MAX_LENGTH:
            raise ValueError(
                f"{len(source)} source and {len(target)} target ids are too many in the pair that "
                f"starts {pair.source[:40]!r}: a side has at most {MAX_LENGTH}; set max_words"
            )
        return source, target
