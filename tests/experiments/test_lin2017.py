"""The experiment of Lin et al. 2017 at tiny scale, and its task on every kind of labels."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics

from attn_research.data.text.tokenizers import PAD
from experiments.harness.paper import resolve
from experiments.harness.program import make_program
from experiments.harness.run_folder import load_run
from experiments.harness.verify import verify
from experiments.lin2017.paper import PAPER
from experiments.papers import find
from experiments.tasks.text_classification.losses import loss_sums, summarize
from experiments.tasks.text_classification.predictions import attention_maps
from experiments.tasks.text_classification.scores import score_lines
from tests.experiments.runs import run

NAME = "rows-penalty.seed0"
SHORT = {"num_steps": 2, "eval_every": 2, "save_every": 2, "warmup_steps": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lin2017") / "grammar-tiny"
    run(PAPER, "rows-penalty", folder, scale="tiny")
    PAPER.report(folder / "results", PAPER)
    return folder


def test_runs_write_a_verifiable_table_and_a_picture(folder):
    results = folder / "results"
    assert all(holds for *_, holds in verify(results, find))
    assert (results / "attention-rows-penalty.png").stat().st_size > 1000
    table = (results / "tables.md").read_text()
    assert "redundancy" in table and "rows-penalty over" not in table
    found = json.loads((results / f"{NAME}.json").read_text())["scores"]
    scores = found["tests"]["test"]
    assert scores["examples"] == 40 and 0 < scores["accuracy"] < 1
    assert 0 <= scores["attends_to_head"] <= 1 and len(found["gold"]["test"]) == 64


def test_an_edited_prediction_fails_the_verification(folder):
    path = folder / "results" / NAME / "test.predictions.txt"
    before = path.read_text()
    for after in (before.replace("singular", "plural", 1), before + "plural\n", "dual\n" * 40):
        path.write_text(after if after != before else before.replace("plural", "singular", 1))
        try:
            assert not all(holds for *_, holds in verify(folder / "results", find))
        finally:
            path.write_text(before)


def test_a_sentence_of_ones_own(folder):
    kept = load_run(folder / "runs" / NAME, find)
    lines = ["the five dogs of my zyx friend", " "]
    found, empty = kept.task.respond([kept.network], [kept.params], lines)
    assert found.output in ("singular", "plural")
    assert sum(found.scores.values()) == pytest.approx(1, abs=1e-5)
    assert found.notes == ["not in the vocabulary: zyx"]
    grid = found.maps["attention"]
    assert list(grid.columns) == [*lines[0].split(), "<end>"] and len(grid.rows) == 3
    assert grid.weights.shape == (3, 8)
    np.testing.assert_allclose(grid.weights.sum(axis=1), np.ones(3), atol=1e-5)
    assert empty.output == "" and empty.notes == ["an empty text has no label"]
    with pytest.raises(ValueError, match="reads one text; got 2 in"):
        list(kept.task.respond([kept.network], [kept.params], ["a\tb"]))


def test_maps_of_layers_and_heads():
    weights = np.random.default_rng(0).random((2, 3, 6, 6))
    found = attention_maps(weights, ["a", "b", "c", "<end>"])
    assert len(found) == 6
    grid = found["layer 2, head 1"]
    np.testing.assert_array_equal(grid.weights, weights[1, 0, :4, :4])
    assert grid.rows == grid.columns == ["a", "b", "c", "<end>"]


def test_rows_that_fill_a_batch_change_neither_loss_nor_penalty():
    config = resolve(PAPER, "rows-penalty", {"scale": "tiny", "num_microbatches": 5})
    program = make_program(PAPER, config, PAPER.task(config).load())
    params = program.init(jax.random.key(0))
    batch = next(program.task.train_batches(0, lambda total: slice(0, total)))
    assert {n: x.dtype for n, x in batch.items()} == {
        n: x.dtype for n, x in program.task.batch_spec().items()
    }
    assert batch["ids"].shape[0] == 20 and batch["label"][16:].tolist() == [-1] * 4
    loss = jax.jit(lambda batch: program.loss(params, batch, jax.random.key(1)))

    def some(rows):
        """The batch with other rows emptied."""
        fill = {"ids": PAD, "types": 0, "valid": False, "label": -1}
        keep = np.isin(np.arange(20), rows)
        return {
            name: np.where(keep if each.ndim == 1 else keep[:, None], each, fill[name])
            for name, each in batch.items()
        }

    parts = [loss(some(rows)) for rows in (range(7), range(7, 20))]
    whole = loss(batch)
    assert [float(each.weight) for each in (*parts, whole)] == [7, 9, 16]
    np.testing.assert_allclose(parts[0].total + parts[1].total, whole.total, rtol=1e-5)
    # Each of three rows attends to all words at first: the penalty is not small.
    assert whole.total / 16 > np.log(2) + 0.1
    assert loss(some([])).total == 0


def write(folder, lines):
    """Files of train, dev and test with these lines, the label first; returns the flags."""
    given = {"data": "text", "scale": "tiny", "batch_size": 8}
    for split in ("train", "dev", "test"):
        (folder / split).write_text("".join(f"{line}\n" for line in lines))
        given[split] = str(folder / split)
    return given


def drawn(rng, count=96):
    return [" ".join(rng.choice(list("abcdefg"), 5)) for _ in range(count)]


def test_a_class_that_one_word_decides_is_learned(tmp_path):
    lines = [
        f"{'with' if 'a' in text else 'without'}\t{text}"
        for text in drawn(np.random.default_rng(0))
    ]
    given = write(tmp_path, lines) | {
        "num_steps": 70,
        "eval_every": 35,
        "save_every": 70,
        "learning_rate": 0.03,
        "word_dropout": 0.0,
    }
    path = run(PAPER, "rows", tmp_path, **given)
    scores = json.loads(path.read_text())["scores"]["tests"]["test"]
    assert scores["accuracy"] > 0.9 and scores["matthews"] > 0.8


def test_pairs_with_numbers(tmp_path):
    rng = np.random.default_rng(1)
    one, other = drawn(rng), drawn(rng)
    pairs = [f"{len(set(a) & set(b)) / 2}\t{a}\t{b}" for a, b in zip(one, other, strict=True)]
    kind = {"labels": "numbers", "num_texts": 2, "best_by": "+pearson"}
    given = write(tmp_path, pairs) | kind | SHORT
    path = run(PAPER, "max", tmp_path, **given)
    result = json.loads(path.read_text())
    assert result["scores"]["tests"]["test"].keys() == {"examples", "pearson", "spearman"}
    predictions = (path.parent / path.stem / "test.predictions.txt").read_text().split()
    measured = np.corrcoef(
        [float(x) for x in predictions], [float(x.split("\t")[0]) for x in pairs]
    )
    assert result["dev_pearson"] == pytest.approx(measured[0, 1], abs=3e-3)
    kept = load_run(tmp_path / "runs" / path.stem, find)
    (found,) = kept.task.respond([kept.network], [kept.params], ["a b\tc"])
    assert float(found.output) < 5 and found.scores == {}


def test_words_with_tags(tmp_path):
    text = "\n".join(
        "".join(f"{w} {'B-x' if w in 'ab' else 'O'}\n" for w in line.split())
        for line in drawn(np.random.default_rng(2))
    )
    given = (
        write(tmp_path, text.split("\n"))
        | {"labels": "tags", "max_words": 4, "pooling": "each"}
        | SHORT
    )
    path = run(PAPER, "rows-penalty", tmp_path, **given)
    scores = json.loads(path.read_text())["scores"]["tests"]["test"]
    assert scores["examples"] == 96 and scores.keys() >= {"f1", "precision", "recall"}
    lines = (path.parent / path.stem / "test.predictions.txt").read_text().splitlines()
    assert {len(line.split()) for line in lines} == {5}
    assert all(line.endswith(" O") for line in lines)  # the fifth word was not read


@pytest.mark.parametrize(
    ("row", "given", "message"),
    [
        ("rows", {"data": "wnut17"}, "--data=wnut17 has tags for labels: give --pooling=each"),
        ("rows", {"pooling": "each"}, "--data=grammar has classes .* leave out --pooling=each"),
        ("max", {"remat": "all"}, "--remat=all: this network has none to give"),
        ("mean", {"penalty": 0.5}, "--penalty=0.5 has no effect"),
        ("mean", {"data": "text"}, "--data=text needs --train"),
        ("mean", {"data": "sst2", "data_dir": "nowhere"}, "nowhere does not exist"),
        ("mean", {"max_compiles": 1, "bucket_width": 4}, "--max_compiles=1: batches have"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, row, given, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run(PAPER, row, tmp_path, scale="tiny", **given)


def test_another_number_of_classes_is_named(tmp_path):
    given = write(tmp_path, ["a\tx", "b\ty", "c\tz"])
    with pytest.raises(ValueError, match="has 3 classes: give --num_classes=3"):
        PAPER.task(resolve(PAPER, "mean", given)).load()


def test_the_loss_of_numbers_leaves_out_what_is_none():
    gold = jnp.array([1.0, jnp.nan, 2.5, 4.0, 0.0])
    logits = jnp.array([[1.5], [9.0], [2.0], [3.0], [-1.0]])
    value, gradient = jax.value_and_grad(lambda x: loss_sums("numbers", x, gold).total)(logits)
    assert value == 0.25 + 0.25 + 1 + 1
    np.testing.assert_allclose(gradient[:, 0], [1.0, 0, -1.0, -2.0, -2.0])
    sums = jax.tree.map(float, loss_sums("numbers", logits, gold))
    found = summarize("numbers", sums)
    kept = [0, 2, 3, 4]
    expected = np.corrcoef(np.asarray(logits)[kept, 0], np.asarray(gold)[kept])[0, 1]
    assert found == {"loss": 0.625, "pearson": pytest.approx(expected)}


@pytest.mark.parametrize(("labels", "classes"), [("classes", 2), ("tags", 3), ("classes", 3)])
def test_development_measurements_equal_those_of_the_scores(labels, classes):
    rng = np.random.default_rng(2)
    gold, logits = rng.integers(-1, classes, 60), rng.normal(size=(60, classes))
    # Half of the answers are right.
    logits[np.arange(60), gold] += 3 * (np.arange(60) % 2)
    sums = [
        jax.tree.map(float, loss_sums(labels, jnp.asarray(logits[part]), jnp.asarray(gold[part])))
        for part in (slice(0, 20), slice(20, 60))
    ]
    found = summarize(labels, jax.tree.map(lambda a, b: a + b, *sums))
    kept = gold >= 0
    sides = logits.argmax(-1)[kept], gold[kept]
    assert found.pop("accuracy") == pytest.approx(sklearn.metrics.accuracy_score(*sides))
    del found["loss"]
    expected = {}
    if labels == "tags":
        expected = {"f1": sklearn.metrics.f1_score(*sides, labels=[1, 2], average="micro")}
    elif classes == 2:
        expected = {"matthews": sklearn.metrics.matthews_corrcoef(*sides)}
    assert found == pytest.approx(expected)


def test_scores_of_kept_lines():
    assert score_lines("classes", ["a", "b", "c"], ["a", "b", "b"], "abc") == {
        "examples": 3,
        "accuracy": 2 / 3,
        "f1": pytest.approx((1 + 2 / 3 + 0) / 3),
        "matthews": pytest.approx((3 * 2 - 3) / np.sqrt((9 - 3) * (9 - 5))),
    }
    assert score_lines("classes", ["n", "y", "y"], ["n", "n", "y"], "ny")["f1"] == 2 / 3
    tags = score_lines("tags", ["B-x O", "O"], ["B-x O", "B-x"], ("O", "B-x"))
    assert (tags["precision"], tags["recall"], tags["accuracy"]) == (1, 0.5, 2 / 3)
    with pytest.raises(ValueError, match="'d' is none of the classes a, b"):
        score_lines("classes", ["d"], ["a"], "ab")
