"""JSON files that hold one object."""

import json
from pathlib import Path
from typing import Any

from attn_research.data.files import one_line

MAX_JSON = 1 << 24  # bytes; the index of 100,000 tensors has fewer


def read_json_object(path: Path) -> dict[str, Any]:
    """The object of a JSON file; a ValueError names a file that holds something else."""
    size = path.stat().st_size
    if size > MAX_JSON:
        raise ValueError(f"{path}: {size:,} bytes, more than any JSON file of a checkpoint has")
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({one_line(error)})") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path}: holds a JSON {type(value).__name__}, not an object")
    return value
