"""Published checkpoints: a config and tensors by name, whatever container they come in."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from attn_research.data.files import read_json_object, user_path
from attn_research.pretrained.formats import gguf
from attn_research.pretrained.formats.ctranslate2 import read_ctranslate2
from attn_research.pretrained.formats.gguf import read_gguf
from attn_research.pretrained.formats.safetensors import read_safetensors
from attn_research.pretrained.formats.shards import read_shards
from attn_research.pretrained.formats.torch import read_torch
from attn_research.pretrained.tensors import Tensors

Container = Literal["safetensors", "torch", "gguf", "ctranslate2"]

CONFIG = "config.json"
_LFS = b"version https://git-lfs"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A published model: what it says of itself, its tensors, and where it was read, if it was.

    `config` is the object of config.json, or the metadata of a GGUF file, its tokenizer among them;
    to that of CTranslate2 the keys "ctranslate2.spec" and "ctranslate2.revision" are added. The
    names of tensors are those of the container, which families map to their parameters.
    """

    config: dict[str, Any]
    tensors: Mapping[str, Any]  # NumPy arrays; those of a file are read when they are asked for
    where: Path | None = None
    container: Container = "safetensors"

    def architectures(self) -> tuple[str, ...]:
        """The names that the checkpoint gives to its architecture, the family first.

        Of config.json `model_type` ("bert") and the classes of `architectures` ("BertForMaskedLM"),
        of which old ones have either; of GGUF `general.architecture` ("llama"); of CTranslate2 the
        specification ("WhisperSpec"). A ValueError where there is none.
        """
        keys = {"gguf": ("general.architecture",), "ctranslate2": ("ctranslate2.spec",)}
        fields = keys.get(self.container, ("model_type", "architectures"))
        found: list[str] = []
        for field in fields:
            value = self.config.get(field)
            values = value if isinstance(value, list) else [] if value is None else [value]
            if not all(isinstance(name, str) for name in values):
                raise ValueError(f"{self.where}: {field} of the config is no name: {value!r:.80}")
            found += values
        if not found:
            raise ValueError(
                f"{self.where}: the config names no architecture: {' or '.join(fields)}"
            )
        return tuple(found)


def read_checkpoint(path: str | Path) -> Checkpoint:
    """The checkpoint in a folder, or in a GGUF file.

    A folder has a config.json and its weights in one of the files of WEIGHTS, of which the first
    counts, or one GGUF file. No tensor is read yet. Raises FileNotFoundError or NotADirectoryError
    with what was looked for, or a ValueError that names the file.
    """
    path = user_path(path)
    if path.is_file():
        return _read_file(path)
    if not path.is_dir():
        raise FileNotFoundError(f"no such folder or GGUF file: {path}")
    for name, (container, read) in WEIGHTS.items():
        if (path / name).is_file():
            return _read_folder(path, path / name, container, read)
    match sorted(path.glob("*.gguf")):
        case [file]:
            return _read_file(file)
        case []:
            raise FileNotFoundError(
                f"no weights in {path}: looked for {', '.join(WEIGHTS)} and a GGUF file"
            )
        case files:
            names = ", ".join(file.name for file in files)
            raise ValueError(f"{path} holds several models, name the file of one: {names}")


def _read_file(path: Path) -> Checkpoint:
    _check_whole(path)
    with path.open("rb") as file:
        if file.read(len(gguf.MAGIC)) != gguf.MAGIC:
            raise NotADirectoryError(
                f"{path} is a file, and no GGUF file: name its folder, with {CONFIG} and weights"
            )
    metadata, tensors = read_gguf(path)
    return Checkpoint(metadata, Tensors(tensors, path), path, "gguf")


def _read_folder(folder: Path, weights: Path, container: Container, read: Callable) -> Checkpoint:
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(
            f"{folder} has {weights.name} and no {CONFIG}, which says what model it is: "
            "download it too"
        )
    config = read_json_object(folder / CONFIG)
    _check_whole(weights)
    tensors, about = read(weights)
    return Checkpoint(config | about, Tensors(tensors, weights), folder, container)


def _check_whole(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(len(_LFS)) == _LFS:
            raise ValueError(f"{path} stands for a file that Git LFS has: run git lfs pull there")


def _read_model_bin(path: Path) -> tuple[dict, dict]:
    found = read_ctranslate2(path)
    about = {"ctranslate2.spec": found.spec, "ctranslate2.revision": found.revision}
    return found.tensors, about


# The file names of weights in a folder, and for each the reader of its tensors, with what it adds
# to the config.
WEIGHTS: dict[str, tuple[Container, Callable]] = {
    "model.safetensors": ("safetensors", lambda path: (read_safetensors(path), {})),
    "model.safetensors.index.json": (
        "safetensors", lambda path: (read_shards(path, read_safetensors), {}),
    ),
    "pytorch_model.bin": ("torch", lambda path: (read_torch(path), {})),
    "pytorch_model.bin.index.json": ("torch", lambda path: (read_shards(path, read_torch), {})),
    "model.bin": ("ctranslate2", _read_model_bin),
}  # fmt: skip
