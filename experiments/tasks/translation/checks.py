"""Checks of a config of translation, before its text is read."""

from pathlib import Path

from attn_research.data.download import find_data_dir
from experiments.tasks.translation.config import TextConfig
from experiments.tasks.translation.data import corpora


def check_text(config: TextConfig) -> None:
    """ValueError or FileNotFoundError for text that there is not."""
    corpora(config)
    if config.data in ("multi30k", "hansards", "treebank"):
        find_data_dir(config.data_dir or None)
    if config.data == "text":
        for split in ("train", "dev", "test"):
            for name in getattr(config, split).split(","):
                if not Path(name).is_file():
                    raise FileNotFoundError(f"--{split}: no such file: {name}")
