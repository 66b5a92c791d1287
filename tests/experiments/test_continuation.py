"""Continuation of runs: values that may change, refusals, and their time."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from attn_research.training.checkpoints import Checkpoints, digest
from experiments.harness.continuation import check_data
from experiments.harness.paper import Row, resolve
from experiments.harness.program import make_program
from experiments.harness.run_folder import load_run
from experiments.harness.runner import run_row
from experiments.harness.task import contents
from experiments.luong2015.paper import PAPER as LUONG
from experiments.tasks.image_classification import task as images
from experiments.tasks.translation import data
from experiments.vit2020.paper import PAPER as VIT
from tests.experiments.contributing import load_reversal

PAPER = load_reversal().PAPER
TASK = PAPER.task
TINY = {"scale": "tiny", "schedule": "constant"}


def run(folder, row="wide", *, paper=PAPER, resume=False, **given):
    given = TINY | given
    return run_row(
        paper, row, resolve(paper, row, given), given=given, run_dir=folder / "runs",
        results_dir=folder / "runs" / "results", resume=resume, progress=False,
    )  # fmt: skip


def state_of(folder, **given):
    """The newest state of a run of the row wide."""
    config = resolve(PAPER, "wide", TINY | given)
    like = make_program(PAPER, config).state_shapes()
    kept = Checkpoints(folder / "runs" / "wide.seed0" / "checkpoints", config.identity())
    found = kept.restore(like)
    kept.close()
    return found[0], digest(found[1])


def lines_of(folder):
    """What a run measured, but for how long it took."""
    text = (folder / "runs" / "wide.seed0" / "metrics.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    return [{k: v for k, v in line.items() if not k.endswith("_per_second")} for line in lines]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    run(folder)
    return folder


@pytest.fixture
def copy(finished, tmp_path):
    """A finished run of 4 steps."""
    shutil.copytree(finished / "runs", tmp_path / "runs")
    return tmp_path


def of_data(name):
    """The paper on a task that read data of this name."""

    @dataclasses.dataclass(frozen=True)
    class Named(TASK):
        @property
        def contents(self):
            return {"sha256": {"train": [name * 64]}, "classes": ["zero", name]}

    return dataclasses.replace(PAPER, task=Named)


# A5: the data of a run.


def test_a_run_does_not_go_on_with_other_data(tmp_path):
    run(tmp_path, paper=of_data("a"), num_steps=2)
    run(tmp_path, paper=of_data("a"), resume=True)
    message = r"sha256/train/0 aaaaaaaaaaaa… there, bbbbbbbbbbbb… here; classes/1 a there, b here"
    for given in ({}, {"num_steps": 6}):  # finished, and to be continued
        with pytest.raises(ValueError, match=message) as caught:
            run(tmp_path, paper=of_data("b"), resume=True, **given)
        assert "restore it, or start again with another --run_dir" in str(caught.value)
        assert "\n" not in str(caught.value)
    (tmp_path / "runs" / "results" / "wide.seed0.json").unlink()  # trained, not evaluated
    with pytest.raises(ValueError, match="classes/1 a there, b here"):
        run(tmp_path, paper=of_data("b"), resume=True)
    kept = load_run(tmp_path / "runs" / "wide.seed0", lambda name: of_data("b"))
    assert kept.config.train.num_steps == 4  # a model is used whatever the data is now


def test_an_ensemble_has_members_of_its_own_data(tmp_path):
    rows = {**PAPER.rows, "both": Row(members=("wide", "narrow"))}
    papers = [dataclasses.replace(of_data(name), rows=rows) for name in ("a", "b")]
    for row in ("wide", "narrow"):
        run(tmp_path, row, paper=papers[0])
    with pytest.raises(ValueError, match="classes/1 a there, b here"):
        run(tmp_path, "both", paper=papers[1])
    path = run(tmp_path, "both", paper=papers[0])
    assert run(tmp_path, "both", paper=papers[0]) == path  # finished


def test_a_finished_run_of_which_the_data_is_gone_stays_finished(copy):
    def absent(self):
        raise FileNotFoundError("no such file: data")

    gone = type("Gone", (TASK,), {"load": absent})
    before = (copy / "runs" / "results" / "wide.seed0.json").stat().st_mtime_ns
    path = run(copy, paper=dataclasses.replace(PAPER, task=gone))
    assert path.stat().st_mtime_ns == before


def test_a_renamed_class_is_other_data(tmp_path):
    rng = np.random.default_rng(0)
    for split, name in ((s, n) for s in ("train", "test") for n in ("cat", "dog")):
        folder = tmp_path / "images" / split / name
        folder.mkdir(parents=True)
        for i in range(8):
            pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
    given = {"scale": "tiny", "data": "folder", "image_dir": str(tmp_path / "images")}
    config = resolve(VIT, "small", given | {"image_size": 8, "num_classes": 2})
    before = contents(VIT.task(config).load())
    check_data(before, VIT.task(config).load(), config, tmp_path)
    for split in ("train", "test"):
        (tmp_path / "images" / split / "dog").rename(tmp_path / "images" / split / "ant")
    images._load.cache_clear()
    with pytest.raises(ValueError, match=r"--image_dir=.*classes/0 cat there, ant here"):
        check_data(before, VIT.task(config).load(), config, tmp_path)


def test_an_edited_text_is_other_data_also_where_its_records_are_kept(tmp_path):
    lines = ["un mot de plus .", "le chat dort ici .", "la souris court ."]
    pair = [tmp_path / "a.en", tmp_path / "a.fr"]
    for path in pair:
        path.write_text("\n".join(lines) + "\n")
    files = ",".join(map(str, pair))
    given = {"scale": "tiny", "data": "text", "train": files, "dev": files, "test": files}
    config = resolve(LUONG, "dot", given)
    with_records = config.replace(records=str(tmp_path / "records"))
    before = contents(LUONG.task(config).load())
    LUONG.task(with_records).load()
    data.pairs_of.cache_clear()
    data.load.cache_clear()
    pair[1].write_text("\n".join(reversed(lines)) + "\n")  # of the same vocabulary
    with pytest.raises(ValueError, match=r"--train=.*a.en,.*sha256/train/0 .*… there, .*… here"):
        check_data(before, LUONG.task(config).load(), config, tmp_path)
    with pytest.raises(ValueError, match="records holds pairs of another text"):
        LUONG.task(with_records).load()
    data.pairs_of.cache_clear()


# A8: checkpoints that are averaged.


def test_a_mean_of_more_checkpoints_than_there_will_be_is_refused_before_training(tmp_path):
    message = (
        r"--average=3: 4 steps with --save_every=2 leave 2 checkpoints: give --save_every=1 or "
        r"--average=2$"
    )
    with pytest.raises(ValueError, match=message):
        run(tmp_path, average=3)
    with pytest.raises(ValueError, match=r"give --num_steps=18 or --average=2$"):
        run(tmp_path, average=9)
    assert not list(tmp_path.iterdir())


def test_a_mean_has_no_untrained_checkpoint(tmp_path):
    run(tmp_path, average=2)
    folder = tmp_path / "runs" / "wide.seed0"
    params = load_run(folder, lambda name: PAPER).params
    config = resolve(PAPER, "wide", TINY | {"average": 2})
    like = make_program(PAPER, config).state_shapes()
    kept = Checkpoints(folder / "checkpoints", config.identity(), read_only=True)
    assert kept.steps() == [0, 2, 4]
    states = [kept._read(step, like, kept._about(step)["digest"]) for step in (2, 4)]
    expected = jax.tree.map(lambda a, b: (a + b) / 2, *(state.params for state in states))
    jax.tree.map(np.testing.assert_array_equal, params, expected)
    shutil.rmtree(folder / "checkpoints" / "4")  # as if it was interrupted after step 2
    best = load_run(folder, lambda name: PAPER).params
    changed = jax.tree.map(lambda a, b: not np.array_equal(a, b), best, params)
    assert any(jax.tree.leaves(changed))
    kept.close()


# D10: the flags of a run, and its length.


def test_changed_flags_are_named_with_both_values_and_a_way_out(copy):
    for resume in (False, True):
        with pytest.raises(ValueError) as caught:
            run(copy, resume=resume, learning_rate=0.5, batch_size=8)
        text = str(caught.value)
        assert "batch_size=32 there, 8 here, learning_rate=0.02 there, 0.5 here" in text
        assert "another --run_dir for these" in text and "\n" not in text
    result = copy / "runs" / "results" / "wide.seed0.json"
    result.unlink()
    with pytest.raises(ValueError, match=r"other flags \(learning_rate=0.02 there, 0.5 here\)"):
        run(copy, resume=True, learning_rate=0.5)
    with pytest.raises(ValueError, match=r"num_steps=4 there, 2 here"):
        run(copy, resume=True, num_steps=2)


def test_more_steps_continue_a_finished_run_to_where_a_straight_one_ends(copy, tmp_path_factory):
    with pytest.raises(ValueError, match=r"num_steps=4 there, 8 here\): --resume continues"):
        run(copy, num_steps=8)
    result = json.loads(run(copy, resume=True, num_steps=8).read_text())
    straight = tmp_path_factory.mktemp("straight")
    expected = json.loads(run(straight, num_steps=8).read_text())
    assert state_of(copy, num_steps=8) == state_of(straight, num_steps=8)
    found, wanted = (sorted(map(json.dumps, lines_of(each))) for each in (copy, straight))
    assert found == wanted
    for name in ("updates", "scores", "dev_loss", "train_loss", "best_step", "config", "command"):
        assert result[name] == expected[name]
    assert "planned_steps" not in result  # a constant rate was planned for no length


def test_a_rate_planned_for_fewer_steps_is_told(tmp_path):
    for steps in (4, 6, 8):
        path = run(tmp_path, resume=True, num_steps=steps, schedule="cosine", warmup_steps=1)
    assert json.loads(path.read_text())["planned_steps"] == [4, 6]
    PAPER.report(path.parent, PAPER)
    assert (
        "begun with learning rates planned for 4, then 6 steps"
        in (path.parent / "tables.md").read_text()
    )


def test_the_end_of_a_shorter_run_leaves_no_checkpoint_behind(tmp_path):
    run(tmp_path, num_steps=3)
    run(tmp_path, resume=True, num_steps=6)
    folder = tmp_path / "runs" / "wide.seed0" / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == ["2", "4", "6"]


# B: evaluation again.


def test_evaluation_that_failed_is_done_again_without_training(tmp_path):
    calls = []

    class Fails(TASK):
        def predict(self, networks, params, folder):
            super().predict(networks, params, folder)
            raise OSError("no space left")

    class Counts(TASK):
        def train_batches(self, start, rows):
            calls.append(start)
            yield from ()

    with pytest.raises(OSError, match="no space left"):
        run(tmp_path, paper=dataclasses.replace(PAPER, task=Fails))
    assert not (tmp_path / "runs" / "results" / "wide.seed0.json").exists()
    counting = dataclasses.replace(PAPER, task=Counts)
    with pytest.raises(ValueError, match="holds a run of 4 steps: --resume continues it"):
        run(tmp_path, paper=counting)
    result = json.loads(run(tmp_path, paper=counting, resume=True).read_text())
    assert calls == [] and result["updates"] == 4


def test_a_damaged_result_and_description_are_written_anew(copy):
    path = copy / "runs" / "results" / "wide.seed0.json"
    path.write_text('{"config":')
    (copy / "runs" / "wide.seed0" / "run.json").write_text("")
    begun = [copy / "runs" / "wide.seed0" / ".run.json.123", path.with_name(f".{path.name}.45")]
    for each in begun:
        each.touch()
    with pytest.raises(ValueError, match=r"wide.seed0.json is damaged .* --resume evaluates again"):
        run(copy)
    assert json.loads(run(copy, resume=True).read_text())["updates"] == 4
    about = json.loads((copy / "runs" / "wide.seed0" / "run.json").read_text())
    assert about["row"] == "wide" and about["config"]["num_steps"] == 4
    assert not any(each.exists() for each in begun)
