"""The 2015 experiment: its rows at tiny scale, an ensemble of them, and the paper's own sizes."""

import json
import shutil

import jax
import pytest

from experiments import luong2015, luong_tables, paper, running, tables

TINY = {
    "scale": "tiny", "num_steps": 2, "eval_every": 2, "save_every": 2, "train_pairs": 300,
    "batch_size": 8, "max_words": 12, "num_layers": 1, "soft_links": True,
}  # fmt: skip
MEMBERS = ("dot", "local-p-general")


def run(row, folder, **changes):
    config = paper.resolve(luong2015.PAPER, row, TINY | changes)
    return running.run_row(
        luong2015.PAPER, row, config, given=TINY | changes,
        run_dir=folder / "run", results_dir=folder / "results", resume=False, progress=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Results of two rows and of their ensemble."""
    folder = tmp_path_factory.mktemp("paper") / "grammar-tiny"
    row = luong2015.ROWS["ensemble"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(luong2015.ROWS, "ensemble", paper.Row(row.config, row.paper, MEMBERS))
        for name in (*MEMBERS, "ensemble"):
            run(name, folder)
    luong2015.report(folder / "results")
    return folder / "results"


def test_rows_and_their_ensemble_leave_tables_and_pictures_that_verify(finished):
    names = {path.name for path in finished.iterdir()}
    assert {"tables.md", "figure5.png", "figure6.png", "figure7-dot.png"} <= names
    verified = {name.split("/")[-1]: holds for name, _, holds in tables.verify(finished, "")}
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


def test_an_ensemble_of_untrained_rows_names_the_one_that_is_missing(tmp_path):
    with pytest.raises(ValueError, match="--row=ensemble needs the trained row location in"):
        run("ensemble", tmp_path)


def test_an_edited_replacement_fails_the_verification(finished, tmp_path):
    copy = tmp_path / "paper" / "results"
    shutil.copytree(finished, copy)
    path = copy / "dot.seed0" / "test.replaced.txt"
    path.write_text(path.read_text().replace("\n", " mot\n", 1))
    assert False in [holds for _, _, holds in tables.verify(copy, "")]


@pytest.mark.parametrize("row", luong2015.ROWS)
def test_every_row_names_a_network_that_takes_shapes(row):
    config = paper.resolve(luong2015.PAPER, row, {"scale": "tiny"})
    model = luong2015.make_model(config)
    params = jax.eval_shape(model.init, jax.random.key(0))
    sums = jax.eval_shape(model.loss, params, model.batch, jax.random.key(0))
    assert sums.total.shape == ()


def test_a_named_implementation_computes_the_looks_or_leaves_nothing_behind(tmp_path):
    losses, programs = {}, set()
    for name in ("gathered", "reference"):
        given = TINY | {"half_width": 2, "implementation": name}
        model = luong2015.make_model(paper.resolve(luong2015.PAPER, "local-m-dot", given))
        words = jax.tree.map(lambda x: jax.numpy.full(x.shape, 7, x.dtype), model.batch)
        params, key = model.init(jax.random.key(0)), jax.random.key(1)
        program = jax.jit(model.loss).lower(params, words, key)
        losses[name] = float(program.compile()(params, words, key).total)
        programs.add(program.as_text())
    assert len(programs) == 2
    assert losses["gathered"] == pytest.approx(losses["reference"], rel=1e-5)
    with pytest.raises(NotImplementedError, match="gathered: the mask sets no bound"):
        run("dot", tmp_path, implementation="gathered")
    assert not list(tmp_path.iterdir())


def test_the_sizes_of_the_paper():
    resolve = paper.resolve
    dot = resolve(luong2015.PAPER, "dot", {"scale": "paper"})
    assert (dot.hidden, dot.num_layers, dot.vocab_size, dot.batch_size) == (1000, 4, 50_000, 128)
    assert (dot.optimizer, dot.clip_norm, dot.dropout, dot.half_width) == ("sgd", 5.0, 0.2, 10)
    assert dot.num_steps == 12 * 4_500_000 // 128
    base = resolve(luong2015.PAPER, "base", {"scale": "paper"})
    assert base.num_steps == 10 * 4_500_000 // 128
    assert (base.halve_after, base.halve_every) == (0.5, 0.1)


def test_every_ordering_names_rows_of_which_the_paper_gives_the_bleu():
    for above, below in luong_tables.ORDERINGS:
        best, worst = (
            luong2015.ROWS[row].paper.get("bleu") or luong2015.ROWS[row].paper["replaced"]
            for row in (above, below)
        )
        assert best > worst, (above, below)
