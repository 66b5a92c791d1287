"""Weights in several files, with an index that says which tensor is in which file."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from attn_research.data.files import read_json_object
from attn_research.pretrained.tensors import StoredTensor

_NAME = re.compile(r"\w[\w.-]{0,199}")
Reader = Callable[[Path], Mapping[str, StoredTensor]]


def read_shards(index: Path, read: Reader) -> dict[str, StoredTensor]:
    """The tensors of an index such as model.safetensors.index.json, in the order of its map.

    `read` gives the tensors of one file. The files stand beside the index. A FileNotFoundError
    names a file that is missing; a ValueError a tensor that its file lacks or the index does not
    name.
    """
    places = read_json_object(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(file, str) for file in places.values()):
        raise ValueError(f"{index}: no weight_map from names of tensors to names of files")
    shards: dict[str, Mapping[str, StoredTensor]] = {}
    for file in sorted(set(places.values())):
        path = index.parent / file
        if not _NAME.fullmatch(file) or path == index:
            raise ValueError(f"{index}: {file[:80]!r} is no name of a file beside it")
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing, which {index.name} names: download it too")
        shards[file] = read(path)
        if unnamed := [name for name in shards[file] if places.get(name) != file]:
            raise ValueError(f"{path}: holds {unnamed[0]!r}, which {index.name} does not say")
    for name, file in places.items():
        if name not in shards[file]:
            raise ValueError(f"{index.parent / file}: lacks {name!r}, which {index.name} names")
    return {name: shards[file][name] for name, file in places.items()}
