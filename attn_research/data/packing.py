"""Sequence packing: several sentences in a row, by Grain's first-fit packing.

A batch is {"source", "target"} of int32 ids [B, L], every sentence ending with EOS, and
{"source_segments", "target_segments"}, which number the sentences of a row from 1 and are 0 at
padding. Batch n is a pure function of (seed, n): a resumed run packs again what it has used.
"""

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import SupportsIndex

import numpy as np

from attn_research.data.batching import Batch, EncodedPairs, Rows, all_rows, pair_lengths
from attn_research.data.text.tokenizers import EOS


class PackedBatches:
    """Endless packed batches of `rows` rows of `length` positions a side, shuffled by epoch.

    Empty rows fill a batch up to a multiple of `row_multiple`, so that devices can share it.
    Raises ValueError where a sentence does not fit into a row.
    """

    def __init__(
        self, pairs: EncodedPairs, *, rows: int, length: int, seed: int, row_multiple: int = 1
    ):
        if not len(pairs):
            raise ValueError("no pairs to train on: the corpus is empty")
        most = int(pair_lengths(pairs).max())
        if most > length:
            raise ValueError(
                f"a sentence of {most} ids, EOS included, is longer than a row of {length}: "
                "give longer rows, or leave long pairs out"
            )
        self._pairs, self._rows, self._length, self._seed = pairs, rows, length, seed
        self._empty_rows = -rows % row_multiple

    def iterate(self, start: int = 0, rows: Rows = all_rows) -> Iterator[Batch]:
        """Batches from number `start` on, the given rows of each; earlier ones are packed again."""
        mine, filling = rows(self._rows + self._empty_rows), [(0, self._empty_rows), (0, 0)]
        for batch in itertools.islice(self._pack(num_epochs=None), start, None):
            yield {name: np.pad(ids, filling)[mine] for name, ids in _rename(batch).items()}

    @property
    def per_epoch(self) -> int:
        """The number of batches that the first epoch fills; later ones fill about as many."""
        return len(self._first_epoch)

    def padding_efficiency(self) -> float:
        """The fraction of the first epoch's positions, of both sides, that hold a token."""
        real = sum(self._first_epoch)
        return real / (2 * self._rows * self._length * len(self._first_epoch))

    @functools.cached_property
    def _first_epoch(self) -> list[int]:
        """The number of tokens in each batch of the first epoch."""
        batches = map(_rename, self._pack(num_epochs=1))
        return [
            sum(int((batch[f"{side}_segments"] > 0).sum()) for side in ("source", "target"))
            for batch in batches
        ]

    def _pack(self, num_epochs: int | None):
        import grain  # slow to import
        from grain.experimental import FirstFitPackIterDataset

        shuffled = grain.MapDataset.source(_Sides(self._pairs)).shuffle(seed=self._seed)
        options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=64)
        packed = FirstFitPackIterDataset(
            shuffled.repeat(num_epochs).to_iter_dataset(options),
            length_struct={"source": self._length, "target": self._length},
            num_packing_bins=self._rows,
            seed=self._seed,
        )
        return iter(packed.batch(self._rows, drop_remainder=num_epochs is None))


class _Sides(Sequence):
    """Pairs in Grain's form: a dictionary each, with EOS at the end of each side."""

    def __init__(self, pairs: EncodedPairs):
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: SupportsIndex) -> dict[str, np.ndarray]:
        sides = zip(("source", "target"), self._pairs[index], strict=True)
        return {name: np.append(ids, np.int32(EOS)) for name, ids in sides}


def _rename(batch: dict[str, np.ndarray]) -> Batch:
    return {
        f"{side}{ours}": batch[f"{side}{theirs}"].astype(np.int32)
        for side in ("source", "target")
        for ours, theirs in (("", ""), ("_segments", "_segment_ids"))
    }
