"""Long labelled sequences: lists, drawn paths, pixels and halves of reviews."""

import collections
import random

import numpy as np
import pytest

from attn_research.data.images.datasets import CIFAR_10, ImageSet
from attn_research.data.sequences import pathfinder, public
from attn_research.data.sequences.listops import END, ListOps, evaluate
from attn_research.data.sequences.pathfinder import Pathfinder
from attn_research.data.sequences.public import Halves, Pixels
from attn_research.data.text.labelled import LabelledCorpus

SHORT = dict(shortest=20, longest=80)
LISTS = ListOps(train_size=200, dev_size=5, test_size=5, **SHORT)


def test_a_list_comes_to_its_label():
    examples = LISTS.split("train")
    for example in examples:
        assert evaluate(example.texts[0]) == int(example.label)
        assert 20 < len(example.texts[0].split()) < 80
    assert len(set(examples)) == 200 and len({x.label for x in examples}) == 10
    operators = collections.Counter(w for x in examples for w in x.texts[0].split() if w[0] == "[")
    assert set(operators) == {"[MIN", "[MAX", "[MED", "[SM"}
    assert min(operators.values()) > 0.7 * max(operators.values())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("[MAX 2 9 [MIN 4 7 ] 0 ]", 9),
        ("[MED 1 2 4 9 ]", 3),
        ("[MED 9 1 3 ]", 3),
        ("[SM 5 6 7 ]", 8),
    ],
)
def test_values_of_lists(text, value):
    assert evaluate(text) == value


@pytest.mark.parametrize("text", ["[MAX 2 9", "1 2", "[AVG 1 2 ]", "] 1", "12", ""])
def test_what_is_no_list_is_refused(text):
    with pytest.raises(ValueError, match=r"not of a list|not one list"):
        evaluate(text)


def test_without_brackets_the_lists_are_the_same():
    plain = ListOps(0, 3, 1, 1, **SHORT)
    bare = ListOps(0, 3, 1, 1, **SHORT, brackets=False)
    for with_ends, without in zip(plain.split("train"), bare.split("train"), strict=True):
        kept = [token for token in with_ends.texts[0].split() if token != END]
        assert without.texts[0].split() == kept and without.label == with_ends.label


def test_an_example_is_a_function_of_seed_split_and_index():
    few, many = (ListOps(0, n, 2, 2, **SHORT) for n in (3, 6))
    assert many.split("train")[:3] == few.split("train")
    assert many.split("dev") != many.split("test")
    assert ListOps(1, 3, 2, 2, **SHORT).split("train") != few.split("train")
    assert few.fingerprint("train") != many.fingerprint("train")
    with pytest.raises(ValueError, match="no split 'all'"):
        few.split("all")


def test_pictures_of_paths():
    corpus = Pathfinder(train_size=100, dev_size=1, test_size=1)
    examples = corpus.split("train")
    labels = collections.Counter(x.label for x in examples)
    assert set(labels) == set(corpus.classes) and min(labels.values()) > 30
    levels = np.array([x.texts[0].split() for x in examples], int)
    assert levels.shape == (100, 1024) and levels.min() == 0 and levels.max() == 15
    # Both classes have as much white, so that counting it does not tell them apart.
    white = {name: levels[[x.label == name for x in examples]].mean() for name in corpus.classes}
    assert abs(white["joined"] / white["apart"] - 1) < 0.1


def test_the_distance_of_the_circles_does_not_tell_whether_a_path_joins_them(monkeypatch):
    boxes = []
    drawn = pathfinder.ImageDraw.Draw

    def draw(canvas):
        pen = drawn(canvas)
        monkeypatch.setattr(pen, "ellipse", lambda box, fill: boxes.append(box))
        return pen

    monkeypatch.setattr(pathfinder.ImageDraw, "Draw", draw)
    rng, corpus = random.Random(0), Pathfinder()
    joined = np.array([corpus.picture(rng)[1] == "joined" for _ in range(400)])
    first, second = np.array(boxes)[0::2, :2], np.array(boxes)[1::2, :2]
    far = np.linalg.norm(first - second, axis=1) / pathfinder.SHARP
    for least in np.quantile(far, np.linspace(0.1, 0.9, 9)):
        assert abs((far[joined] > least).mean() - (far[~joined] > least).mean()) < 0.15


def test_pixels_are_gray_levels_by_row(monkeypatch):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 32, 32, 3)).astype(np.uint8)
    images[0] = np.arange(32, dtype=np.uint8)[:, None, None]
    splits = dict.fromkeys(("train", "dev", "test"), ImageSet(images, np.arange(6) % 3, CIFAR_10))
    monkeypatch.setattr(public, "load_images", lambda *_: splits)
    corpus = Pixels(monkeypatch, train_size=4, test_size=2)
    assert isinstance(corpus, LabelledCorpus)
    assert [len(corpus.split(name)) for name in ("train", "dev", "test")] == [4, 6, 2]
    first = corpus.split("train")[0]
    assert first.label == "airplane"
    assert first.texts[0].split() == [str(row) for row in range(32) for _ in range(32)]
    assert corpus.fingerprint("train") != corpus.fingerprint("dev")


def test_halves_of_reviews(data_dir):
    corpus = Halves(data_dir)
    assert isinstance(corpus, LabelledCorpus) and corpus.num_texts == 2
    examples = corpus.split("dev")
    labels = [example.label for example in examples]
    assert labels[:4] == ["other", "same", "other", "same"]
    assert len({example.texts[1] for example in examples}) > 0.9 * len(examples)
    words = [[len(text.split()) for text in example.texts] for example in examples]
    assert all(one == other > 0 for one, other in words)
    means = [np.mean([one for one, _ in words[start::2]]) for start in (0, 1)]
    assert abs(means[0] / means[1] - 1) < 0.1


def test_absent_files_are_known_before_any_is_read(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"imdb/train\.tsv\.xz"):
        Halves(tmp_path).check()
