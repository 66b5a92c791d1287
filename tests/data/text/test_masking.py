"""Masked texts: shares of masks, and draws that belong to a text and not to its batch."""

import numpy as np
import pytest

from attn_research.data.text.masking import (
    MaskedTexts,
    Masking,
    collate_masked,
    example_rng,
    next_words,
)
from attn_research.data.text.rows import NOTHING, Packing

MASK, WORDS = 50, range(4, 50)
MASKING = Masking(MASK, WORDS)


def texts(count, rng):
    lengths = rng.integers(3, 12, count)
    return [np.concatenate([[1], rng.integers(4, 50, n), [2]]).astype(np.int32) for n in lengths]


def test_shares_of_what_is_predicted():
    ids = np.concatenate([[1], np.tile(np.arange(4, 50), 2000), [2, 3]]).astype(np.int32)
    read, targets = MASKING(ids, np.random.default_rng(0))
    chosen = targets != NOTHING
    assert chosen.sum() == round(0.15 * 92_000)
    np.testing.assert_array_equal(targets[chosen], ids[chosen])
    np.testing.assert_array_equal(read[~chosen], ids[~chosen])
    assert not chosen[[0, -2, -1]].any()  # only words are predicted
    masked, same = read[chosen] == MASK, read[chosen] == ids[chosen]
    # An evenly drawn word is the right one once in 46.
    shares = [masked.mean(), same.mean(), (~masked & ~same).mean()]
    np.testing.assert_allclose(shares, [0.8, 0.1 + 0.1 / 46, 0.1 - 0.1 / 46], atol=0.01)
    assert set(read[chosen]) == {*WORDS, MASK}
    assert {int(word) for word in targets[chosen]} == set(WORDS)


def test_a_short_text_has_one_mask_and_a_text_without_words_none():
    ids = np.array([1, 7, 2], np.int32)
    found = Masking(MASK, WORDS, mask_share=1.0, random_share=0.0)(ids, np.random.default_rng(0))
    assert found.ids.tolist() == [1, MASK, 2] and found.targets.tolist() == [-1, 7, -1]
    assert MASKING(np.array([1, 3, 2], np.int32), np.random.default_rng(0)).targets.max() == -1


def _is_text(text, read, wanted):
    true = tuple(r if w == NOTHING else w for r, w in zip(read, wanted, strict=True))
    return text == true


def masks_by_text(batches, given, count):
    """Of each text, what was read and predicted of it, in the order of the batches."""
    found, keys = {}, {tuple(ids): i for i, ids in enumerate(given)}
    for _ in range(count):
        batch = next(batches)
        for ids, targets, segments in zip(*batch.values(), strict=True):
            for number in range(1, segments.max() + 1):
                place = segments == number
                read, wanted = ids[place].tolist(), targets[place].tolist()
                # What is read where nothing is predicted, and what is predicted, are the text.
                places = [i for key, i in keys.items() if _is_text(key, read, wanted)]
                found.setdefault(places[0], []).append((read, wanted))
    return found


def test_masks_depend_neither_on_batches_nor_on_devices_nor_on_padding():
    given = texts(40, np.random.default_rng(1))
    lengths = np.array([len(ids) for ids in given])
    epochs = []
    for sizes in ((2, 16, 7), (5, 24, 7, 4), (1, 60, 7)):  # rows, length, seed, devices
        batches = MaskedTexts(given, MASKING, Packing(lengths, *sizes))
        epochs.append(masks_by_text(batches.iterate(), given, batches.per_epoch))
    assert sorted(epochs[0]) == list(range(40))
    assert epochs[0] == epochs[1] == epochs[2]
    again = MaskedTexts(given, MASKING, Packing(lengths, 2, 16, 7))
    second = masks_by_text(again.iterate(again.per_epoch), given, again.per_epoch)
    assert second != epochs[0]  # drawn anew in every epoch


def test_devices_read_their_rows_of_the_same_batch():
    given = texts(40, np.random.default_rng(2))
    packing = Packing(np.array([len(ids) for ids in given]), 4, 16, 3, 2)
    batches = MaskedTexts(given, MASKING, packing)
    whole = next(batches.iterate(3))
    parts = [
        next(batches.iterate(3, rows)) for rows in (lambda n: slice(0, 2), lambda n: slice(2, n))
    ]
    for name, array in whole.items():
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), array)


def test_next_words_by_hand():
    found = next_words(np.array([1, 7, 8, 2], np.int32), example_rng(0))
    batch = collate_masked([[found, found], []], 8)
    assert batch["ids"].tolist() == [[1, 7, 8, 1, 7, 8, 0, 0], [0] * 8]
    assert batch["targets"].tolist() == [[7, 8, 2, 7, 8, 2, -1, -1], [-1] * 8]
    assert batch["segments"].tolist() == [[1, 1, 1, 2, 2, 2, 0, 0], [0] * 8]


@pytest.mark.parametrize("shares", [(0.0, 0.8, 0.1), (0.15, 0.9, 0.2), (1.5, 0.5, 0.5)])
def test_fractions_that_are_none_are_refused(shares):
    with pytest.raises(ValueError, match="fractions, of which the last two are at most one"):
        Masking(MASK, WORDS, *shares)
