"""Folders of published checkpoints: one call that reads a network, and one that writes it."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import linen as nn

from attn_research.data.files import user_path, write_whole
from attn_research.pretrained.checkpoint import CONFIG, WEIGHTS, Checkpoint, read_checkpoint
from attn_research.pretrained.families import (
    Pretrained,
    from_checkpoint,
    network_of,
    to_checkpoint,
)
from attn_research.pretrained.family import difference
from attn_research.pretrained.formats.safetensors import write_safetensors
from attn_research.types import PyTree

MODEL = "model.safetensors"


def load(
    folder: str | Path, *, ignore: Collection[str] = (), dtype: Any = np.float32
) -> Pretrained:
    """The network and parameters in a folder, or in a GGUF file.

    Errors and options are those of `read_checkpoint` and `from_checkpoint`.
    """
    return from_checkpoint(read_checkpoint(folder), ignore=ignore, dtype=dtype)


def save(
    folder: str | Path,
    network: nn.Module,
    params: PyTree,
    *,
    fields: Mapping[str, Any] | None = None,
) -> None:
    """Writes config.json and model.safetensors, which the original library loads.

    `fields` are further ones of the config, such as special tokens. The folder is made if it is not
    there. ValueError for a network that no format can express, for fields that would be read as
    another network, and for a folder that has weights in another file; OSError where a file cannot
    be written.
    """
    folder = user_path(folder)
    checkpoint = to_checkpoint(network, params)
    config = checkpoint.config | dict(fields or {})
    changed = difference(network, network_of(Checkpoint(config, checkpoint.tensors)))
    if changed is not None:
        raise ValueError(f"fields {', '.join(fields or {})} change {changed} of the network")
    others = [name for name in WEIGHTS if name != MODEL and (folder / name).exists()]
    if others:
        raise ValueError(f"{folder} has weights in {others[0]}: name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(folder / MODEL, checkpoint.tensors, {"format": "pt"})
    text = json.dumps(config, indent=2, sort_keys=True)
    write_whole(folder / CONFIG, f"{text}\n".encode())
