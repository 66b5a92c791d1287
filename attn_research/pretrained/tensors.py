"""Tensors of a checkpoint by name, each read when it is asked for."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped


@dataclasses.dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor in a file, of known shape and dtype; `read` gives its values.

    Names that share one tensor (tied weights) have the same object. The dtype is that of the values
    which `read` gives: float32 for quantized weights.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], Shaped[np.ndarray, "..."]]


# Not Mapping[str, np.ndarray], of which a checker of types would read an item.
class _ByName(Mapping):
    """Something by the name of each tensor, which a subclass makes the tensor of."""

    def __init__(self, stored: Mapping[str, Any]):
        self._stored = dict(stored)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)

    def __contains__(self, name: object) -> bool:  # that of Mapping would read the tensor
        return name in self._stored


class Tensors(_ByName):
    """The tensors of a checkpoint by name, which remember what was read.

    An array is read from its file each time it is asked for, so that a checkpoint that fits the
    memory once can be converted tensor by tensor. `unread` names what nobody asked for.
    """

    def __init__(self, stored: Mapping[str, StoredTensor], where: Path):
        super().__init__(stored)
        self._where = where
        self._read: set[StoredTensor] = set()

    def __getitem__(self, name: str) -> Shaped[np.ndarray, "..."]:
        stored = self._find(name)
        self._read.add(stored)
        return stored.read()

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, which is not read."""
        return self._find(name).shape

    def dtype(self, name: str) -> np.dtype:
        """The dtype of a tensor, which is not read."""
        return self._find(name).dtype

    def unread(self) -> tuple[str, ...]:
        """The names of tensors that were never asked for, by this or another name of theirs."""
        return tuple(name for name, stored in self._stored.items() if stored not in self._read)

    def _find(self, name: str) -> StoredTensor:
        if name not in self._stored:
            raise KeyError(f"{self._where} has no tensor {name!r}")
        return self._stored[name]


class Renamed(_ByName):
    """Tensors of a checkpoint under other names, each made when it is asked for.

    `sources` has for each name what `read` makes the tensor of.
    """

    def __init__(self, sources: Mapping[str, Any], read: Callable[[Any], np.ndarray]):
        super().__init__(sources)
        self._read = read

    def __getitem__(self, name: str) -> Shaped[np.ndarray, "..."]:
        return self._read(self._stored[name])
