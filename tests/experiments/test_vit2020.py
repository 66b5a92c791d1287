"""The Vision Transformer's experiment at tiny scale, through its rows and results."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from attn_research.data.batching import all_rows
from attn_research.evaluation.rollout import rollout
from experiments.harness.paper import resolve
from experiments.harness.program import Program, make_program
from experiments.harness.run_folder import load_run
from experiments.harness.runner import measure
from experiments.harness.task import look
from experiments.harness.verify import verify
from experiments.papers import find
from experiments.vit2020.paper import PAPER
from tests.experiments.programs import call
from tests.experiments.runs import run

CHANGES = dict(crop=1, flip=True, color_jitter=0.3, cutout=2, cutmix=0.4, mixup=0.4, drop_path=0.1)
NAME = "small,drop_path=0.1.seed0"  # what flags change of the network is part of its name


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vit2020") / "digits-tiny"
    run(PAPER, "small", folder, scale="tiny", **CHANGES)
    PAPER.report(folder / "results", PAPER)
    return folder / "results"


def test_a_run_writes_a_verifiable_table_and_a_picture(results):
    assert (results / NAME / "attention.png").stat().st_size > 1000
    assert all(holds for *_, holds in verify(results, find))
    assert "test accuracy" in (results / "tables.md").read_text()
    scores = json.loads((results / f"{NAME}.json").read_text())["scores"]["tests"]["test"]
    assert scores["images"] == 180 and 0 <= scores["accuracy"] <= 1


def test_all_attention_to_an_image_is_looked_at(results, tmp_path):
    path = tmp_path / "digit.png"
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(path)
    kept = load_run(results.parent / "runs" / NAME, find)
    (found,) = look(kept.task, kept.network, kept.params, [str(path)])
    (view,) = found.views
    down, across = view.picture.grid
    assert view.picture.first == 1 and view.weights.shape[2:] == (1 + down * across,) * 2
    shown = found.response.maps["rollout"].weights
    np.testing.assert_allclose(rollout(view.weights)[0, 1:].reshape(down, across), shown)
    np.testing.assert_array_equal(view.picture.pixels, found.response.maps["rollout"].pixels)


def test_an_edited_prediction_fails_the_verification(results):
    path = results / NAME / "test.predictions.txt"
    before = path.read_text()
    lines = before.splitlines()
    path.write_text("\n".join([str((int(lines[0]) + 1) % 10), *lines[1:]]) + "\n")
    try:
        assert not all(holds for *_, holds in verify(results, find))
    finally:
        path.write_text(before)


def test_sizes_that_differ_from_the_data_are_refused():
    config = resolve(PAPER, "small", {"scale": "tiny", "num_classes": 12})
    with pytest.raises(ValueError, match="--num_classes=10 --image_size=8 --channels=1"):
        PAPER.task(config).load()


def test_padding_images_do_not_change_the_loss():
    config = resolve(PAPER, "small", {"scale": "tiny"})
    program = make_program(PAPER, config, PAPER.task(config).load())
    dev, loss, params = (
        program.task.splits["dev"],
        program.eval_loss,
        program.init(jax.random.key(0)),
    )
    rng = np.random.default_rng(0)  # the head begins with zeros
    params = jax.tree.map(lambda x: x + rng.normal(0, 0.3, x.shape).astype(x.dtype), params)
    found = measure(program, params, "dev")
    batch = jax.tree.map(jnp.asarray, {"image": dev.images, "label": dev.labels})
    whole = loss(params, batch, jax.random.key(0))
    assert whole.weight == whole.counts["examples"] == len(dev) == 180
    expected = float(whole.total / whole.weight)
    assert expected > 2.4  # unlike that of equal logits, log 10
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-5)
    correct = whole.counts["correct"] / whole.weight
    np.testing.assert_allclose(found["accuracy"], float(correct), rtol=1e-6)


def test_mixed_batches_match_batch_spec():
    for given in ({}, {"mixup": 0.5}):
        task = PAPER.task(resolve(PAPER, "small", {"scale": "tiny"} | given)).load()
        batch = next(task.train_batches(0, lambda total: slice(0, total)))
        found = {name: (x.shape, x.dtype) for name, x in batch.items()}
        assert found == {name: (x.shape, x.dtype) for name, x in task.batch_spec().items()}
        assert "share" not in next(task.eval_batches("dev"))


def test_empty_rows_fill_a_batch_that_microbatches_do_not_divide():
    config = resolve(PAPER, "small", {"scale": "tiny", "num_microbatches": 5})
    task = PAPER.task(config).load()
    batch = next(task.train_batches(0, all_rows))
    assert {name: rows.shape for name, rows in task.batch_spec().items()} == {
        name: rows.shape for name, rows in batch.items()
    }
    assert len(batch["label"]) == 20 and (batch["label"][16:] == -1).all()


@pytest.mark.parametrize(("dtype", "evaluated"), [("float32", "tiled"), ("bfloat16", "auto")])
def test_float32_evaluation_ignores_an_implementation_named_for_bfloat16(dtype, evaluated):
    named = dataclasses.replace(PAPER, network=lambda config, task: config.execution.implementation)
    given = {"scale": "tiny", "implementation": "tiled", "dtype": dtype}
    program = Program(named, resolve(named, "small", given), None)
    assert (program.network, program.eval_network) == ("tiled", evaluated)


def describe(*words):
    return call("experiments.vit2020", "--describe", "--json", *words)


def test_describe_simulates_a_mesh():
    mesh = ["--row=small", "--scale=tiny", "--placement=sharded", "--mesh=data=8,fsdp=4"]
    about = json.loads(describe(*mesh, "--batch_size=64").stdout)
    assert about["devices"] == 32
    assert about["bytes_per_device"] > about["state_bytes_per_device"] > 0
    assert about["collectives"]["all-reduce"]["bytes"] >= 4 * about["parameters"]
    padded = json.loads(describe(*mesh, "--batch_size=40").stdout)
    assert {shape[0] for shape in padded["batch"].values()} == {64}
