"""Image classification on a lossy copy, on the authors' copy, and on folders with a broken file."""

import json

import numpy as np
import pytest
from PIL import Image

from attn_research.data.images import datasets
from experiments.harness.paper import resolve
from experiments.harness.verify import verify
from experiments.papers import find
from experiments.vit2020.paper import PAPER
from tests.data.images.copies import write_jpegs
from tests.experiments.runs import run

TINY = {"scale": "tiny", "data": "cifar10", "num_steps": 2, "eval_every": 2, "save_every": 2}


def write_binary(folder, rng):
    """The binary version of CIFAR-10, of 20 images a batch, in another order of classes."""
    (folder / "cifar-10-batches-bin").mkdir(parents=True, exist_ok=True)
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        rows = rng.integers(0, 256, (20, 3073), np.uint8)
        rows[:, 0] = 9 - np.arange(20) % 10
        (folder / "cifar-10-batches-bin" / name).write_bytes(rows.tobytes())


@pytest.fixture(scope="module")
def lossy(tmp_path_factory):
    """A data folder with the lossy copy, and the results of a run on it."""
    folder = tmp_path_factory.mktemp("vit2020")
    write_jpegs(folder / "data" / "cifar10", np.random.default_rng(0))
    run(PAPER, "small", folder / "cifar10-tiny", data_dir=str(folder / "data"), **TINY)
    results = folder / "cifar10-tiny" / "results"
    PAPER.report(results, PAPER)
    return folder / "data", results


def test_a_lossy_copy_is_named_beside_the_accuracy(lossy):
    _, results = lossy
    scores = json.loads((results / "small.seed0.json").read_text())["scores"]["tests"]["test"]
    assert scores["lossy"] == "images recompressed as JPEG"
    text = (results / "tables.md").read_text()
    header, _, row = (line.split("|") for line in text.splitlines() if line.startswith("|"))
    assert row[header.index("                       lossy ")].strip() == scores["lossy"]
    assert "An accuracy on a lossy copy" in text


def test_results_verify_on_the_copy_that_they_were_measured_on(lossy, tmp_path):
    data, results = lossy
    assert all(holds for *_, holds in verify(results, find, str(data)))
    # Beside another copy they are still of the one that they were of.
    write_binary(data / "cifar10", np.random.default_rng(1))
    assert all(holds for *_, holds in verify(results, find, str(data)))
    # Where there is the other copy alone, they are neither right nor wrong.
    write_binary(tmp_path / "cifar10", np.random.default_rng(1))
    (_, finding, holds), *_ = verify(results, find, str(tmp_path))
    assert holds is None and "no copy 'jpeg' of cifar10" in finding


def test_a_run_on_the_copy_of_the_authors_has_nothing_to_name(tmp_path):
    write_binary(tmp_path / "data" / "cifar10", np.random.default_rng(1))
    folder = tmp_path / "cifar10-tiny"
    path = run(PAPER, "small", folder, data_dir=str(tmp_path / "data"), **TINY)
    assert "lossy" not in json.loads(path.read_text())["scores"]["tests"]["test"]
    PAPER.report(path.parent, PAPER)
    assert "lossy" not in (path.parent / "tables.md").read_text()
    assert (path.with_suffix("") / "copy.txt").read_text() == "binary\n"


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("in_memory", [0, 2**31])
def test_a_broken_image_is_named_before_training(tmp_path, monkeypatch, split, in_memory):
    monkeypatch.setattr(datasets, "IN_MEMORY", in_memory)
    for place, count in (("train", 10), ("test", 2)):
        for name in ("cat", "dog"):
            (tmp_path / place / name).mkdir(parents=True)
            for number in range(count):
                path = tmp_path / place / name / f"{number}.png"
                Image.new("RGB", (8, 8)).save(path)
    data = path.read_bytes()
    (tmp_path / split / "dog" / "1.png").write_bytes(data[:-40])
    given = {"scale": "tiny", "data": "folder", "image_dir": str(tmp_path), "num_classes": 2}
    with pytest.raises(ValueError, match=rf"{split}/dog/1\.png is no image"):
        PAPER.task(resolve(PAPER, "small", given)).load()
