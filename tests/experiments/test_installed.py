"""The experiments as an installed package, away from the repository."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.experiments.contributing import ROOT


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder that holds what the wheel installs."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("attn_research", "experiments"):
        ignored = shutil.ignore_patterns("results", "__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    (source / "experiments" / "results").mkdir()
    (source / "experiments" / "results" / "large.json").write_text("{}")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", str(folder)]
    done = subprocess.run([*command, str(source)], capture_output=True, text=True)
    if "No matching distribution" in done.stderr:
        pytest.skip("the packages that build a wheel cannot be had here")
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def call(installed, cwd, *words, code=0):
    """What a command says, with the installed package and a home of its own."""
    path = os.pathsep.join([str(installed), *(p for p in sys.path if str(ROOT) not in p)])
    environ = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_PLATFORMS")}
    environ |= {"PYTHONPATH": path, "XDG_CACHE_HOME": f"{cwd}/cache", "HOME": f"{cwd}/home"}
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environ, capture_output=True, text=True
    )
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def test_the_wheel_has_the_experiments_and_their_data_but_no_results(installed):
    assert (installed / "experiments" / "bahdanau2014" / "figure2.json").is_file()
    assert (installed / "attn_research" / "py.typed").is_file()
    assert (installed / "attn_research" / "viewing" / "page" / "page.html").is_file()
    assert not (installed / "experiments" / "results").exists()
    modules = {path.relative_to(ROOT) for path in (ROOT / "experiments").rglob("*.py")}
    assert all((installed / path).is_file() for path in modules)


def test_papers_run_in_any_folder_and_programs_are_cached_in_the_users(installed, tmp_path):
    where = "import experiments; print(experiments.__file__)"
    assert str(installed) in call(installed, tmp_path, "-c", where)
    words = ["--scale=tiny", "--num_steps=2", "--eval_every=2", "--noprogress", "--pooling=mean"]
    words += ["--run_dir=~/runs"]
    found = call(installed, tmp_path, "-m", "experiments.vit2020", *words)
    assert "| small, pooling=mean " in found
    assert (tmp_path / "home" / "runs" / "small,pooling=mean.seed0" / "run.json").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"home", "cache"}  # nothing called ~
    assert len(list((tmp_path / "cache" / "attn_research" / "compiled").iterdir())) == 1
    error = call(installed, tmp_path, "-m", "experiments.tables", code=1)
    assert "the installed package leaves the committed ones out" in error
