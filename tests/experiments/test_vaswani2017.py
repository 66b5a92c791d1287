"""The Transformer's experiment: every row takes a step, one is run whole, pronouns and heads."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.data.batching import all_rows
from attn_research.training.step import make_train_step
from experiments.explore.sources import look_at_predictions
from experiments.harness.paper import resolve
from experiments.harness.program import make_program
from experiments.harness.run_folder import load_run
from experiments.harness.task import look
from experiments.harness.verify import verify
from experiments.papers import find
from experiments.tasks.decoding import previous_words
from experiments.tasks.translation import pronouns
from experiments.tasks.translation.data import corpora
from experiments.tasks.translation.inference import Predicted
from experiments.vaswani2017 import tables
from experiments.vaswani2017.paper import PAPER, peak_rate
from tests.experiments.runs import run

TINY = {"scale": "tiny", "train_pairs": 200, "test_pairs": 12}
# The formula column: 37,000 shared rows, biases of the feed-forward layers and of normalization.
PARAMETERS = {
    "base": 63_045_632,
    "A-1-head": 63_045_632,
    "A-four-times-heads": 63_045_632,
    "B-quarter-keys": 55_967_744,
    "B-half-keys": 58_327_040,
    "C-third-layers": 33_644_544,
    "C-two-thirds-layers": 48_345_088,
    "C-four-thirds-layers": 77_746_176,
    "C-half-width": 26_816_512,
    "C-twice-width": 163_815_424,
    "C-half-mlp": 50_450_432,
    "C-twice-mlp": 88_236_032,
    "big": 214_171_648,
}


def describe(row):
    config = resolve(PAPER, row, {"scale": "paper"})
    shapes = jax.eval_shape(make_program(PAPER, config).init, jax.random.key(0))
    return config.values(), sum(x.size for x in jax.tree.leaves(shapes))


@pytest.mark.parametrize("row", PARAMETERS)
def test_parameter_counts_of_rows_at_paper_scale(row):
    config, count = describe(row)
    assert count == PARAMETERS[row]
    np.testing.assert_allclose(count, PAPER.rows[row].paper.get("params", count), rtol=0.075)
    if row != "big":
        assert (config["num_steps"], config["average"]) == (100_000, 5)
    else:
        found = config["num_steps"], config["average"], config["dropout"]
        assert found == (300_000, 20, 0.3)


def test_rows_change_the_values_of_table_3():
    changes = {
        "A-1-head": {"num_heads": 1},
        "A-half-heads": {"num_heads": 4},
        "A-twice-heads": {"num_heads": 16},
        "A-four-times-heads": {"num_heads": 32},
        "B-quarter-keys": {"head_dim": 16},
        "C-third-layers": {"num_layers": 2},
        "C-four-thirds-layers": {"num_layers": 8},
        "C-half-width": {"model_dim": 256},
        "C-twice-mlp": {"mlp_dim": 4096},
        "D-no-dropout": {"dropout": 0.0},
        "D-smoothing-0.2": {"label_smoothing": 0.2},
        "E-learned-positions": {"positions": "learned"},
    }
    base = resolve(PAPER, "base", {"scale": "paper"})
    for row, changed in changes.items():
        config = resolve(PAPER, row, {"scale": "paper"}).identity()
        assert config == base.identity() | changed


def test_training_cost_and_learning_rate_of_the_paper():
    printed = [PAPER.rows[row].paper for row in ("base", "big")]
    recomputed = [one["training_flops_recomputed"] for one in printed]
    np.testing.assert_allclose(recomputed, [one["training_flops"] for one in printed], rtol=0.01)
    rates = [peak_rate(resolve(PAPER, row, {"scale": "paper"})) for row in ("base", "big")]
    np.testing.assert_allclose(rates, [6.99e-4, 4.94e-4], rtol=1e-3)


def take_a_step(row, **changes):
    config, key = resolve(PAPER, row, TINY | changes), jax.random.key(0)
    program = make_program(PAPER, config, PAPER.task(config).load())
    # Drawn here, which need not be compiled: models are tested to begin as they should elsewhere.
    rng = np.random.default_rng(0)
    before = jax.tree.map(
        lambda x: rng.normal(scale=0.1, size=x.shape).astype(x.dtype),
        jax.eval_shape(program.init, key),
    )
    state = program.start(jax.tree.map(jnp.array, before))
    step = make_train_step(program.loss, program.optimizer, key)
    batches = program.task.train_batches(0, all_rows)
    for _ in range(2):  # a warmup from 0 does not move in its first step
        state, metrics = step(state, next(batches))
    return before, state.params, float(metrics.sums.total / metrics.sums.weight)


# The other rows have the same programs at other sizes, which are traced by --describe.
@pytest.mark.parametrize("row", ["base", "E-learned-positions", "big", "RNNsearch"])
def test_a_row_takes_a_step(row):
    before, after, loss = take_a_step(row)
    assert 4 < loss < 12
    for (path, old), new in zip(
        jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True
    ):
        assert np.any(old != new), jax.tree_util.keystr(path)


@pytest.mark.parametrize("score", ["general", "additive"])
def test_other_scores_in_every_head(score):
    _, _, loss = take_a_step("base", score=score, num_layers=1)
    assert 4 < loss < 12


def test_packed_batches_train_the_transformer_and_are_refused_by_rnnsearch():
    _, _, loss = take_a_step("base", batching="packed", batch_tokens=512)
    assert 4 < loss < 12
    with pytest.raises(ValueError, match=r"--batching=packed needs a network .* Transformer"):
        take_a_step("RNNsearch", batching="packed", batch_tokens=512)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vaswani2017") / "grammar-tiny"
    given = TINY | {"average": 2}
    for row in ("base", "RNNsearch"):
        run(PAPER, row, folder, **given)
    PAPER.report(folder / "results", PAPER)
    return folder / "results"


def test_a_run_writes_verifiable_tables_and_pictures(results):
    files = {path.name for path in results.iterdir()}
    assert {f"{name}-base.png" for name in ("heads", "cross", "decoder")} <= files
    assert {"pronouns-test.png", "tables.md"} <= files
    found = {name: holds for name, _, holds in verify(results, find)}
    assert len(found) == 3 and all(found.values())
    text = (results / "tables.md").read_text()
    for title in ("Table 2", "Table 3", "Pronoun resolution", "by layer and head"):
        assert title in text


def test_rows_are_compared_with_base_if_they_change_it_as_in_the_paper():
    def runs(bleu, **config):
        base = {"dropout": 0.3, "label_smoothing": 0.1}
        return [{"config": base | config, "scores": {"tests": {"test": {"bleu": bleu}}}}]

    results = {
        "base": runs(40.0),
        "A-1-head": runs(39.0),
        "C-twice-mlp": runs(39.5, mlp_dim=512),
        "D-no-dropout": runs(35.0, dropout=0.0),
        "D-dropout-0.2": runs(41.0, dropout=0.2),
    }
    same, other, skipped = tables._orderings(results, PAPER.rows, "test")
    assert "A-1-head (-1.00; there -0.9), D-no-dropout (-5.00; there -1.2)." in same
    assert other.endswith(": C-twice-mlp (-0.50; there +0.4).")
    assert skipped.endswith(": D-dropout-0.2.")


def test_pronouns_and_heads_are_scored(results):
    scores = json.loads((results / "base.seed0.json").read_text())["scores"]["tests"]["test"]
    pronouns = scores["pronouns"]
    assert pronouns["count"] > 0 and 0 <= pronouns["accuracy"] <= 1
    for side in ("encoder", "cross", "decoder"):
        assert np.shape(pronouns[side]["antecedent"]) == (2, 2)
    assert np.shape(scores["heads"]["input"]) == (2, 2)
    other = json.loads((results / "RNNsearch.seed0.json").read_text())["scores"]["tests"]["test"]
    assert np.shape(other["pronouns"]["cross"]["antecedent"]) == (1, 1)
    assert "decoder" not in other["pronouns"]
    assert "heads" not in other


def test_all_attention_of_a_translation_is_looked_at(results):
    text = "the cat sleeps ."
    for row in ("base", "RNNsearch"):
        kept = load_run(results.parent / "runs" / f"{row}.seed0", find)
        (found,) = look(kept.task, kept.network, kept.params, [text])
        alignment = found.response.maps["alignment"]
        views = {view.name: view for view in found.views}
        if row == "RNNsearch":
            assert list(views) == ["alignment"]
            weights = views["alignment"].weights[0, 0]
        else:
            encoder, cross, decoder = found.views
            assert [each.name.split()[0] for each in found.views] == [
                "encoder", "cross-attention", "decoder",
            ]  # fmt: skip
            # The heads of the layer before the last.
            weights = cross.weights[0].mean(axis=0)
            assert encoder.labels[0] == [*text.split(), "<end>"] and encoder.same
            assert decoder.labels[1][0] == "<start>" and not np.triu(decoder.weights, 1).any()
            np.testing.assert_allclose(encoder.weights.sum(axis=-1), 1, atol=1e-5)
        np.testing.assert_allclose(weights, alignment.weights, atol=1e-5)
    empty, _ = look(kept.task, kept.network, kept.params, [" ", text])
    assert not empty.views


def test_the_antecedent_of_a_kept_sentence_is_marked(results):
    found = look_at_predictions(results / "base.seed0")
    encoder, _, decoder = found.views[:3]
    words = found.response.input.split()
    names = {mark.name: words[mark.column] for mark in encoder.marks}
    assert list(names) == ["antecedent", "other noun"]
    row, column, _ = encoder.marks[0]
    layer, head, _ = encoder.start
    assert encoder.weights[layer, head, row, column] == encoder.weights[:, :, row, column].max()
    # Both the step that writes the noun and the one that reads it.
    steps = [mark.column for mark in decoder.marks if mark.name == "antecedent"]
    assert steps in [[step, step + 1] for step in range(len(decoder.columns))]
    assert [view.name for view in found.views[3:4]] == ["alignment 1"]


def test_pronouns_are_scored_at_the_first_word_that_depends_on_gender(tmp_path):
    config = resolve(PAPER, "base", TINY | {"test_pairs": 120})
    task = PAPER.task(config).load()

    def predict(source, target, unsure=()):
        """A model that knows every word but those of which it is unsure."""
        log_probs = np.full((*target.shape, task.tokenizers[1].vocab_size), -5.0)
        np.put_along_axis(log_probs, target[..., None], 0.0, axis=-1)
        log_probs[..., unsure] = -1.0
        return Predicted(log_probs, None, None)

    def accuracy(*words):
        unsure = [task.tokenizers[1].encode(word)[0] for word in words]
        predict_unsure = functools.partial(predict, unsure=unsure)
        pronouns.probe(config, task.data, predict_unsure, tmp_path)
        return pronouns.score(tmp_path / "test.pronouns.json")["accuracy"]

    after_if = accuracy("il", "elle", "ils", "elles")
    assert accuracy() == 1 and 0.1 < after_if < 0.9
    np.testing.assert_allclose(accuracy("s'", "si"), 1 - after_if, atol=1e-3)


def test_decoder_attention_to_the_translated_antecedent_is_measured(tmp_path):
    config = resolve(PAPER, "base", TINY | {"test_pairs": 60})
    task = PAPER.task(config).load()
    (corpus,) = corpora(config.task.text)
    nouns = {
        source.split()[p.antecedent]: None
        for i, (source, *_) in enumerate(task.data.tests["test"])
        for p in corpus.pronouns("test", i)
    }  # fmt: skip
    meant = [
        task.tokenizers[1].encode(pair.target.split()[j])[0]
        for pair in task.data.tests["test"]
        for i, j in pair.sure
        if pair.source.split()[i] in nouns
    ]

    def predict(source, target):
        """A head that attends as much at the step that writes such a noun as at the next one."""
        log_probs = np.zeros((*target.shape, task.tokenizers[1].vocab_size))
        known = (np.isin(target, meant) + 1.0 * np.isin(previous_words(target), meant)) / 2
        weights = np.broadcast_to(known[:, None, :], (len(target), *target.shape[1:] * 2))
        return Predicted(log_probs, None, None, weights[:, None, None])

    pronouns.probe(config, task.data, predict, tmp_path)
    found = pronouns.score(tmp_path / "test.pronouns.json")["decoder"]
    assert found["antecedent"] == [[1.0]] and 0 < found["chance"] < 0.3


def test_an_edited_pronoun_fails_the_verification(results, tmp_path):
    import shutil

    copy = tmp_path / "grammar-tiny" / "results"
    shutil.copytree(results, copy)
    path = copy / "base.seed0" / "test.pronouns.json"
    cases = json.loads(path.read_text())
    cases[0]["log_probs"].reverse()
    path.write_text(json.dumps(cases))
    found = {name: (finding, holds) for name, finding, holds in verify(copy, find)}
    (finding, holds) = next(v for k, v in found.items() if k.endswith("base.seed0"))
    assert not holds and "pronouns/accuracy" in finding
