"""Flags: paths, descriptions of all rows, and tables that name what flags changed."""

import json
import re
import shutil

import jax
import pytest

from experiments.__main__ import overview
from experiments.harness.flags import help_text
from experiments.harness.paper import RESULTS, trace
from experiments.harness.path_flags import expand
from experiments.harness.program import make_program
from experiments.papers import find, names
from tests.experiments.contributing import ROOT
from tests.experiments.programs import call


def test_a_home_stands_for_its_sign_in_every_path_of_a_flag(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert expand("~/runs") == "/home/me/runs" and expand("~") == "/home/me"
    assert expand("~/a.en,~/a.fr") == "/home/me/a.en,/home/me/a.fr"
    assert expand("runs/a~b,c") == "runs/a~b,c"
    with pytest.raises(ValueError, match="there is no home folder ~nobody-of-this-name"):
        expand("~nobody-of-this-name/runs")


def test_every_flag_that_says_folder_or_file_is_a_path():
    for paper in map(find, names()):
        for _, field in paper.config.fields():
            if field.type is str and re.search(
                r"\b(folder|files?)\b", field.metadata["help"], re.I
            ):
                assert field.metadata["path"], field.name
    for path in (ROOT / "experiments").rglob("*.py"):
        text = path.read_text()
        found = re.findall(
            r'DEFINE_string\(\s*"(\w+)"[^)]*?(?:[Ff]older|[Ff]ile|interpreter)', text
        )
        assert not found, f"{path.relative_to(ROOT)}: {found}"


@pytest.mark.parametrize(("scale", "data"), [("tiny", "digits"), ("tiny", "mnist"), ("paper", "")])
def test_every_row_of_images_fits_its_images(scale, data):
    paper = find("vit2020")
    given = {"scale": scale} | ({"data": data} if data else {})
    for row in paper.rows:
        params = make_program(paper, trace(paper, row, given).config).state_shapes().params
        if scale == "tiny":
            assert sum(leaf.size for leaf in jax.tree.leaves(params)) < 1_000_000, row


def test_all_rows_are_described_and_the_command_succeeds():
    done = call("experiments.vit2020", "--describe", "--json")
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["row"] for each in found] == list(find("vit2020").rows)
    assert not any("error" in each for each in found)


def test_every_paper_says_how_long_its_tiny_scale_takes():
    text = overview()
    for paper in map(find, names()):
        time = paper.scales["tiny"].time
        assert "CPU" in time and f"  --scale=tiny: {time}" in text
        assert f"Scale tiny: {time}." in help_text(paper, {"": trace(paper, paper.default_row, {})})


# A result of each paper, a value of its network, and what a table calls it then.
CHANGED = {
    "bahdanau2014/grammar-small": ("RNNsearch-50", "score", "RNNsearch-50, score=dot"),
    "luong2015/grammar-small": ("dot", "hidden", "global (dot), hidden=dot"),
    "vaswani2017/grammar-small": ("base", "score", "base, score=dot"),
    "vit2020/digits-small": ("small", "score", "small, score=dot"),
}


@pytest.mark.parametrize("place", CHANGED)
def test_a_table_names_what_flags_changed_and_has_no_figure_of_the_paper_there(place, tmp_path):
    row, name, title = CHANGED[place]
    folder = tmp_path / "results"
    folder.mkdir()
    for path in (RESULTS / place).glob(f"{row}.seed0*"):
        (shutil.copytree if path.is_dir() else shutil.copy)(path, folder / path.name)
    result = json.loads((folder / f"{row}.seed0.json").read_text())
    result |= {"label": f"{row}, {name}=dot", "command": f"{result['command']} --{name}=dot"}
    (folder / f"{row},{name}=dot.seed0.json").write_text(json.dumps(result))
    paper = find(place.partition("/")[0])
    paper.report(folder, paper)
    lines = (folder / "tables.md").read_text().splitlines()
    changed = [line for line in lines if line.startswith(f"| {title} ")]
    assert changed and not any("(paper " in line for line in changed)
    assert any(f"--{name}=dot`" in line for line in lines)
    plain = title.removesuffix(f", {name}=dot")
    assert len([line for line in lines if line.startswith(f"| {plain} ")]) == len(changed)
