"""Bucketing by length: equal batches from any start, and every pair once an epoch."""

import itertools

import numpy as np
import pytest

from attn_research.data.batching import (
    Batches,
    SortedWindows,
    TokenBuckets,
    bucket_bounds,
    collate,
    ordered_batches,
    pair_lengths,
    spread_evenly,
)
from attn_research.data.text.encoding import Encoded
from attn_research.data.text.tokenizers import EOS, PAD

COUNT, LONGEST, STEP = 53, 12, 4
BOUNDS = bucket_bounds(LONGEST, STEP)  # 5, 9, 13
PLANS = {
    "sorted": SortedWindows(batch_size=4, window=3),
    "tokens": TokenBuckets(tokens=30, bounds=BOUNDS),
}


def make_pairs(count=COUNT, seed=0):
    """Pairs whose first source id tells which pair it is."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, LONGEST + 1, (count, 2)).astype(np.uint16)
    ids = rng.integers(4, 30, lengths.sum()).astype(np.int32)
    starts = np.cumsum(lengths.sum(axis=1)) - lengths.sum(axis=1)
    ids[starts] = 100 + np.arange(count)
    return Encoded(ids, lengths)


def make_batches(plan, pairs=None, *, bounds=BOUNDS, seed=3, num_batches=90):
    pairs = make_pairs() if pairs is None else pairs
    return Batches(pairs, plan, bounds=bounds, seed=seed, num_batches=num_batches)


def which(batch):
    """The pairs of a batch, by number."""
    first = batch["source"][:, 0]
    return (first[first != PAD] - 100).tolist()


def assert_equal(one, other):
    assert one.keys() == other.keys() == {"source", "target"}
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


@pytest.fixture(params=PLANS, scope="module")
def plan(request):
    return PLANS[request.param]


@pytest.fixture(scope="module")
def batches(plan):
    return make_batches(plan)


def test_a_batch_holds_its_pairs_padded_to_a_bound(batches):
    pairs = make_pairs()
    for batch in itertools.islice(batches, 20):
        members = which(batch)
        longest = max(len(side) for i in members for side in pairs[i])
        length = min(bound for bound in BOUNDS if bound > longest)
        for side, name in enumerate(("source", "target")):
            assert batch[name].dtype == np.int32
            assert batch[name].shape[1] == length
            for row, i in zip(batch[name], members, strict=False):
                ids = pairs[i][side]
                assert row.tolist() == [*ids, EOS, *[PAD] * (length - len(ids) - 1)]
            assert not batch[name][len(members) :].any()  # empty rows


def test_batches_are_the_same_from_any_start(plan, batches):
    again = make_batches(plan)
    for number in (41, 0, 7, 89):  # in no order, over several epochs
        assert_equal(again[number], batches[number])
    assert_equal(batches[-1], batches[89])
    for start in (0, 13, 88):
        found = list(itertools.islice(make_batches(plan).iterate(start), 5))
        assert len(found) == min(5, 90 - start)
        for number, batch in enumerate(found, start):
            assert_equal(batch, batches[number])
    other = make_batches(plan, seed=4)
    assert [which(other[n]) for n in range(5)] != [which(batches[n]) for n in range(5)]


def test_the_number_of_batches_is_limited(batches):
    assert len(batches) == len(list(batches)) == 90
    assert list(batches.iterate(90)) == []
    with pytest.raises(IndexError):
        batches[90]


def test_every_pair_comes_once_an_epoch(plan, batches):
    seen = []
    for epoch in range(3):
        numbers = range(epoch * batches.per_epoch, (epoch + 1) * batches.per_epoch)
        seen.append([i for number in numbers for i in which(batches[number])])
        left_out = COUNT % 4 if isinstance(plan, SortedWindows) else 0
        assert len(set(seen[-1])) == len(seen[-1]) == COUNT - left_out
    assert seen[0] != seen[1] != seen[2]


def test_sorted_windows_sort_what_they_fetch():
    plan, lengths = PLANS["sorted"], np.random.default_rng(1).integers(1, 99, 31)
    epoch = plan(lengths, np.random.default_rng(2))
    assert [rows for _, rows in epoch] == [4] * 7
    means = [lengths[members].mean() for members, _ in epoch]
    assert means[:3] != sorted(means[:3]) or means[3:6] != sorted(means[3:6])
    order = np.random.default_rng(2).permutation(31)
    for start, end in ((0, 3), (3, 6), (6, 7)):
        fetched = np.concatenate([members for members, _ in epoch[start:end]])
        assert set(fetched) == set(order[start * 4 : end * 4])
        spans = sorted(
            (lengths[members].min(), lengths[members].max()) for members, _ in epoch[start:end]
        )
        assert all(one[1] <= other[0] for one, other in itertools.pairwise(spans))


def test_token_buckets_keep_the_token_budget(batches):
    lengths = pair_lengths(make_pairs())
    for members, rows in PLANS["tokens"](lengths, np.random.default_rng(5)):
        (bucket,) = set(np.searchsorted(BOUNDS, lengths[members]))  # of like length
        assert rows == 30 // BOUNDS[bucket]
        assert 0 < len(members) <= rows


def test_a_pair_longer_than_the_budget_gets_its_own_batch():
    batches = make_batches(TokenBuckets(tokens=6, bounds=BOUNDS))
    assert {(5, 1), (9, 1), (13, 1)} == {(n, rows) for rows, n in batches.shapes()}


def test_shapes_lists_the_shapes_of_all_batches():
    batches = make_batches(PLANS["tokens"])
    occurring = {batch["source"].shape for batch in batches}
    assert batches.shapes() == sorted(occurring)
    assert len(occurring) == 3
    batches = make_batches(PLANS["sorted"])
    epoch = itertools.islice(batches, batches.per_epoch)
    assert batches.shapes() == sorted({batch["target"].shape for batch in epoch})


def test_padding_efficiency_equals_a_direct_count(batches):
    real = padded = 0
    for batch in itertools.islice(batches, batches.per_epoch):
        for ids in batch.values():
            real, padded = real + np.count_nonzero(ids != PAD), padded + ids.size
    assert 0.3 < real / padded < 1
    assert batches.padding_efficiency() == pytest.approx(real / padded, abs=1e-12)


def test_ordered_batches_hold_every_pair_once_by_length():
    pairs = make_pairs()
    found = list(ordered_batches(pairs, 8, BOUNDS))
    assert len(found) == 7
    for members, batch in found:
        assert which(batch) == members.tolist()
        assert batch["source"].shape[0] == 8
    order = np.concatenate([members for members, _ in found])
    assert sorted(order) == list(range(COUNT))
    assert (np.diff(pair_lengths(pairs)[order]) >= 0).all()


def test_empty_sides_are_an_end_symbol():
    nothing, word = np.zeros(0, np.int32), np.array([7], np.int32)
    batch = collate([(nothing, word), (word, nothing)], 3, 2)
    assert batch["source"].tolist() == [[EOS, PAD], [7, EOS], [PAD, PAD]]
    assert batch["target"].tolist() == [[7, EOS], [EOS, PAD], [PAD, PAD]]


@pytest.mark.parametrize(
    ("longest", "step", "bounds"),
    [
        (50, 10, (11, 21, 31, 41, 51)),
        (51, 10, (11, 21, 31, 41, 51, 61)),
        (10, 10, (11,)),
        (1, 4, (5,)),
        (0, 1, (2,)),
        (5, 2, (3, 5, 7)),
    ],
)
def test_bounds_hold_the_longest_and_its_end(longest, step, bounds):
    assert bucket_bounds(longest, step) == bounds


def test_invalid_corpora_are_refused(plan):
    with pytest.raises(ValueError, match="the corpus is empty"):
        make_batches(plan, make_pairs(0))
    with pytest.raises(ValueError, match=r"of 13 ids, .* longer than the last bound 12"):
        make_batches(plan, bounds=(5, 12))
    with pytest.raises(ValueError, match="3 pairs do not fill one batch"):
        make_batches(PLANS["sorted"], make_pairs(3))


def test_pairs_longer_than_the_bounds_of_a_plan_are_refused():
    with pytest.raises(ValueError, match="longer than the last bound 9"):
        make_batches(TokenBuckets(tokens=30, bounds=(5, 9)))


def test_evaluation_pairs_longer_than_the_bounds_are_refused():
    with pytest.raises(ValueError, match="longer than the last bound 9"):
        list(ordered_batches(make_pairs(), 8, (5, 9)))


@pytest.mark.parametrize(("total", "count"), [(1999, 1000), (1000, 500), (7, 20), (3, 1), (0, 5)])
def test_a_sample_is_spread_over_all_examples(total, count):
    found = spread_evenly(total, count)
    assert len(found) == min(total, count) == len(set(found.tolist()))
    gaps = np.diff(np.append(found, total))
    assert not total or (found[0] == 0 and gaps.max() - gaps.min() <= 1)
