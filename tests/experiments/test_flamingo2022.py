"""Flamingo's experiment at tiny scale: what is frozen, what is kept, and what is asked."""

import itertools
import json
import re

import jax
import numpy as np
import pytest
from PIL import Image

from attn_research.data.images.scenes import COLORS
from attn_research.data.text.tokenizers import PAD, SPECIALS
from attn_research.trees import named_leaves
from experiments.flamingo2022.paper import PAPER, initial, is_frozen
from experiments.harness.describe import describe
from experiments.harness.paper import trace
from experiments.harness.program import make_program
from experiments.harness.run_folder import load_run
from experiments.harness.task import views_of_maps
from experiments.harness.verify import verify
from experiments.papers import find
from experiments.tasks.visual_questions import data, predictions
from experiments.tasks.visual_questions.inference import WORDS
from experiments.tasks.visual_questions.task import VisualQuestionsTask
from tests.experiments.runs import run

TINY = {"scale": "tiny"}
ROW = "last-undescribed"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flamingo2022") / "scenes-tiny"
    run(PAPER, ROW, folder, **TINY)
    # As long as the language model of the other row is trained before it is frozen.
    run(PAPER, "language", folder, **TINY, num_steps=2, eval_every=2, save_every=2)
    PAPER.report(folder / "results", PAPER)
    return folder


@pytest.fixture(scope="module")
def kept(folder):
    return load_run(folder / "runs" / f"{ROW}.seed0", find)


def test_a_run_writes_a_verifiable_table(folder):
    results = folder / "results"
    assert all(holds for *_, holds in verify(results, find))
    scores = {
        name: json.loads((results / f"{name}.seed0.json").read_text())["scores"]
        for name in (ROW, "language")
    }
    assert "pointing" not in scores["language"]["tests"]["test"]
    found = scores[ROW]["tests"]["test"]["pointing"]
    assert 0 < found["uniform"]["weight"] == found["uniform"]["argmax"] < 1
    pointer = json.loads((results / f"{ROW}.seed0" / "pointer.json").read_text())
    assert found["best_head"].items() >= pointer.items()
    assert set(scores[ROW]["guesses"]) >= {"commonest answer"}
    table = (results / "tables.md").read_text()
    assert "| commonest answer, no image |" in table and "second of two" in table
    assert (results / f"{ROW}.seed0" / "attention.png").stat().st_size > 1000
    path = results / f"{ROW}.seed0" / "test.txt"
    text = path.read_text()
    path.write_text(re.sub(r"^\S+", "mauve", text))
    changed = [name for name, _, holds in verify(results, find) if not holds]
    path.write_text(text)
    assert changed == [f"{folder.name}/results/{ROW}.seed0"]


def test_the_language_model_is_trained_first_and_then_frozen(folder, kept):
    after = named_leaves(kept.params)
    language = named_leaves(load_run(folder / "runs" / "language.seed0", find).params)
    assert set(language) == set(filter(is_frozen, after))
    for path, leaf in language.items():
        np.testing.assert_array_equal(after[path], leaf)
    assert after["params/language/blocks/gated/attention_gate"].all()
    about = describe(PAPER, ROW, trace(PAPER, ROW, TINY))
    assert set(about["frozen"]) == set(language)


def test_most_texts_of_the_language_model_describe_the_images():
    config = trace(PAPER, "last", TINY).config.replace(sees="nothing", learns="described")
    task = VisualQuestionsTask(config).load()
    whole = next(task.train_batches(3, lambda rows: slice(0, rows)))
    half = next(task.train_batches(3, lambda rows: slice(rows // 2, rows)))
    for all_rows, some in zip(whole, half, strict=True):
        np.testing.assert_array_equal(all_rows[len(some) :], some)
    split, words = task.splits["train"], task.tokenizer.shortlist
    for row, question in zip(split.described.ids, split.source.questions, strict=True):
        told = [f"<image> {split.source.descriptions[i]}" for i in question.images]
        expected = " ".join([*told, question.text, question.answer])
        assert " ".join(words[i - len(SPECIALS)] for i in row if i != PAD) == expected
    batches = itertools.islice(task.train_batches(0, lambda rows: slice(0, rows)), 40)
    colors = task.tokenizer.encode_words(list(COLORS))
    described = [row[1] in colors for batch in batches for row in batch.ids]
    assert 0.7 < np.mean(described) < 0.9


def test_a_language_model_can_read_descriptions_first():
    config = trace(PAPER, "last", TINY).config
    task = VisualQuestionsTask(config).load()
    found = named_leaves(initial(config, task))
    drawn = named_leaves(jax.jit(make_program(PAPER, config, task).init)(jax.random.key(0)))
    learned = {path for path, leaf in found.items() if not np.array_equal(leaf, drawn[path])}
    assert learned and all(map(is_frozen, learned))
    (positions,) = (leaf for path, leaf in found.items() if "positions" in path)
    assert len(positions) == config.task.described_length - 1 > config.task.length


def test_the_best_head_is_the_one_that_points_to_what_is_asked_for(kept):
    part, source = kept.task.config.task, data.question_set(kept.config.task, "dev")
    gold = [predictions.gold_cells(part, source, index) for index in range(len(source))]
    drawn = np.random.default_rng(0)
    shape = len(WORDS), 2, 3, part.num_images, gold[0].size // part.num_images

    def row(cells):
        weights = drawn.random(shape)
        weights[1, 0, 2] = 0.1 + cells.reshape(shape[-2:])
        return predictions.Row(np.zeros(1), weights)

    rows = [(index, row(cells)) for index, cells in enumerate(gold)]
    found = predictions.best_pointer(part, source, rows)
    assert found == ("image word", 1, 3, 1.0)
    chosen = rows[0][1].of_head(found)
    np.testing.assert_allclose(chosen.sum(), 1)
    assert chosen.ravel()[gold[0]].min() >= chosen.max()
    assert predictions.best_pointer(part, source, [(0, predictions.Row(np.zeros(1), None))]) is None


def test_a_question_of_ones_own(kept, tmp_path):
    paths = [str(tmp_path / f"{color}.png") for color in ("red", "blue")]
    for path in paths:
        Image.new("RGB", (50, 40), "red").save(path)

    def respond(text, names):
        return next(iter(kept.task.respond([kept.network], [kept.params], [(text, names)])))

    found = respond("What color is the mauve circle?", paths)
    assert found.notes == ["not in the vocabulary: mauve"]
    assert list(found.maps) == ["what", "color", "is", "the", "mauve", "circle", "?"]
    assert found.maps["circle"].weights.shape == (4, 8)
    assert found.maps["circle"].pixels.shape == (32, 64, 3)
    np.testing.assert_allclose(found.maps["?"].weights.sum(), 1, rtol=1e-5)
    (view,) = views_of_maps(found.maps)
    assert view.weights.shape == (1, 1, 7, 32) and list(view.rows) == list(found.maps)
    with pytest.raises(FileNotFoundError, match=r"no such image file: .*nowhere\.png"):
        respond("what ?", [str(tmp_path / "nowhere.png")])
    with pytest.raises(ValueError, match="3 images: this model takes 2"):
        respond("what ?", paths + paths[:1])
    with pytest.raises(ValueError, match=r"a question of 40 words and marks.*--max_words=40"):
        respond("what " * 40, paths)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(image_size=36), "--image_size=36: give a multiple of 8"),
        (dict(data="easy_vqa", image_size=32), "easy_vqa has images of 64 pixels"),
        (dict(num_questions=4), "4 questions do not fill --batch_size=8"),
        (dict(max_words=3), "give --max_words="),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, given, message):
    with pytest.raises(ValueError, match=message):
        run(PAPER, "language", tmp_path, **TINY, **given)


def test_guesses_without_an_image():
    config = trace(PAPER, "last", TINY).config.task
    test = data.question_set(config, "test")
    found = data.guesses(test, test)
    always, by_question = found.values()
    assert 0 < always < by_question <= 1
