"""Labelled examples as ids: batches by hand, and each example once."""

import numpy as np
import pytest

from attn_research.data.batching import Batches, SortedWindows, bucket_bounds, ordered_batches
from attn_research.data.text.examples import CollateExamples, encode_examples, truncate
from attn_research.data.text.labelled import Example
from attn_research.data.text.tokenizers import EOS, PAD, UNK, WordTokenizer

TOKENIZER = WordTokenizer(("a", "b", "c"))
A, B, C = 4, 5, 6


def encode(examples, label, **options):
    return encode_examples([Example(*each) for each in examples], TOKENIZER, label, **options)


def test_a_batch_of_pairs_by_hand():
    found = encode([(("a b", "c"), "2"), (("x", "b b"), "1")], int)
    assert found.lengths.tolist() == [[4], [4]]
    batch = CollateExamples("classes")([found[0], found[1]], 3, 6)
    assert batch["ids"].tolist() == [
        [A, B, EOS, C, EOS, PAD],
        [UNK, EOS, B, B, EOS, PAD],
        [PAD] * 6,
    ]
    assert batch["types"].tolist() == [[0, 0, 0, 1, 1, 0], [0, 0, 1, 1, 1, 0], [0] * 6]
    assert batch["label"].tolist() == [2, 1, -1]
    assert batch["valid"].sum(axis=1).tolist() == [5, 5, 0] and batch.pop("valid")[0, 0]
    assert {each.dtype for each in batch.values()} == {np.dtype(np.int32)}


def test_one_text_has_one_type():
    found = encode([(("a b c",), "0.5")], float)
    batch = CollateExamples("numbers")([found[0]], 2, 4)
    assert batch["ids"].tolist() == [[A, B, C, EOS], [PAD] * 4]
    assert not batch["types"].any()
    np.testing.assert_array_equal(batch["label"], np.array([0.5, np.nan], np.float32))


def test_tags_stand_at_their_words():
    found = encode([(("c a",), "1 0"), (("b",), "2")], lambda tags: [int(x) for x in tags.split()])
    batch = CollateExamples("tags")(list(found), 3, 5)
    assert batch["ids"][:2].tolist() == [[C, A, EOS, PAD, PAD], [B, EOS, PAD, PAD, PAD]]
    assert batch["label"].tolist() == [[1, 0, -1, -1, -1], [2, -1, -1, -1, -1], [-1] * 5]


def test_texts_are_cut():
    assert truncate([list("abcde")], 3) == [list("abc")]
    assert truncate([list("abcde"), list("fg")], 5) == [list("abc"), list("fg")]
    assert truncate([list("ab"), list("cdef")], 3) == [["a"], ["c", "d"]]
    assert truncate([list("ab"), list("c")], 3) == [list("ab"), ["c"]]
    found = encode([(("a b c",), "1 2 0")], lambda x: [int(i) for i in x.split()], max_words=2)
    assert found[0].ids.tolist() == [A, B] and found[0].label == [1, 2]


@pytest.fixture(scope="module")
def examples():
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(list("abc"), rng.integers(1, 9))) for _ in range(37)]
    return encode([((text,), str(number)) for number, text in enumerate(texts)], int)


def test_evaluation_has_every_example_once(examples):
    batches = list(ordered_batches(examples, 8, bucket_bounds(8, 3), CollateExamples("classes")))
    seen = [index for indices, _ in batches for index in indices.tolist()]
    assert sorted(seen) == list(range(37))
    for indices, batch in batches:
        assert batch["label"].tolist() == [*indices, *[-1] * (8 - len(indices))]
        assert ((batch["ids"] != PAD).sum(axis=1)[: len(indices)] > 1).all()


def test_training_batches_are_padded_to_the_row_multiple(examples):
    batches = Batches(
        examples,
        SortedWindows(7, 2),
        bounds=bucket_bounds(8, 3),
        seed=1,
        num_batches=11,
        row_multiple=4,
        collate=CollateExamples("classes"),
    )
    assert batches.per_epoch == 5 and 0.3 < batches.padding_efficiency() < 1
    labels = []
    for batch in batches.iterate(5):
        assert batch["ids"].shape[0] == 8 and batch["label"][7] == -1
        labels += batch["label"][:7].tolist()
    assert len(set(labels[:35])) == 35  # an epoch has no example twice
