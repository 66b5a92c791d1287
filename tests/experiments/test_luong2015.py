"""The 2015 experiment: its rows at tiny scale, an ensemble of them, and the paper's own sizes."""

import json
import shutil

import jax
import pytest

from experiments.harness.paper import Row, resolve
from experiments.harness.program import make_program
from experiments.harness.verify import verify
from experiments.luong2015 import tables
from experiments.luong2015.paper import PAPER
from experiments.papers import find
from tests.experiments.runs import run as run_row

TINY = {
    "scale": "tiny", "num_steps": 2, "eval_every": 2, "save_every": 2, "train_pairs": 300,
    "batch_size": 8, "max_words": 12, "soft_links": True,
}  # fmt: skip
MEMBERS = ("dot", "local-p-general")


def run(row, folder, **changes):
    return run_row(PAPER, row, folder, **(TINY | changes))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Results of two rows and of their ensemble."""
    folder = tmp_path_factory.mktemp("paper") / "grammar-tiny"
    row = PAPER.rows["ensemble"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PAPER.rows, "ensemble", Row(row.config, row.paper, MEMBERS))
        for name in (*MEMBERS, "ensemble"):
            run(name, folder)
    PAPER.report(folder / "results", PAPER)
    return folder / "results"


def test_rows_and_their_ensemble_write_verifiable_tables_and_pictures(finished):
    names = {path.name for path in finished.iterdir()}
    assert {"tables.md", "figure5.png", "figure6.png", "figure7-dot.png"} <= names
    verified = {name.split("/")[-1]: holds for name, _, holds in verify(finished, find)}
    rows = {f"{name}.seed0": True for name in (*MEMBERS, "ensemble")}
    assert verified == rows | {"tables.md": True}
    text = (finished / "tables.md").read_text()
    assert "global (dot)" in text and "(paper 23.00)" in text and "Table 6" in text
    assert "These did not: " in text
    scores = json.loads((finished / "dot.seed0.json").read_text())["scores"]["tests"]["test"]
    assert 0 <= scores["soft_aer"] <= 1 and 0 <= scores["aer"] <= 1
    result = json.loads((finished / "ensemble.seed0.json").read_text())
    sizes = [json.loads((finished / f"{n}.seed0.json").read_text())["parameters"] for n in MEMBERS]
    assert result["parameters"] == sum(sizes) and result["members"] == list(MEMBERS)


def test_an_ensemble_of_untrained_rows_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--row=ensemble needs the trained row location in"):
        run("ensemble", tmp_path)


def test_an_edited_replacement_fails_the_verification(finished, tmp_path):
    copy = tmp_path / "paper" / "results"
    shutil.copytree(finished, copy)
    path = copy / "dot.seed0" / "test.replaced.txt"
    path.write_text(path.read_text().replace("\n", " mot\n", 1))
    assert False in [holds for _, _, holds in verify(copy, find)]


@pytest.mark.parametrize("row", PAPER.rows)
def test_every_row_can_be_traced_from_shapes(row):
    program = make_program(PAPER, resolve(PAPER, row, {"scale": "tiny"}))
    params, key = program.state_shapes().params, jax.random.key(0)
    sums = jax.eval_shape(program.loss, params, program.task.batch_spec(), key)
    assert sums.total.shape == ()


def test_a_named_implementation_is_used_or_refused_without_output(tmp_path):
    losses, programs = {}, set()
    for name in ("gathered", "reference"):
        given = TINY | {"half_width": 2, "implementation": name}
        program = make_program(PAPER, resolve(PAPER, "local-m-dot", given))
        batch = program.task.batch_spec()
        words = jax.tree.map(lambda x: jax.numpy.full(x.shape, 7, x.dtype), batch)
        params, key = program.init(jax.random.key(0)), jax.random.key(1)
        lowered = jax.jit(program.loss).lower(params, words, key)
        losses[name] = float(lowered.compile()(params, words, key).total)
        programs.add(lowered.as_text())
    assert len(programs) == 2
    assert losses["gathered"] == pytest.approx(losses["reference"], rel=1e-5)
    with pytest.raises(NotImplementedError, match="gathered: the mask sets no bound"):
        run("dot", tmp_path, implementation="gathered")
    assert not list(tmp_path.iterdir())


def test_the_sizes_of_the_paper():
    dot = resolve(PAPER, "dot", {"scale": "paper"}).values()
    sizes = {"hidden": 1000, "num_layers": 4, "vocab_size": 50_000, "batch_size": 128}
    sizes |= {"optimizer": "sgd", "clip_norm": 5.0, "dropout": 0.2, "half_width": 10}
    assert {name: dot[name] for name in sizes} == sizes
    assert dot["num_steps"] == 12 * 4_500_000 // 128
    base = resolve(PAPER, "base", {"scale": "paper"}).values()
    assert base["num_steps"] == 10 * 4_500_000 // 128
    assert (base["halve_after"], base["halve_every"]) == (0.5, 0.1)


def test_every_ordering_agrees_with_the_bleu_of_the_paper():
    for above, below in tables.ORDERINGS:
        best, worst = (
            PAPER.rows[row].paper.get("bleu") or PAPER.rows[row].paper["replaced"]
            for row in (above, below)
        )
        assert best > worst, (above, below)
