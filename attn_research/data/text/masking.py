"""Masked texts: what a masked language model reads, and what it predicts.

Devlin et al. 2018, section 3.1; masks are drawn anew in every epoch (Liu et al. 2019, section 4.1).
The draws belong to a text: they depend neither on the batch that has it, nor on its place there.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32

from attn_research.data.batching import Batch, Rows, all_rows
from attn_research.data.text.rows import NOTHING, PackedRows, Packing
from attn_research.data.text.tokenizers import PAD

Ids = Int32[np.ndarray, "_"]


def example_rng(*words: int) -> np.random.Generator:
    """The generator of one example, by numbers such as a seed, an epoch and its index."""
    return np.random.default_rng(words)


class MaskedText(NamedTuple):
    """The ids that are read, and for each the id that is predicted there, or -1."""

    ids: Ids
    targets: Ids


@dataclasses.dataclass(frozen=True)
class Masking:
    """The masking of a text: `rate` of its words are predicted, at least one.

    Of these `mask_share` are replaced by the id `mask`, `random_share` by one drawn from `words`,
    the range of ids of words, and the others stay as they are. Ids that are no words are never
    predicted. ValueError where the shares exceed one.
    """

    mask: int
    words: range
    rate: float = 0.15
    mask_share: float = 0.8
    random_share: float = 0.1

    def __post_init__(self):
        if not 0 < self.rate <= 1 or self.mask_share + self.random_share > 1 + 1e-9:
            raise ValueError(
                f"masking {self.rate:g} of the words, {self.mask_share:g} of them by masks and "
                f"{self.random_share:g} by other words: fractions, of which the last two are at "
                "most one together"
            )

    def __call__(self, ids: Ids, rng: np.random.Generator) -> MaskedText:
        places = np.flatnonzero((ids >= self.words.start) & (ids < self.words.stop))
        count = min(len(places), max(1, round(self.rate * len(places))))
        chosen = rng.permutation(places)[:count]
        kinds, others = rng.random(count), rng.integers(self.words.start, self.words.stop, count)
        read, targets = ids.copy(), np.full(len(ids), NOTHING, np.int32)
        targets[chosen] = ids[chosen]
        masked = kinds < self.mask_share
        swapped = ~masked & (kinds < self.mask_share + self.random_share)
        read[chosen[masked]] = self.mask
        read[chosen[swapped]] = others[swapped]
        return MaskedText(read, targets)


def next_words(ids: Ids, rng: np.random.Generator) -> MaskedText:
    """Each id but the last is read, and the one after it predicted; nothing is drawn."""
    return MaskedText(ids[:-1], ids[1:])


def collate_masked(chosen: Sequence[Sequence[MaskedText]], length: int) -> Batch:
    """A batch {"ids", "targets", "segments"} of rows of texts, numbered from 1."""
    shape = len(chosen), length
    ids, targets = np.full(shape, PAD, np.int32), np.full(shape, NOTHING, np.int32)
    segments = np.zeros(shape, np.int32)
    for row, texts in enumerate(chosen):
        begin = 0
        for number, text in enumerate(texts, 1):
            end = begin + len(text.ids)
            ids[row, begin:end], targets[row, begin:end] = text
            segments[row, begin:end] = number
            begin = end
    return {"ids": ids, "targets": targets, "segments": segments}


@dataclasses.dataclass(frozen=True, eq=False)
class MaskedTexts(PackedRows):
    """Endless packed batches of texts, each masked anew in every epoch."""

    texts: Sequence[Ids]
    masking: Callable[[Ids, np.random.Generator], MaskedText]
    packing: Packing

    def iterate(self, start: int = 0, rows: Rows = all_rows) -> Iterator[Batch]:
        """Batches from number `start` on, the given rows of each."""
        seed = self.packing.seed
        for epoch, chosen in self.packing.iterate(start, rows):
            texts = [
                [self.masking(self.texts[i], example_rng(seed, epoch, i)) for i in row]
                for row in chosen
            ]
            yield collate_masked(texts, self.packing.length)
