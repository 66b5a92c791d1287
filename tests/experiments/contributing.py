"""The examples of CONTRIBUTING.md, as modules and as edits of files."""

import re
import sys
import types
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Block(NamedTuple):
    """A fenced block under a heading, and the file that its first line names."""

    heading: str
    kind: str
    path: str
    text: str


def blocks() -> list[Block]:
    """Every block that names a file, in order."""
    found, text = [], (ROOT / "CONTRIBUTING.md").read_text()
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        heading = section.splitlines()[0]
        for kind, path, body in re.findall(r"```(\w+)\n# (\S+\.py)\n(.*?)```", section, re.DOTALL):
            found.append(Block(heading, kind, path, body))
    return found


def commands(heading: str) -> list[str]:
    """The commands under a heading."""
    text = (ROOT / "CONTRIBUTING.md").read_text().partition(f"\n## {heading}\n")[2]
    return re.findall(r"^python -m .*", text.partition("\n## ")[0], re.MULTILINE)


def apply(block: Block, root: Path) -> None:
    """Writes a new file, or changes one by lines to keep, to leave out (-) and to add (+)."""
    path = root / block.path
    if block.kind == "python":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)
        return
    text, lines = path.read_text(), block.text.splitlines()
    for hunk in _hunks(text, lines):
        before = "\n".join(line[1:] for line in hunk if line[:1] != "+")
        after = "\n".join(line[1:] for line in hunk if line[:1] != "-")
        assert text.count(before) == 1, f"{block.path} has not one place with\n{before}"
        text = text.replace(before, after)
    path.write_text(text)


def _hunks(text: str, lines: list[str]) -> list[list[str]]:
    """The changes of one block: a new one begins where the kept lines do not follow in the file."""
    hunks: list[list[str]] = [[]]
    for line in lines:
        kept = [one[1:] for one in (*hunks[-1], line) if one[:1] != "+"]
        if kept and "\n".join(kept) not in text:
            hunks.append([])
        hunks[-1].append(line)
    return hunks


def load_reversal() -> types.ModuleType:
    """The module of the paper of the text, with its task, in this process."""
    package = types.ModuleType("experiments.reversal2026")
    package.__path__ = []
    sys.modules["experiments.reversal2026"] = package
    order = ["experiments/tasks/reversal.py", "experiments/reversal2026/tables.py"]
    order.append("experiments/reversal2026/paper.py")
    by_path = {block.path: block for block in blocks()}
    for path in order:
        name = path.removesuffix(".py").replace("/", ".")
        module = types.ModuleType(name)
        sys.modules[name] = module
        exec(compile(by_path[path].text, path, "exec"), module.__dict__)
        if name.startswith("experiments.reversal2026."):
            setattr(package, name.rpartition(".")[2], module)
    return module
