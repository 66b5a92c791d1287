"""The README: its Python blocks, its links, and the names of its table of equations."""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_python_blocks_run_in_order(tmp_path):
    code = "\n".join(re.findall(r"```python\n(.*?)```", README, re.DOTALL))
    code += "\nassert outputs.shape == inputs.shape"
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("(2, 5, 4, 8) (2, 4, 5, 5)\n") and "chosen" in done.stdout


def test_relative_links_point_to_existing_files():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "experiments").rglob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.relative_to(ROOT)}: {target}"


def test_the_files_and_names_of_the_equations_exist():
    rows = README.partition("| paper | equation | code, under `attn_research/` |")[2].partition("\n\n")[0].splitlines()[2:]
    assert len(rows) > 10
    for row in rows:
        words = re.findall(r"`([^`]+)`", row.rpartition(" | ")[2] or row)
        place = None
        for word in words:
            if "/" in word:
                place = ROOT / "attn_research" / word
                assert place.exists(), word
            else:
                name = word.split(".")[-1]
                assert re.search(rf"(def|class) {name}\b|^{name}\b", place.read_text(), re.M), word
