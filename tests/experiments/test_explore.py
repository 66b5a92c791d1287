"""Pages of attention by the command line: of arrays, checkpoints and kept predictions."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from experiments.explore.sources import Given, look_at
from experiments.harness.task import AttentionMap, views_of_maps
from experiments.published.looking import look_at_text
from tests.experiments.folders import LETTERS, write
from tests.experiments.programs import call, error_of
from tests.pretrained.packages import package_folder

RESULTS = Path(__file__).parents[2] / "experiments" / "results"
REACTION = "CC(C)S.CN(C)C=O.Fc1cccnc1F.O=C([O-])[O-].[K+].[K+]>>CC(C)Sc1ncccc1F"


def data_of(path):
    page = path.read_text("utf-8")
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*)</script>', page)[1]
    )


def arrays(path, **changes):
    rows = np.array(["a", "b", "c"])
    found = {"weights": np.full((2, 2, 3, 3), 1 / 3, np.float32), "rows": rows} | changes
    np.savez(path, **{name: each for name, each in found.items() if each is not None})
    return path


def test_arrays_make_a_page_and_two_files_one_with_both(tmp_path):
    first, second = arrays(tmp_path / "a.npz"), arrays(tmp_path / "b.npz", name=np.array("other"))
    words = [f"--arrays={first}", f"--compare={second}", f"--output={tmp_path}/out/a.html"]
    done = call("experiments.explore", *words, "--layer=2", "--head=1")
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path}/out/a.html: 0.1 MB" in done.stdout
    data = data_of(tmp_path / "out" / "a.html")
    assert [run["name"].split("/")[-1] for run in data["runs"]] == ["a.npz", "b.npz"]
    assert [view["name"] for run in data["runs"] for view in run["views"]] == ["attention", "other"]
    assert data["runs"][0]["views"][0]["start"] == [1, 0, 0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": None}, "has no array 'weights'"),
        ({"extra": np.zeros(2)}, "array 'extra'; known are weights, rows, columns"),
        ({"rows": np.array(["a", 1, {}], object)}, "np.array\\(labels, dtype=str\\)"),
        ({"rows": np.zeros((3, 1))}, "rows \\(3, 1\\) are no list of labels"),
        ({"columns": np.array(["a", "b", "c", "d"])}, "3 columns of weights and 4 labels"),
        ({"weights": np.full((3, 3), -1.0)}, "a weight is -1; give weights after the softmax"),
        ({"image": np.zeros((4, 4, 3))}, "of float64: give bytes"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_in_a_line(tmp_path, changes, message):
    with pytest.raises(ValueError, match=f"a.npz.*{message}") as error:
        look_at(str(arrays(tmp_path / "a.npz", **changes)), None)
    assert "\n" not in str(error.value)


def test_flags_that_contradict_each_other_are_refused(tmp_path):
    path = arrays(tmp_path / "a.npz")
    for words, message in (
        ([], "give --run, --checkpoint, --predictions or --arrays"),
        ([f"--arrays={path}", "--run=a"], "--run and --arrays: give one of them"),
        ([f"--arrays={path}", "--text=a"], "--text has no effect"),
        ([f"--arrays={path}", "--output=a.png"], "--output=a.png: give the name of an .html file"),
        ([f"--run={tmp_path}", "--question=a"], "--question is about an image: give --image too"),
        ([f"--arrays={path}", "--head=9"], "--head=9: attention has heads [1, 2]"),
        ([f"--arrays={tmp_path}/nowhere.npz"], "nowhere.npz: no such file"),
    ):
        assert message in error_of("experiments.explore", *words)


def test_an_input_of_another_kind_is_refused(tmp_path):
    folder = str(write(tmp_path, "gpt2", [*LETTERS, *"?!;:,"]))
    with pytest.raises(ValueError, match="this model reads text, give --text"):
        look_at(folder, None)
    for kind in ("image", "audio"):
        with pytest.raises(ValueError, match=f"--{kind}.*reads text"):
            look_at(folder, Given(kind, "a"))
    with pytest.raises(ValueError, match="--image and --question: this model reads text"):
        look_at(folder, Given("image and question", ("a", ["b.png"])))


def test_every_layer_and_head_of_a_checkpoint_is_looked_at(tmp_path):
    (view,) = look_at_text(str(write(tmp_path, "gpt2", [*LETTERS, *"?!;:,"])), "a b c").views
    assert view.rows == ["a", "b", "c"] and view.same and not np.triu(view.weights, 1).any()
    np.testing.assert_allclose(view.weights.sum(axis=-1), 1, atol=1e-5)


@pytest.mark.checkpoint
def test_rxnmapper_maps_the_atoms_of_a_product(tmp_path):
    (view,) = look_at_text(str(package_folder("rxnmapper")), REACTION).views
    assert view.weights.shape[:2] == (12, 8)
    tokens = view.rows
    product = tokens.index(">>")
    sulfur = product + 1 + tokens[product + 1 :].index("S")
    mapped = view.weights[10, 5, sulfur, :product]
    assert mapped.argmax() == tokens.index("S") and mapped.max() > 0.7


def test_a_committed_sentence_is_looked_at_with_its_antecedent():
    (encoder, _, decoder, *_) = look_at(
        str(RESULTS / "vaswani2017" / "grammar-small" / "base.seed0"), None
    ).views
    assert [encoder.rows[mark.column] for mark in encoder.marks] == ["mouse", "path"]
    # "Même si elle": before il it would be s', so that the gender is chosen there.
    assert decoder.rows[decoder.start[2]] == "si"
    (first, *_) = look_at(
        str(RESULTS / "bahdanau2014/grammar-small/RNNsearch-50.seed0"), None
    ).views
    assert first.name == "alignment 1" and first.weights.shape[:2] == (1, 1)


def test_maps_by_layer_and_head_are_one_view_and_others_one_each():
    each = AttentionMap(np.zeros((2, 3)), ["a", "b"], ["c", "d", "e"])
    names = [f"layer {layer}, head {head}" for layer in (2, 4) for head in (1, 3)]
    first, second = views_of_maps({"row": each} | dict.fromkeys(names, each))
    assert (first.name, first.weights.shape) == ("row", (1, 1, 2, 3))
    assert second.name == "cross-attention" and second.numbers == ([2, 4], [1, 3])


def test_a_sound_lies_behind_the_columns_of_its_map():
    features = np.arange(12.0).reshape(6, 2)  # 6 frames of 2 bands, over 3 columns
    each = AttentionMap(np.zeros((2, 3)), ["a", "b"], ["0", "1", "2"], features=features)
    for name in ("attention", "layer 1, head 1"):
        (view,) = views_of_maps({name: each})
        assert view.picture.grid == (1, 3) and view.picture.pixels.shape == (2, 6, 1)
        assert view.picture.pixels[0, -1, 0] == 255  # the highest band is on top
