"""Import rules by folder: types < trees, rng, loops < derivatives < attention < all others.

Of the others layers imports decoding, models imports both, pretrained these three and data, and
viewing imports evaluation. In experiments/ papers import tasks and the harness, tasks import
harness.task and harness.config, and the harness imports neither.
"""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
BESIDE = {"types", "trees", "rng", "loops", "derivatives", "attention"}
# Each part of the package, and the other parts it may import.
MAY_IMPORT = {
    "types": set(),
    "trees": {"types"},
    "rng": {"types"},
    "loops": {"types"},
    "derivatives": {"types", "loops"},
    "attention": BESIDE,
    "layers": BESIDE | {"decoding"},
    "models": BESIDE | {"decoding", "layers"},
    "data": BESIDE,
    "training": BESIDE,
    "decoding": BESIDE,
    "evaluation": BESIDE,
    "viewing": BESIDE | {"evaluation"},
    "pretrained": BESIDE | {"decoding", "layers", "models", "data"},
}
# Each folder of experiments/ that is not a paper, and the parts of experiments/ it may import.
EXPERIMENTS_MAY_IMPORT = {
    "harness": {"harness"},
    # Tables that several papers of a task have.
    "tasks": {"tasks", "harness.task", "harness.config", "harness.paper", "harness.results"},
    "conformance": {"conformance", "harness.results", "harness.path_flags"},
    "published": {
        "published",
        "harness.task",
        "harness.machine",
        "harness.path_flags",
        "harness.results",
    },
    "report": {"report", "harness", "papers"},
}
# And command lines beside them.
FLAGS_ARE_READ_BY = {
    "harness", "benchmarks", "conformance", "robustness", "published", "explore", "report"
}  # fmt: skip


def modules_in(folder):
    return sorted(p for p in (ROOT / folder).rglob("*.py") if p.name != "__init__.py")


def imported(path):
    """The dotted names a file imports anywhere in it, each member of a package by its own name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def parts_after(package, names):
    return {name.split(".")[1] for name in names if name.startswith(f"{package}.")}


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_a_part_imports_only_allowed_parts(part):
    allowed = MAY_IMPORT[part] | {part}
    files = modules_in(f"attn_research/{part}") or [ROOT / f"attn_research/{part}.py"]
    for path in filter(pathlib.Path.exists, files):
        others = parts_after("attn_research", imported(path)) - allowed
        assert not others, f"{path.relative_to(ROOT)} imports attn_research.{sorted(others)}"


def test_every_part_has_a_rule():
    children = (ROOT / "attn_research").iterdir()
    parts = {path.stem for path in children if path.suffix == ".py" or path.is_dir()}
    assert parts - {"__init__", "__pycache__"} <= set(MAY_IMPORT)


def test_no_model_imports_another():
    for path in modules_in("attn_research/models"):
        others = {n for n in imported(path) if n.startswith("attn_research.models")}
        assert not others, f"{path.relative_to(ROOT)} imports {sorted(others)}"


def test_data_imports_no_jax():
    """Worker processes import the package's data folder without JAX."""
    for path in modules_in("attn_research/data"):
        names = list(imported(path))
        assert "jax" not in {name.split(".")[0] for name in names}, path.relative_to(ROOT)
        assert parts_after("attn_research", names) <= {"data"}, path.relative_to(ROOT)


def test_formats_of_weights_know_no_model_and_no_jax():
    """They read files, of which nothing runs and nothing is placed on a device."""
    for path in modules_in("attn_research/pretrained/formats"):
        names = list(imported(path))
        assert "jax" not in {name.split(".")[0] for name in names}, path.relative_to(ROOT)
        own = {name for name in names if name.startswith("attn_research.")}
        allowed = ("data.files", "pretrained.formats", "pretrained.tensors")
        others = {n for n in own if not n.startswith(tuple(f"attn_research.{a}" for a in allowed))}
        assert not others, f"{path.relative_to(ROOT)} imports {sorted(others)}"


def test_the_package_imports_neither_experiments_nor_absl():
    for path in (ROOT / "attn_research").rglob("*.py"):
        tops = {name.split(".")[0] for name in imported(path)}
        assert tops.isdisjoint({"experiments", "absl"}), path.relative_to(ROOT)


def papers():
    return sorted(
        path.parent.name
        for path in (ROOT / "experiments").glob("*/paper.py")
        if path.parent.name != "harness"
    )


def imports_of_experiments(path):
    """What a file imports of experiments/, by the dotted names after it."""
    return {n.removeprefix("experiments.") for n in imported(path) if n.startswith("experiments.")}


@pytest.mark.parametrize("folder", EXPERIMENTS_MAY_IMPORT)
def test_a_folder_of_experiments_imports_only_allowed_parts(folder):
    allowed = EXPERIMENTS_MAY_IMPORT[folder]
    for path in modules_in(f"experiments/{folder}"):
        for name in imports_of_experiments(path):
            below = any(name == one or name.startswith(f"{one}.") for one in allowed)
            assert below, f"{path.relative_to(ROOT)} imports experiments.{name}"


def test_no_task_imports_another():
    """Files beside the folders of tasks are for all of them, and import none."""
    folder = ROOT / "experiments" / "tasks"
    shared = {path.stem for path in folder.glob("*.py")}
    for path in folder.rglob("*.py"):
        task = path.relative_to(folder).parts[0]
        names = {n.split(".")[1] for n in imports_of_experiments(path) if n.startswith("tasks.")}
        others = names - shared - {task}
        assert not others, f"{path.relative_to(ROOT)} imports {sorted(others)}"


@pytest.mark.parametrize("paper", papers())
def test_a_paper_imports_only_tasks_and_the_harness(paper):
    for path in modules_in(f"experiments/{paper}"):
        others = {n.split(".")[0] for n in imports_of_experiments(path)}
        others -= {paper, "tasks", "harness"}
        allowed = {"papers"} if path.name == "__main__.py" else set()
        assert others <= allowed, f"{path.relative_to(ROOT)} imports {sorted(others)}"


def test_every_paper_has_the_same_files():
    for paper in papers():
        names = {path.name for path in (ROOT / "experiments" / paper).iterdir()}
        assert {"__main__.py", "paper.py", "tables.py", "README.md"} <= names, paper
        lines = (ROOT / "experiments" / paper / "paper.py").read_text().count("\n")
        assert lines <= 150, f"{paper}/paper.py has {lines} lines"


def test_files_have_at_most_300_lines():
    for folder in ("attn_research", "experiments", "tests"):
        scripts = (path for kind in ("js", "css") for path in (ROOT / folder).rglob(f"*.{kind}"))
        for path in (*modules_in(folder), *scripts):
            lines = path.read_text().count("\n")
            assert lines <= 300, f"{path.relative_to(ROOT)} has {lines} lines"


def test_neither_papers_nor_tasks_read_flags():
    for path in (ROOT / "experiments").glob("*/**/*.py"):
        if path.relative_to(ROOT / "experiments").parts[0] not in FLAGS_ARE_READ_BY:
            assert not any(name.startswith("absl") for name in imported(path)), path


def test_the_imports_of_a_file_are_found(tmp_path):
    source = "import a.b\ndef f():\n    from attn_research.models import gpt as g, vit\n"
    path = tmp_path / "sample.py"
    path.write_text(source)
    names = list(imported(path))
    assert names == ["a.b", "attn_research.models.gpt", "attn_research.models.vit"]
    assert parts_after("attn_research", names) == {"models"}
