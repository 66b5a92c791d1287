"""CLIP: the published size, the contrastive loss, and the experiment at tiny scale."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from attn_research.data.text.tokenizers import PAD
from experiments.clip2021.paper import PAPER, make_network
from experiments.harness.paper import resolve
from experiments.harness.run_folder import load_run
from experiments.harness.verify import verify
from experiments.papers import find
from tests.experiments.runs import run

TINY = {"scale": "tiny"}


def test_parameter_count_of_the_published_size():
    network = make_network(resolve(PAPER, "patches", {"scale": "paper"}), None)
    ids, images = jnp.zeros((1, 77), jnp.int32), jnp.zeros((1, 224, 224, 3))
    shapes = jax.eval_shape(network.init, jax.random.key(0), ids, None, images)["params"]
    found = {name: sum(x.size for x in jax.tree.leaves(part)) for name, part in shapes.items()}
    wide, narrow = (12 * (12 * width**2 + 13 * width) for width in (768, 512))
    assert found["vision"] == (32 * 32 * 3 + 1 + 50 + 4) * 768 + wide == 87_456_000
    assert found["text"] == (49_408 + 77 + 2) * 512 + narrow == 63_165_952
    assert sum(found.values()) == 151_277_313  # with both projections and the temperature


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip2021") / "scenes-tiny"
    run(PAPER, "patches", folder, **TINY)
    PAPER.report(folder / "results", PAPER)
    return folder


def test_a_run_writes_a_verifiable_table(folder):
    results = folder / "results"
    assert all(holds for *_, holds in verify(results, find))
    scores = json.loads((results / "patches.seed0.json").read_text())["scores"]["tests"]["test"]
    assert scores["pairs"] == 12 and scores["captions @1"] <= scores["captions @5"]
    assert "By chance that is 0.17 and 0.83" in (results / "tables.md").read_text()
    path = results / "patches.seed0" / "test.txt"
    text = path.read_text()
    path.write_text(text + text)
    assert not all(holds for *_, holds in verify(results, find))
    path.write_text(text)


def test_the_loss_is_the_mean_over_both_directions_of_each_group(folder):
    kept = load_run(folder / "runs" / "patches.seed0", find)
    task = kept.task.load()
    pairs = jax.tree.map(jnp.asarray, next(iter(task.eval_batches("dev"))))
    loss = jax.jit(lambda *given: task.loss(kept.network, *given, None, train=False))
    apply = jax.jit(kept.network.apply)
    found = loss(kept.params, pairs)
    total = 0.0
    for images, ids in zip(pairs.images, pairs.ids, strict=True):
        pixels = jnp.asarray(images, jnp.float32) / 127.5 - 1
        logits = np.asarray(apply(kept.params, ids, None, pixels).logits, np.float64)
        for each in (logits, logits.T):
            total += np.sum(np.log(np.exp(each).sum(axis=1)) - np.diag(each)) / 2
    assert float(found.weight) == 8
    np.testing.assert_allclose(found.total, total, rtol=1e-5)
    half = loss(kept.params, pairs._replace(ids=pairs.ids.at[1].set(PAD)))
    assert float(half.weight) == 4 and float(half.total) < float(found.total)


def test_an_image_of_ones_own_gets_a_caption(folder, tmp_path):
    kept = load_run(folder / "runs" / "patches.seed0", find)
    path = tmp_path / "a.png"
    Image.new("RGB", (50, 40), "red").save(path)
    (found,) = kept.task.respond([kept.network], [kept.params], [str(path)])
    assert found.output in kept.task.captions and found.maps["rollout"].weights.shape == (4, 4)


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--vocab_size=20: captions have"):
        run(PAPER, "hybrid", tmp_path, **TINY, vocab_size=20)
    with pytest.raises(ValueError, match="--num_scenes=24 do not fill --num_groups=8"):
        run(PAPER, "hybrid", tmp_path, **TINY, num_groups=8)
