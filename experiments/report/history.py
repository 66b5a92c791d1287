"""The history of attention, for readers who are new to it: history.toml, held to what exists."""

import ast
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from attn_research.attention import Causal, Full, Mask
from attn_research.attention.patterns import big_bird, longformer

ROOT = Path(__file__).parents[2]
TEXT = Path(__file__).with_name("history.toml")
# The masks that stand for a picture, and the number of tokens that they are drawn for.
MASKS: Mapping[str, tuple[Mask, int]] = {
    "causal": (Causal(), 24),
    "full": (Full(), 24),
    "longformer": (longformer(5), 48),
    "bigbird": (big_bird(64, 1, block=4, random_blocks=1).of_head(0), 64),
}


class CodeLine(NamedTuple):
    """A line of this code: its file below the repository, its number, its name and itself."""

    path: str
    number: int
    symbol: str
    text: str


class Choice(NamedTuple):
    """Rows and columns of a committed table."""

    folder: str
    name: str
    rows: list[str]
    columns: list[str]


class Entry(NamedTuple):
    """A paper of the history."""

    name: str
    authors: str
    year: int
    title: str
    question: str
    text: str
    command: str
    code: list[CodeLine]
    equation: str = ""
    where: str = ""
    picture: str = ""
    mask: str = ""
    caption: str = ""
    table: Choice | None = None
    data: str = ""


class History(NamedTuple):
    """The introduction with its example, and the papers in order."""

    title: str
    text: str
    example: str
    output: str
    after: str
    papers: list[Entry]


def read_history(path: Path = TEXT) -> History:
    """The history; ValueError where it names code that is not there."""
    found = tomllib.loads(path.read_text("utf-8"))
    papers = [_entry(each) for each in found.pop("paper")]
    return History(**{name: text.strip() for name, text in found.items()}, papers=papers)


def _entry(found: dict[str, Any]) -> Entry:
    code = [find_line(*place) for place in found.pop("code")]
    table = found.pop("table", None)
    texts = {name: x.strip() if isinstance(x, str) else x for name, x in found.items()}
    return Entry(**texts, code=code, table=None if table is None else Choice(**table))


def find_line(path: str, symbol: str, part: str) -> CodeLine:
    """The line of a class, function or value in a file that has `part`; ValueError without one."""
    try:
        source = (ROOT / path).read_text("utf-8")
    except OSError:
        raise ValueError(f"history.toml: there is no file {path}") from None
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if symbol in _names(node):
            for number in range(node.lineno, node.end_lineno + 1):
                if part in lines[number - 1]:
                    return CodeLine(path, number, symbol, lines[number - 1].strip())
    raise ValueError(f"history.toml: {path} has no line {part!r} in {symbol}")


def _names(node: ast.AST) -> list[str]:
    """The names that a definition or an assignment gives."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return []


def mask_matrix(name: str) -> np.ndarray:
    """A mask of the history, written out: [T, T], true where a query may attend to a key."""
    mask, length = MASKS[name]
    return np.asarray(mask.dense(length, length)).reshape(-1, length, length)[0]
