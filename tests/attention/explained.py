"""Single rows of `explain`."""

from typing import Any

from attn_research.attention import explain
from attn_research.attention.api import Verdict


def verdict(name: str, *arrays: Any, **options: Any) -> Verdict:
    """The row of one implementation."""
    return next(row for row in explain(*arrays, **options) if row.name == name)


def chosen(*arrays: Any, **options: Any) -> Verdict:
    """The row of the implementation that a call takes."""
    return next(row for row in explain(*arrays, **options) if row.verdict == "chosen")
