"""Measurements of published checkpoints: batches of texts, similarity, minimal pairs."""

import lzma

import jax
import numpy as np
import pytest

from attn_research.data.text.labelled import Example
from attn_research.data.text.minimal_pairs import MinimalPair, draw_pairs, read_blimp
from experiments import blimp, similarity
from experiments.published import encoders
from experiments.published.measuring import rows_of
from experiments.published.model import load_published
from tests.experiments.folders import LETTERS, SPECIAL, write
from tests.experiments.programs import error_of

HEADER = "uid\tfield\tterm\tsimple_lm\tgood\tbad\n"


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    words = [*SPECIAL, *LETTERS[:-1], "##z"]
    return load_published(write(tmp_path_factory.mktemp("bert"), "bert_classes", words))


@pytest.fixture(scope="module")
def masked_folder(tmp_path_factory):
    words = [*SPECIAL, *LETTERS[:-1], "##z"]
    return write(tmp_path_factory.mktemp("masked"), "bert_pretraining", words)


@pytest.fixture(scope="module")
def gpt2_folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("gpt2"), "gpt2", [*LETTERS, *"?!;:,"])


def test_texts_are_rows_from_long_to_short():
    texts = [[1], [2, 3, 4], [5] * 9, [6, 7]]
    first, second = rows_of(texts, 3)
    assert first.indices.tolist() == [2, 1, 3] and second.indices.tolist() == [0]
    assert first.ids.shape == (3, 16) and second.ids.shape == (3, 8)
    assert first.valid.sum(1).tolist() == [9, 3, 2] and second.valid.sum(1).tolist() == [1, 0, 0]
    for rows in (first, second):
        for row, index in enumerate(rows.indices):
            assert rows.ids[row][rows.valid[row]].tolist() == texts[index]


def test_similarity_is_that_of_mean_states(bert):
    texts = ["a b c", "d e f g h a b c", "k", "a b d"]
    found = similarity.embed(bert, texts, batch_size=3)
    each = [next(encoders.respond(bert, "embed", [text])).output for text in texts]
    expected = np.array([[float(x) for x in output.split()] for output in each])
    np.testing.assert_allclose(found, expected, atol=2e-6)
    cosines = expected[[0, 0, 1]] @ expected.T
    pairs = [("a b c", "d e f g h a b c"), ("a b c", "k"), ("d e f g h a b c", "a b d")]
    scores = np.argsort(np.argsort([cosines[0, 1], cosines[1, 2], cosines[2, 3]]))
    examples = [Example(pair, str(x)) for pair, x in zip(pairs, scores, strict=True)]
    row = similarity.correlate(bert, examples, 2)
    assert row["pairs"] == 3 and row["spearman"] == pytest.approx(100)
    reverse = [example._replace(label=str(-float(example.label))) for example in examples]
    assert similarity.correlate(bert, reverse, 2)["spearman"] == pytest.approx(-100)


def test_log_probabilities_are_those_of_whole_sentences(gpt2_folder):
    model, texts = load_published(gpt2_folder), ["a b c d", "e f g h k m n o p q", "a"]
    run = jax.jit(model.network.apply)

    def by_hand(ids):
        row = np.int32([ids + [0] * (16 - len(ids))])
        logits = np.asarray(run(model.params, row).logits[0])
        exact = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        return sum(exact[place, after] for place, after in enumerate(ids[1:]))

    ids = [model.encode(text)[0] for text in texts]
    found = blimp.log_probs(model, texts, batch_size=2)
    np.testing.assert_allclose(found, [by_hand(each) for each in ids], rtol=1e-4)
    assert found[2] == 0
    begun = blimp.log_probs(model, texts, "?", batch_size=2)
    (first,) = model.encode("?")[0]
    np.testing.assert_allclose(begun, [by_hand([first, *each]) for each in ids], rtol=1e-4)
    with pytest.raises(ValueError, match="--begin=<s>: the tokenizer has no such token"):
        blimp.log_probs(model, texts, "<s>")


def test_a_masked_model_reads_a_sentence_once_for_each_token(masked_folder):
    model, texts = load_published(masked_folder), ["a b c d", "e f g h k m n", "az"]
    run = jax.jit(model.network.apply)

    def by_hand(text):
        ids, total = model.encode(text)[0], 0.0
        assert len(ids) == 2 + (2 if text == "az" else len(text.split()))
        for place in range(1, len(ids) - 1):
            masked = [*ids[:place], model.tokenizer.mask, *ids[place + 1 :]]
            logits = run(model.params, np.int32([masked])).heads["masked_lm"][0, place]
            total += float(jax.nn.log_softmax(logits)[ids[place]])
        return total

    expected = [by_hand(text) for text in texts]
    for batch_size in (3, 64):
        found = blimp.pseudo_log_probs(model, texts, batch_size)
        np.testing.assert_allclose(found, expected, rtol=1e-4)
    pairs = [MinimalPair("p", "x", texts[0], texts[1]), MinimalPair("p", "x", texts[1], texts[0])]
    right = blimp.judge(model, pairs, "", 8)
    assert right.tolist() == [expected[0] > expected[1], expected[1] > expected[0]]
    with pytest.raises(ValueError, match="--begin is of decoders"):
        blimp.judge(model, pairs, "a", 8)


def test_a_table_has_paradigms_fields_and_all():
    pairs = [MinimalPair(name, field, "", "") for name, field in ("ax", "ax", "bx", "cy")]
    *rows, last = blimp.table(pairs, np.array([True, False, True, False]))
    assert [row["right"] for row in rows] == [50, 100, 0, pytest.approx(200 / 3), 0]
    assert rows[3]["field"] == "x" and last == {"all": "BLiMP", "pairs": 4, "right": 50.0}


def blimp_file(folder, text):
    path = folder / "blimp" / "blimp.tsv.xz"
    path.parent.mkdir(parents=True)
    path.write_bytes(lzma.compress(text.encode()))
    return path


def test_pairs_are_drawn_by_paradigm(tmp_path):
    rows = [f"{name}\tsyntax/{name}\tt\t1\tgood {n}\tbad {n}\n" for name in "ab" for n in range(9)]
    blimp_file(tmp_path, HEADER + "".join(rows))
    paradigms = read_blimp(tmp_path)
    assert [len(pairs) for pairs in paradigms.values()] == [9, 9]
    assert paradigms["b"][2] == MinimalPair("b", "syntax_b", "good 2", "bad 2")
    drawn = draw_pairs(paradigms, 4, 0)
    assert [pair.paradigm for pair in drawn] == ["a"] * 4 + ["b"] * 4 and len(set(drawn)) == 8
    assert drawn == draw_pairs(paradigms, 4, 0) != draw_pairs(paradigms, 4, 1)
    assert draw_pairs(paradigms, None, 0) == [*paradigms["a"], *paradigms["b"]]
    assert len(set(draw_pairs(paradigms, 9, 0))) == 18 > len(set(draw_pairs(paradigms, 9, 0, True)))
    with pytest.raises(ValueError, match="paradigm a has 9 pairs, fewer than 10"):
        draw_pairs(paradigms, 10, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tb\n", r"blimp\.tsv\.xz: the first line is not uid field"),
        (HEADER, "holds no pairs"),
        (HEADER + "a\tb\tc\t1\tgood\n", "line 2: not 6 columns of text"),
        (HEADER + "a\tb\tc\t1\tgood\t\n", "line 2: not 6 columns of text"),
    ],
)
def test_a_file_of_no_pairs_is_named(tmp_path, text, message):
    path = blimp_file(tmp_path, text)
    with pytest.raises(ValueError, match=message):
        read_blimp(tmp_path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match=r"blimp\.tsv\.xz(: damaged xz file|, line|: the first)"):
        read_blimp(tmp_path)


def test_the_command_lines_refuse_what_a_model_cannot(gpt2_folder, tmp_path):
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("1\ta b\ta c\n5\td\te\n")
    error = error_of("experiments.similarity", f"--checkpoint={gpt2_folder}", f"--file={pairs}")
    assert "this GPT does continue, not embed" in error
