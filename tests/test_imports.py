"""Import rules: types, trees < rng < attention < layers < models, the rest beside them."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
BESIDE = {"types", "trees", "rng", "attention"}
# Each part of the package, and the other parts it may import.
MAY_IMPORT = {
    "types": set(),
    "trees": set(),
    "rng": {"types"},
    "attention": {"types", "trees", "rng"},
    "layers": BESIDE,
    "models": BESIDE | {"layers"},
    "data": BESIDE,
    "training": BESIDE,
    "decoding": BESIDE,
    "evaluation": BESIDE,
    "viewing": BESIDE,
    "pretrained": BESIDE | {"layers", "models"},
}
# What the papers share: an experiment may import these, and no other experiment.
SHARED_EXPERIMENTS = {
    "budget",
    "cases",
    "conformance_tables",
    "encoder_decoder",
    "examination",
    "harness",
    "luong_tables",
    "pair_batches",
    "paper",
    "predictions",
    "probe",
    "reading",
    "reporting",
    "run_folder",
    "running",
    "scores",
    "tables",
    "image_tables",
    "transformer_tables",
    "translation",
}


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
def test_a_part_imports_only_what_stands_below_it(part):
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


def test_nothing_below_experiments_imports_them_or_flags():
    for path in (ROOT / "attn_research").rglob("*.py"):
        tops = {name.split(".")[0] for name in imported(path)}
        assert tops.isdisjoint({"experiments", "absl"}), path.relative_to(ROOT)


def test_experiments_import_no_other_experiment():
    for path in (ROOT / "experiments").glob("*.py"):  # benchmarks below it time the papers
        others = parts_after("experiments", imported(path)) - SHARED_EXPERIMENTS
        assert not others, f"{path.relative_to(ROOT)} imports experiments.{sorted(others)}"


def test_the_imports_of_a_file_are_found(tmp_path):
    source = "import a.b\ndef f():\n    from attn_research.models import gpt as g, vit\n"
    path = tmp_path / "sample.py"
    path.write_text(source)
    names = list(imported(path))
    assert names == ["a.b", "attn_research.models.gpt", "attn_research.models.vit"]
    assert parts_after("attn_research", names) == {"models"}
