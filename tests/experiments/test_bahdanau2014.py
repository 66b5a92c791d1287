"""The experiment at tiny scale through its flags, its table's verification, and its refusals."""

import json
import shutil
from pathlib import Path

import pytest

from experiments.bahdanau2014.paper import PAPER
from experiments.harness.paper import resolve
from experiments.harness.runner import run_row
from experiments.harness.verify import verify
from experiments.papers import find
from tests.experiments import programs

TINY = {"scale": "tiny", "num_steps": 4, "eval_every": 2, "save_every": 2, "train_pairs": 300}


def error_of(*arguments: str) -> str:
    """The one line a refused call leaves."""
    return programs.error_of("experiments.bahdanau2014", "--noprogress", *arguments)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A results folder with one row of the tiny experiment."""
    folder = tmp_path_factory.mktemp("paper") / "grammar-tiny"
    config = resolve(PAPER, "RNNsearch-50", TINY)
    run_row(
        PAPER, "RNNsearch-50", config,
        run_dir=folder / "run", results_dir=folder / "results", resume=False, progress=False,
    )  # fmt: skip
    PAPER.report(folder / "results", PAPER)
    return folder / "results"


def findings(folder: Path) -> dict[str, bool | None]:
    return {name.split("/")[-1]: holds for name, _, holds in verify(folder, find)}


def test_a_row_writes_verifiable_tables_and_pictures(finished):
    names = {path.name for path in finished.iterdir()}
    assert {"tables.md", "tables.json", "figure2.png", "figure3-RNNsearch-50.png"} <= names
    assert findings(finished) == {"RNNsearch-50.seed0": True, "tables.md": True}
    text = (finished / "tables.md").read_text()
    assert "(paper 26.75)" in text
    assert "python -m experiments.bahdanau2014 --row=RNNsearch-50 --scale=tiny" in text


@pytest.mark.parametrize("name", ["test.hypotheses.txt", "test.links.txt", "test.no_unk.txt"])
def test_an_edited_prediction_fails_the_verification(finished, tmp_path, name):
    copy = tmp_path / "paper" / "results"
    shutil.copytree(finished, copy)
    path = copy / "RNNsearch-50.seed0" / name
    text = path.read_text()
    path.write_text(text.replace("\n", " 0-0\n" if "links" in name else " mot\n", 1))
    assert False in findings(copy).values()


def test_an_edited_table_fails_the_verification(finished, tmp_path):
    copy = tmp_path / "paper" / "results"
    shutil.copytree(finished, copy)
    path = copy / "tables.md"
    path.write_text(path.read_text().replace("26.75", "16.75"))
    assert findings(copy)["tables.md"] is False


def test_a_finished_row_is_not_run_again(finished, caplog):
    config = resolve(PAPER, "RNNsearch-50", TINY)
    arguments = dict(
        run_dir=finished.parent / "run", results_dir=finished, resume=False, progress=False
    )
    before = (finished / "RNNsearch-50.seed0.json").stat().st_mtime_ns
    path = run_row(PAPER, "RNNsearch-50", config, **arguments)
    assert path.stat().st_mtime_ns == before
    other = config.replace(hidden=25)
    with pytest.raises(ValueError, match="another configuration"):
        run_row(PAPER, "RNNsearch-50", other, **arguments)


def test_describe_at_paper_scale_counts_the_weights_of_the_paper():
    words = ("--scale=paper", "--describe", "--json", "--table")
    lines = programs.call("experiments.bahdanau2014", *words).stdout.splitlines()
    weights = {about["row"]: about["weights"] for about in map(json.loads, lines)}
    assert weights == {
        "RNNencdec-30": 68_540_000, "RNNsearch-30": 80_401_000,
        "RNNencdec-50": 68_540_000, "RNNsearch-50": 80_401_000,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--row=RNNsearch-40"], ["RNNsearch-40", "did you mean RNNsearch-"]),
        (["--hidden=-3"], ["--hidden", "-3"]),
        (["--hiden=3"], ["hiden", "did you mean hidden?"]),
        (["--row=RNNsearch-50", "--implementation=gathered"], ["gathered: the mask sets no bound"]),
        (["--optimizer=adagrad"], ["--optimizer", "adagrad", "did you mean adam"]),
        (["--join=0", "--data=multi30k"], ["--join=0"]),
        (["--data=multi30k", "--data_dir=/nowhere"], ["/nowhere"]),
        (["--data=text"], ["--train"]),
        (["--data=huggingface"], ["--dataset"]),
        (["--languages=en-de"], ["en-de", "en-fr"]),
        (["--scale=tiny", "--run_dir=/dev/null/run"], ["/dev/null/run", "--run_dir"]),
        (["--row=RNNsearch-50", "--table"], ["--row=RNNsearch-50", "--table", "one of them"]),
        (["--json"], ["--json", "--describe"]),
        (["--score=dot", "--table"], ["--score=dot has no effect", "row RNNencdec-30 sets"]),
        (["--scale=tiny", "--annotation_dropout=2"], ["--annotation_dropout=2", "[0.0, 1.0]"]),
        (["--init_from=/nowhere", "--describe"], ["--init_from=/nowhere is no folder of a run"]),
        (["--init_from=/nowhere", "--run_dir=/nowhere/runs"], ["/nowhere is no folder of a run"]),
    ],
)
def test_bad_input_gives_a_one_line_error(arguments, parts):
    line = error_of(*arguments)
    assert all(part in line for part in parts), line


def test_text_files_of_unequal_length_give_a_one_line_error(tmp_path):
    for name, lines in {"a.en": 3, "a.fr": 2}.items():
        (tmp_path / name).write_text("un mot .\n" * lines)
    pair = f"{tmp_path}/a.en,{tmp_path}/a.fr"
    files = [f"--{split}={pair}" for split in ("train", "dev", "test")]
    line = error_of("--data=text", "--scale=tiny", f"--run_dir={tmp_path}/run", *files)
    assert "3 lines" in line and "2" in line


def test_a_nan_loss_gives_an_error_with_the_step(tmp_path):
    line = error_of(
        "--scale=tiny", "--train_pairs=300", "--learning_rate=1e38", "--schedule=constant",
        f"--run_dir={tmp_path}/run",
    )  # fmt: skip
    assert "the loss of step" in line and "--learning_rate" in line
