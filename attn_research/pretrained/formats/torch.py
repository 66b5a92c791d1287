"""PyTorch's files of tensors, read without unpickling (pytorch_model.bin).

torch.save writes a zip archive: a pickle, data.pkl, that describes tensors as views of storages,
and a member for each storage. Before version 1.6 it wrote five pickles one after the other, and
then the storages. Both are read; the pickles are interpreted as data (`pickles`).
"""

import io
import zipfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from attn_research.data.files import one_line
from attn_research.pretrained.formats.binary import DAMAGED, BinaryReader, load_array
from attn_research.pretrained.formats.pickles import PickleMachine, Unpicklable
from attn_research.pretrained.formats.torch_views import (
    KNOWN,
    Storage,
    check_view,
    storage_of,
    take_view,
)
from attn_research.pretrained.tensors import StoredTensor

MAX_PICKLE = 1 << 22  # bytes, which describe 20,000 tensors; a byte of it may take 64 of memory

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001  # the first two pickles of older files
_ORDERS = {b"little": "<", b"big": ">"}

Storages = dict[str, Storage]
Load = Callable[[Storage], Shaped[np.ndarray, "values"]]


def read_torch(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a file that torch.save wrote of a dict from names to tensors.

    Views of one storage share it; equal views are one tensor. A ValueError names a pickled object
    other than a tensor: it is not made, and no code runs for it.
    """
    with path.open("rb") as file:
        start = file.read(len(_ZIP))
    if start == _ZIP:
        return _read_zip(path)
    if start.startswith(_PICKLE):
        return _read_pickles(path)
    raise ValueError(f"{path}: neither a zip archive nor a pickle, as PyTorch writes: {DAMAGED}")


def _read_zip(path: Path) -> dict[str, StoredTensor]:
    with _archive(path) as archive:
        members = _members(archive, path.stat().st_size)
        roots = [name.removesuffix("data.pkl") for name in members if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise ValueError(f"{len(roots)} members called data.pkl")
        (root,) = roots
        if members[f"{root}data.pkl"].file_size > MAX_PICKLE:
            raise ValueError("its pickle is too long for a description of tensors")
        pickle = io.BytesIO(archive.read(f"{root}data.pkl"))
        order = archive.read(f"{root}byteorder") if f"{root}byteorder" in members else b"little"
        if order not in _ORDERS:
            raise ValueError("its byte order is neither little nor big")
    state, storages = _describe(pickle, path)
    for storage in storages.values():
        info = members.get(f"{root}data/{storage.key}")
        if info is None or info.file_size != storage.count * storage.dtype.itemsize:
            raise ValueError(
                f"{path}: no storage {storage.key[:80]!r} of {storage.count:,} values: {DAMAGED}"
            )

    def load(storage: Storage) -> np.ndarray:
        with _archive(path) as archive:
            data = archive.read(f"{root}data/{storage.key}")
        return np.frombuffer(data, storage.dtype.newbyteorder(_ORDERS[order]))

    return _stored(state, load, path)


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """The members by name, which are together no longer than the file, as PyTorch writes them."""
    members = {info.filename: info for info in archive.infolist()}
    if len(members) < len(archive.infolist()):
        raise ValueError("two members of one name")
    for name, info in members.items():
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise ValueError(f"{name[:80]!r} is compressed")
    if sum(info.file_size for info in members.values()) > size:
        raise ValueError("its members overlap")
    return members


@contextmanager
def _archive(path: Path) -> Generator[zipfile.ZipFile, None, None]:
    """The opened archive; a ValueError names the file whatever is wrong with it."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except Exception as error:  # of many kinds, where a zip is damaged
        raise ValueError(
            f"{path}: no zip archive as torch.save writes it ({one_line(error)}): {DAMAGED}, or "
            "convert it to safetensors"
        ) from None


def _read_pickles(path: Path) -> dict[str, StoredTensor]:
    with path.open("rb") as file:
        pickles = io.BytesIO(file.read(MAX_PICKLE))
        header = [_interpret(pickles, path)[0] for _ in range(3)]
        if header[:2] != [_MAGIC, _VERSION] or not isinstance(header[2], dict):
            raise ValueError(f"{path}: a pickle that PyTorch did not write, which is never loaded")
        if header[2].get("little_endian") is not True:
            raise ValueError(f"{path}: big-endian values of an old file of PyTorch are not read")
        state, storages = _describe(pickles, path)
        keys, _ = _interpret(pickles, path)
        strings = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
        if not strings or sorted(keys) != sorted(storages):
            raise ValueError(f"{path}: its storages are not those of its tensors: {DAMAGED}")
        file.seek(pickles.tell())
        offsets, reader = {}, BinaryReader(file, path)
        for storage in (storages[key] for key in keys):
            if reader.number("q", "the size of a storage") != storage.count:
                raise ValueError(f"{path}: a storage of another size than said: {DAMAGED}")
            size = storage.count * storage.dtype.itemsize
            offsets[storage.key] = reader.skip(size, f"the storage {storage.key[:80]!r}")
        reader.check_end()

    def load(storage: Storage) -> np.ndarray:
        return load_array(path, offsets[storage.key], storage.dtype, (storage.count,))

    return _stored(state, load, path)


def _interpret(pickle: io.BytesIO, path: Path) -> tuple[Any, Storages]:
    """The value of the next pickle, and the storages that it names."""
    storages: Storages = {}

    def find(persistent_id: Any) -> Storage:
        storage = storage_of(persistent_id)
        if storages.setdefault(storage.key, storage) != storage:
            raise ValueError(f"two storages {storage.key[:80]!r}")
        return storage

    try:
        return PickleMachine(KNOWN, find).run(pickle), storages
    except Unpicklable as error:
        raise ValueError(
            f"{path}: holds {one_line(error)}, which is never loaded: convert the weights to "
            "safetensors where they come from"
        ) from None
    except ValueError as error:
        raise ValueError(f"{path}: {one_line(error)}: {DAMAGED}") from None


def _describe(pickle: io.BytesIO, path: Path) -> tuple[dict[Any, Any], Storages]:
    """The dict of names and views that a pickle describes, and their storages."""
    state, storages = _interpret(pickle, path)
    if not isinstance(state, dict):
        raise ValueError(f"{path}: holds a {type(state).__name__}, not tensors by name")
    return state, storages


def _stored(state: dict[Any, Any], load: Load, path: Path) -> dict[str, StoredTensor]:
    found, shared = {}, {}
    for name, value in state.items():
        where = f"{path}, {str(name)[:80]!r}"
        if not isinstance(name, str):
            raise ValueError(f"{where}: the names of tensors are strings")
        view = check_view(value, where)
        if view not in shared:

            def read(view=view) -> np.ndarray:
                return take_view(load(view.storage), view)

            shared[view] = StoredTensor(view.shape, view.storage.dtype, read)
        found[name] = shared[view]
    return found
