"""Show, Attend and Tell at tiny scale, through its rows, results and responses."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from attn_research.data.batching import all_rows
from experiments.harness.paper import resolve
from experiments.harness.program import make_program
from experiments.harness.run_folder import load_run
from experiments.harness.verify import verify
from experiments.papers import find
from experiments.tasks.captioning import losses, scores
from experiments.tasks.images import numbered
from experiments.xu2015.paper import PAPER
from tests.experiments.runs import run

TINY = {"scale": "tiny"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Hard attention with all terms of its loss."""
    folder = tmp_path_factory.mktemp("xu2015")
    run(PAPER, "hard", folder, penalty=0.1, entropy=0.01, **TINY)
    PAPER.report(folder / "results", PAPER)
    return folder


def test_tables_are_of_kept_predictions(finished):
    results = finished / "results"
    assert all(holds for *_, holds in verify(results, find))
    table = (results / "tables.md").read_text()
    assert "| best constant caption " in table and "| uniform " in table
    assert "- hard above best constant caption:" in table and "paper 21.3" not in table
    assert (results / "attention-hard.png").stat().st_size > 1000
    result = json.loads((results / "hard.seed0.json").read_text())
    found = result["scores"]["tests"]["test"]
    assert 0 <= found["pointing"]["argmax"] <= 1 and found["pointing"]["words"] > 20
    assert found["uniform"]["weight"] < 0.15 and result["dev_pointing"] >= 0
    assert found["constant"]["bleu_1"] > 10


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (scores.CAPTIONS, lambda data: b"a red" + data[1:]),
        (scores.COUNTS, lambda data: b"9" + data[1:]),
        (scores.POINTING, lambda data: data[: len(data) // 2]),
    ],
)
def test_edited_predictions_fail_the_verification(finished, name, change):
    path = finished / "results" / "hard.seed0" / name
    before = path.read_bytes()
    path.write_bytes(change(before))
    try:
        assert not all(holds for *_, holds in verify(finished / "results", find))
    finally:
        path.write_bytes(before)


def test_rows_are_compared_on_the_same_images(finished, tmp_path):
    shutil.copytree(finished / "results", tmp_path, dirs_exist_ok=True)
    shutil.copytree(tmp_path / "hard.seed0", tmp_path / "none.seed0")
    (tmp_path / "none.seed0" / scores.GALLERY).unlink()
    other = json.loads((tmp_path / "hard.seed0.json").read_text()) | {"row": "none"}
    del other["scores"]["tests"]["test"]["pointing"]
    (tmp_path / "none.seed0.json").write_text(json.dumps(other))
    PAPER.report(tmp_path, PAPER)
    table = (tmp_path / "tables.md").read_text()
    assert "- hard above none: +0.00 (from +0.00 to +0.00)" in table
    assert table.count("| none ") == 1  # which points nowhere
    assert not (tmp_path / "attention-none.png").exists()


def test_an_image_of_ones_own(finished, tmp_path):
    path = tmp_path / "mine.png"
    Image.new("RGB", (60, 50), (200, 30, 30)).save(path)
    kept = load_run(finished / "runs" / "hard.seed0", find)

    def respond(name):
        return next(kept.task.respond([kept.network], [kept.params], [name]))

    found = respond(str(path))
    assert list(found.maps) == numbered(found.output.split())
    for each in found.maps.values():
        assert each.weights.shape == (6, 6) and each.pixels.shape == (48, 48, 3)
    assert found.scores["log_probability"] < 0
    with pytest.raises(FileNotFoundError, match=r"no such image file: .*nowhere\.png"):
        respond(str(tmp_path / "nowhere.png"))
    path.with_suffix(".txt").write_text("no image")
    with pytest.raises(ValueError, match="is no image that can be read"):
        respond(str(path.with_suffix(".txt")))


def test_names_of_words_that_stand_twice():
    assert numbered(["a", "red", "7", "is", "left", "of", "a", "7"]) == [
        "a", "red", "7", "is", "left", "of", "a (7)", "7 (8)",
    ]  # fmt: skip


def test_the_penalty_is_least_where_weights_are_even():
    """L (1 - C / L)² of captions of length C over L regions."""
    even = jnp.full((1, 6, 9), 1 / 9)
    valid = jnp.arange(6)[None] < 4
    np.testing.assert_allclose(losses.uneven_attention(even, valid), 9 * (1 - 4 / 9) ** 2)
    weights = jax.nn.softmax(jax.random.normal(jax.random.key(0), (1, 6, 9)))
    assert losses.uneven_attention(weights, valid) > 9 * (1 - 4 / 9) ** 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(max_words=9), "--max_words=9: captions of scenes have up to 10"),
        (dict(max_objects=3), "--max_words=10: captions of scenes have up to 16"),
        (dict(image_size=50), "50 pixels are not divided|halves --image_size=50"),
        (dict(grid=5), "--grid=5: the encoder halves --image_size=48"),
        (dict(encoder="cells", grid=5), "--grid=5: the encoder halves --image_size=48"),
        (dict(data="captions"), "--data=captions needs --image_dir=FOLDER and --captions_file"),
        (dict(data="captions", image_dir="no", captions_file="no"), "--image_dir: no such folder"),
    ],
)
def test_images_and_captions_that_cannot_be_are_refused(given, message, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run(PAPER, "soft", tmp_path, **TINY | given)


def test_a_folder_with_captions_and_no_attention(tmp_path):
    names = [f"{split}/{i}.png" for split in ("train", "dev", "test") for i in range(8)]
    for i, name in enumerate(names):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20), (9 * i,) * 3).save(path)
    file = tmp_path / "captions.txt"
    file.write_text("".join(f"{name}\tPicture {i} .\n" for i, name in enumerate(names)))
    given = dict(data="captions", image_dir=str(tmp_path / "images"), captions_file=str(file))
    config = resolve(PAPER, "none", TINY | given)
    task = PAPER.task(config)
    task.check()
    program = make_program(PAPER, config, task.load())
    batch, spec = next(program.task.train_batches(0, all_rows)), program.task.batch_spec()
    assert {k: (x.shape, x.dtype) for k, x in batch.items()} == {
        k: (x.shape, x.dtype) for k, x in spec.items()
    }
    assert program.task.vocab_size == 4 + 9  # "picture" and eight numbers
    network, params = program.network, jax.jit(program.init)(jax.random.key(0))
    program.task.predict([network], [params], tmp_path / "found")
    found = PAPER.task(config).score(tmp_path / "found")["tests"]["test"]
    assert found["images"] == 8 and found["constant"]["bleu_1"] == 50
    assert not {"pointing", "uniform"} & found.keys()
    assert not (tmp_path / "found" / scores.GALLERY).exists()
    image = str(tmp_path / "images" / names[0])
    (response,) = program.task.respond([network], [params], [image])
    assert response.maps == {}
