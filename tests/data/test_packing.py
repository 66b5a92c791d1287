"""Packed rows hold every sentence once and whole, in an order that is a function of the seed."""

import collections
import itertools

import numpy as np
import pytest

from attn_research.data.packing import PackedBatches
from attn_research.data.text.encoding import Encoded
from attn_research.data.text.tokenizers import EOS


def make_pairs(count=200, longest=12):
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, longest, (count, 2)).astype(np.uint16)
    return Encoded(rng.integers(4, 30, lengths.sum()).astype(np.int32), lengths)


def sentences(batch):
    """The (source, target) of every segment of a batch."""
    for row in range(len(batch["source"])):
        numbers = batch["source_segments"][row]
        for number in range(1, numbers.max() + 1):
            yield tuple(
                tuple(batch[side][row][batch[f"{side}_segments"][row] == number].tolist())
                for side in ("source", "target")
            )


def test_an_epoch_holds_every_sentence_whole():
    pairs = make_pairs()
    batches = PackedBatches(pairs, rows=4, length=30, seed=0)
    taken = list(itertools.islice(batches.iterate(), 2 * batches.per_epoch))
    first, second = (
        [one for batch in part for one in sentences(batch)]
        for part in (taken[: batches.per_epoch], taken[batches.per_epoch :])
    )
    wanted = collections.Counter(
        tuple((*side.tolist(), EOS) for side in pairs[i]) for i in range(len(pairs))
    )
    seen = collections.Counter(first)
    # The batch in which an epoch ends holds the first sentences of the next one, too.
    assert seen.keys() == wanted.keys()
    assert (seen - wanted).total() <= len(list(sentences(taken[0])))
    assert second[:20] != first[:20]  # another order


def test_batch_n_is_a_function_of_the_seed_and_n():
    def run(start, seed=0):
        batches = PackedBatches(make_pairs(), rows=4, length=30, seed=seed)
        return list(itertools.islice(batches.iterate(start), 5))

    whole = run(0)
    for number, batch in enumerate(run(3)[:2], 3):
        for name, values in batch.items():
            np.testing.assert_array_equal(values, whole[number][name])
            assert values.shape == (4, 30) and values.dtype == np.int32
    assert not np.array_equal(run(0, seed=1)[0]["source"], whole[0]["source"])


def test_rows_are_mostly_full():
    batches = PackedBatches(make_pairs(2000), rows=16, length=64, seed=0)
    assert batches.padding_efficiency() > 0.85
    first = next(batches.iterate())
    real = sum(int((first[f"{side}_segments"] > 0).sum()) for side in ("source", "target"))
    assert real > 0.8 * 2 * 16 * 64


def test_invalid_packing_gives_a_one_line_error():
    with pytest.raises(ValueError, match="12 ids, EOS included, is longer than a row of 10"):
        PackedBatches(make_pairs(), rows=4, length=10, seed=0)
    empty = Encoded(np.zeros(0, np.int32), np.zeros((0, 2), np.uint16))
    with pytest.raises(ValueError, match="no pairs to train on"):
        PackedBatches(empty, rows=4, length=10, seed=0)
