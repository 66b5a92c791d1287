"""Rows of a language model: windows, strides, and packed documents."""

import itertools

import numpy as np
import pytest

from attn_research.data.text.rows import (
    PackedDocuments,
    RandomWindows,
    Stream,
    ordered_batches,
    pack,
    strided,
)

NEWLINE = 0
# Documents of 3, 1, 6, 1, 12 and 2 tokens, the last without an end.
LENGTHS = (3, 1, 6, 1, 12, 2)
ENDS = set(np.cumsum(LENGTHS)[:-1] - 1)
IDS = np.array([NEWLINE if i in ENDS else 100 + i for i in range(sum(LENGTHS))], np.int32)
STREAM = Stream(IDS, NEWLINE)


def test_documents_are_lines_or_paragraphs_or_the_text():
    assert np.diff(STREAM.documents("line")).ravel().tolist() == list(LENGTHS)
    # The second and the fourth line are empty.
    assert np.diff(STREAM.documents("paragraph")).ravel().tolist() == [4, 7, 14]
    assert STREAM.documents("text").tolist() == [[0, 25]]
    assert len(Stream(IDS[:0], NEWLINE).documents("line")) == 0


@pytest.mark.parametrize("unit", ["line", "paragraph", "text"])
@pytest.mark.parametrize(("context", "stride"), [(5, 1), (5, 3), (5, 5), (40, 7)])
def test_a_stride_predicts_every_token_once_with_enough_before_it(unit, context, stride):
    documents = STREAM.documents(unit)
    seen = np.zeros(len(IDS), int)
    for begin, first, end in strided(documents, context, stride):
        seen[first:end] += 1
        (start,) = (a for a, b in documents.tolist() if a <= begin and end <= b)
        assert end - begin <= context
        assert first - begin >= min(context - stride, first - start)
    assert (seen == 1).all()


def test_a_stride_beyond_the_context_is_refused():
    with pytest.raises(ValueError, match="a stride of 6: give 1 to the context of 5"):
        strided(STREAM.documents("text"), 5, 6)


def test_pieces_are_in_the_first_row_with_room():
    assert pack([4, 3, 1, 2, 5, 5], 2, 5) == [[[0, 2], [1, 3]], [[4], [5]]]
    with pytest.raises(ValueError, match="a piece of 6 tokens"):
        pack([6], 2, 5)


@pytest.mark.parametrize("packed", [True, False])
def test_ordered_batches_predict_every_token_after_the_one_before_it(packed):
    pieces = strided(STREAM.documents("line"), 5, 3)
    found = {}
    for places, batch in ordered_batches(STREAM, pieces, 3, 5, packed=packed):
        assert batch["ids"].shape == batch["targets"].shape == (3, 5)
        assert ((batch["targets"] >= 0) == (places >= 0)).all()
        for at in np.argwhere(places >= 0):
            at = tuple(at)
            assert places[at] not in found
            found[places[at]] = batch["ids"][at], batch["targets"][at]
            if packed:
                assert batch["segments"][at] > 0
    before = [NEWLINE, *IDS[:-1]]
    assert [found[i] for i in range(len(IDS))] == list(zip(before, IDS, strict=True))


def test_windows_are_a_function_of_seed_and_number():
    windows = RandomWindows(STREAM, 4, 7, seed=5, row_multiple=3)
    first = list(itertools.islice(windows.iterate(), 6))
    later = next(windows.iterate(3, lambda total: slice(1, total - 1)))
    np.testing.assert_array_equal(later["targets"], first[3]["targets"][1:5])
    assert first[0]["ids"].shape == (6, 7) and (first[0]["targets"][4:] == -1).all()
    np.testing.assert_array_equal(first[0]["ids"][:4, 1:], first[0]["targets"][:4, :-1])
    begins = {int(batch["targets"][row, 6]) for batch in first for row in range(4)}
    assert len(begins) > 5
    with pytest.raises(ValueError, match="a text of 25 tokens is shorter than a window of 26"):
        RandomWindows(STREAM, 1, 26, seed=0)


def test_every_window_of_a_stream_can_be_drawn():
    windows = RandomWindows(STREAM, 50, 24, seed=0)
    batch = next(windows.iterate())
    assert {tuple(row) for row in batch["targets"].tolist()} == {tuple(IDS[:24]), tuple(IDS[1:])}


def test_an_epoch_of_packed_documents_has_every_token_once():
    batches = PackedDocuments(STREAM, STREAM.documents("line"), 2, 5, seed=1, row_multiple=4)
    epoch = list(itertools.islice(batches.iterate(), batches.per_epoch))
    targets = np.concatenate([each["targets"] for each in epoch])
    assert targets.shape == (4 * batches.per_epoch, 5)
    assert sorted(targets[targets >= 0]) == sorted(IDS)
    # The long document is of three pieces, the last of which has three tokens as context alone.
    real = sum((each["segments"] > 0).sum() for each in epoch)
    assert real == len(IDS) + 3 + 4
    assert batches.padding_efficiency() == pytest.approx(real / (10 * batches.per_epoch))


def test_packed_batches_are_a_function_of_seed_and_number():
    batches = PackedDocuments(STREAM, STREAM.documents("line"), 2, 6, seed=1)
    first = list(itertools.islice(batches.iterate(), 9))
    again = PackedDocuments(STREAM, STREAM.documents("line"), 2, 6, seed=1)
    for start in (0, batches.per_epoch, 7):
        found = next(again.iterate(start))
        for name, ids in found.items():
            np.testing.assert_array_equal(ids, first[start][name])
    order = [each["targets"].tolist() for each in first]
    assert order[0] != order[batches.per_epoch]  # epochs are shuffled anew
